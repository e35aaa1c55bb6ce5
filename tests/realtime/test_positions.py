"""Resume ids: what is written can be read, and nothing else can."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora.errors import Invalid
from realtime.positions import format_position, parse_position

ENTRY_IDS = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@given(st.lists(ENTRY_IDS, min_size=1, max_size=4).map(tuple))
def test_what_is_written_can_be_read(position):
    assert parse_position(format_position(position), streams=len(position)) == position


@given(st.text(), st.integers(1, 3))
def test_any_text_is_a_position_or_invalid(text, streams):
    with contextlib.suppress(Invalid):
        assert len(parse_position(text, streams=streams)) == streams


@pytest.mark.parametrize("text", ["18446744073709551616-0", "1-18446744073709551616", "1-0\n", "+1-0", "1-0 ", "²-0"])
def test_what_redis_would_not_take_is_invalid(text):
    with pytest.raises(Invalid):
        parse_position(text, streams=1)
