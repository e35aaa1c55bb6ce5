"""Text as PostgreSQL, Redis and UTF-8 can hold it."""

from __future__ import annotations

from aurora.texts import storable


def test_what_cannot_be_stored_is_made_visible():
    assert storable("a\0b\ud800c") == "a\ufffdb?c"


def test_text_is_cut_to_its_limit():
    assert storable("abc", 2) == "ab"
    assert storable("abc") == "abc"
