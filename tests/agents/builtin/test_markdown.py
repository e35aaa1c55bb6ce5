"""Untrusted text in Markdown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from agents.builtin import markdown as md
from cases.models import Ioc

_RENDER = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


@given(st.text(max_size=200))
def test_any_text_is_one_paragraph_without_any_markup(text):
    html = _RENDER.render(md.text(text)).strip()
    assert html.count("<") == (2 if html else 0), html


@pytest.mark.parametrize(
    "text", ["- item", "+ item", "1. item", "12) item", "* item", "# head", "> quote", "| a | b |", "---"]
)
def test_nothing_at_the_start_of_a_line_opens_a_block(text):
    assert _RENDER.render(md.text(text)).startswith("<p>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://evil.example", "hxxp://evil.example"),
        ("HTTPS://evil.example", "hxxps://evil.example"),
        ("ftp://evil.example", "fxp://evil.example"),
        ("www.evil.example", r"www\[.\]evil.example"),
        ("javascript:alert(1)", r"javascript\[:\]alert(1)"),
        ("a@b.example", "a&#64;b.example"),
        ("Archive Collected Data: Archive", "Archive Collected Data: Archive"),
    ],
)
def test_nothing_becomes_a_link_where_links_are_found_by_themselves(text, shown):
    assert md.text(text) == shown


def test_the_longer_indicator_is_defanged_first():
    iocs = [Ioc(type="url", value="http://evil.example/a"), Ioc(type="domain", value="evil.example")]
    assert md.text("see http://evil.example/a", iocs) == r"see hxxp://evil\[.\]example/a"


def test_text_is_cut_to_its_limit_and_loses_invisible_characters():
    assert md.text("a\u202eb\x00c" + "d" * 100, limit=10) == "a b cdddd…"


def test_a_table_without_rows_is_nothing():
    assert md.table(("a", "b"), []) == []
    assert md.table(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
