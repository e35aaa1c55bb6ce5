"""Text as PostgreSQL, Redis and UTF-8 can hold it."""

from __future__ import annotations

from datetime import date

import pytest

from aurora.texts import require_storable, storable


def test_what_cannot_be_stored_is_made_visible():
    assert storable("a\0b\ud800c") == "a\ufffdb?c"


def test_text_is_cut_to_its_limit():
    assert storable("abc", 2) == "ab"
    assert storable("abc") == "abc"


@pytest.mark.parametrize(
    "value",
    [None, True, 7, -0.5, 2**63 - 1, "text", "💥", [], {}, {"a": [{"b": [1, "c"]}]}, date(2026, 11, 27)],
    ids=repr,
)
def test_what_jsonb_can_hold_is_storable(value):
    assert require_storable(value) is value


@pytest.mark.parametrize(
    "value",
    [
        "\0",
        "\ud800",
        2**63,
        -(2**64),
        1e30,
        float("inf"),
        float("nan"),
        b"bytes",
        {1, 2},
        ["\0"],
        {"\0": 1},
        {"a": ["\0"]},
    ],
    ids=repr,
)
def test_what_jsonb_cannot_hold_or_json_cannot_carry_is_refused(value):
    with pytest.raises(ValueError, match=r"allowed|64 bits|JSON"):
        require_storable(value)


def test_what_nobody_could_read_is_refused():
    value: list[object] = []
    for _ in range(20):
        value = [value]
    with pytest.raises(ValueError, match="nested deeper"):
        require_storable(value)
