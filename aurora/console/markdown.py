"""Markdown of reports as HTML of ours: whatever the text holds, only the tags below come out, without attributes, links or pictures."""

from __future__ import annotations

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

_TAGS = {"h1", "h2", "h3", "h4", "p", "ul", "ol", "li", "em", "strong", "code", "pre", "blockquote", "hr", "br"} | {
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}
_LONGEST = 200_000

_parser = MarkdownIt("commonmark", {"html": False}).enable("table")


def rendered(text: str) -> SafeString:
    """`text` (CommonMark with tables) as HTML that is safe to put into a page. Cut at 200,000 characters."""
    html = nh3.clean(_parser.render(text[:_LONGEST]), tags=_TAGS, attributes={})
    return mark_safe(html)  # noqa: S308 - nh3 let nothing but the tags above through
