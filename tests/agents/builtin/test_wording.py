"""Numbers, times and lists in the agents' sentences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.builtin.wording import counted, none_of, period

NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def test_a_period_has_two_ends():
    later = NOON + timedelta(minutes=10)
    assert period(NOON, later) == "from 2026-03-04 12:00:00 UTC to 2026-03-04 12:10:00 UTC"


def test_a_period_within_one_second_is_a_moment():
    assert period(NOON, NOON + timedelta(microseconds=9)) == "at 2026-03-04 12:00:00 UTC"


@pytest.mark.parametrize(
    ("items", "text"), [([], "no asset"), (["a"], "1 asset (a)"), (["a", "b"], "2 assets (a and b)")]
)
def test_things_are_counted_and_named(items, text):
    assert counted(items, "asset") == text


@pytest.mark.parametrize(("number", "sentence"), [(1, "The only IOC is not"), (3, "None of 3 IOCs is")])
def test_none_of_one_is_said_of_the_one(number, sentence):
    assert none_of(number, "IOC") == sentence
