"""A sensor's record, made readable. Whoever sent it may be the attacker: it is cut, parsed with care and escaped throughout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

SHOWN_CHARACTERS = 64 * 1024
"""Beyond this a browser serves nobody; the API has the whole record."""

_TOKEN = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null)|(?P<rest>[^"\d\-tfn]+|.)',
    re.DOTALL,
)


def record(value: Any) -> SafeString:
    """JSON (text, or already parsed) indented and coloured; any other text as it is, escaped."""
    text = value if isinstance(value, str) else _dumps(value)
    cut = text[:SHOWN_CHARACTERS]
    parsed = _parsed(cut) if len(cut) == len(text) and isinstance(value, str) else None
    if parsed is not None:
        cut = _dumps(parsed)[: SHOWN_CHARACTERS * 2]
    if parsed is None and isinstance(value, str):
        shown = conditional_escape(str(cut))
    else:
        shown = format_html_join("", "{}", ((piece,) for piece in _coloured(cut)))
    return format_html("{}\n…", shown) if len(cut) < len(text) else shown


def _dumps(value: Any) -> str:
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "(nested too deeply to be shown)"


def _parsed(text: str) -> Any | None:
    """The object or array that `text` holds; None for anything else, hostile nesting and digit runs included."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _coloured(text: str) -> Iterator[SafeString]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "rest":
            yield conditional_escape(match.group())
        else:
            yield format_html_join("", '<span class="au-json-{}">{}</span>', [(kind, match.group())])
