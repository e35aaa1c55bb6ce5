from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from cases.normalizers.fields import at, clean, first, integer, moment, number, text, texts

NOON = datetime(2025, 3, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2025-03-11T12:00:00Z",
        "2025-03-11T12:00:00.000000+0000",
        "2025-03-11T13:00:00.000+0100",
        "2025-03-11T12:00:00.000000000Z",
        "2025-03-11 12:00:00",
        "2025-03-11T12:00:00",
        " 2025-03-11T12:00:00Z ",
        1741694400,
        1741694400.0,
        1741694400000,
        1741694400000000,
        1741694400000000000,
        133861680000000000,
        "1741694400",
        "1741694400.0",
        ["2025-03-11T12:00:00Z"],
    ],
)
def test_times_are_read_in_every_form(written):
    assert moment(written) == NOON


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        "soon",
        0,
        -1,
        True,
        float("nan"),
        float("inf"),
        10**400,
        "1" * 5_000,
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00Z",
        "1989-12-31T23:59:59Z",
        {},
        [],
    ],
)
def test_what_is_no_believable_time_is_none(written):
    assert moment(written) is None


@pytest.mark.parametrize(("ahead", "is_believed"), [(timedelta(hours=23), True), (timedelta(hours=25), False)])
def test_a_clock_may_run_ahead_by_a_day(ahead, is_believed):
    with time_machine.travel(NOON, tick=False):
        assert (moment((NOON + ahead).isoformat()) is not None) is is_believed


@pytest.mark.parametrize(
    "data",
    [
        {"a": {"b": {"c": 1}}},
        {"a.b.c": 1},
        {"a.b": {"c": 1}},
        {"a": {"b.c": 1}},
        {"a": [{"b": {"c": 1}}]},
        {"a": {"x": 2}, "a.b": {"c": 1}},
    ],
)
def test_a_path_is_found_nested_flat_and_mixed(data):
    assert at(data, "a.b.c") == 1


@pytest.mark.parametrize("data", [None, [], 7, {"a": 7}, {"a": {"b": [7]}}, {"a": None}])
def test_a_path_that_is_not_there_is_none(data):
    assert at(data, "a.b.c") is None


def test_the_first_value_that_is_not_empty_is_taken():
    assert first({"a": "", "b": [], "c": {}, "d": 0}, "a", "b", "c", "d") == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", "x"),
        (7, "7"),
        (7.0, "7"),
        (7.5, "7.5"),
        (["x", "y"], "x"),
        ([], ""),
        (True, ""),
        ({}, ""),
        (10**500, ""),
    ],
)
def test_text_is_what_reads_as_text(value, expected):
    assert text(value) == expected


def test_texts_are_one_or_several():
    assert texts("x") == texts(["x", None, {}, ""]) == ["x"]


def test_control_characters_and_overrides_are_taken_out():
    assert clean("a\x00b\x1b[0m\u202ec\ud800d\r\ne") == "a b [0m c d e"
    assert clean("a\nb\x00c", keep_lines=True) == "a\nb c"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), ("7", 7), ("7.9", 7), (True, None), ("x", None), (2**64, None), ("1e400", None), (None, None), ([7], 7)],
)
def test_integers_are_of_64_bits_at_most(value, expected):
    assert integer(value) == expected


@pytest.mark.parametrize("value", ["nan", "inf", "9" * 400, 10**400, {}, "", "0x10"])
def test_what_is_no_finite_number_is_none(value):
    assert number(value) is None
