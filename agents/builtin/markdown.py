"""Untrusted text into Markdown: it stays text, whatever it contains, and nothing in it becomes a link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from agents.builtin.wording import line
from cases.models import Ioc
from cases.observables import defang

# What CommonMark gives a meaning within a line; `_AT_START` is what begins a list, a rule or underlines a heading.
_PUNCTUATION = re.compile(r"([\\`*_\[\]<>#|~&$])")
_AT_START = re.compile(r"^(?:([-+=])|(\d{1,9})([.)])(?=\s|$))")
_LINK = re.compile(r"\b(ht|f)tp(s?)://", re.IGNORECASE)
_SCHEME = re.compile(r"\b(javascript|data|file|mailto|vbscript|ssh|smb):(?=\S)", re.IGNORECASE)
_WWW = re.compile(r"\bwww\.", re.IGNORECASE)
_LONGEST = 600


def text(value: object, iocs: Sequence[Ioc] = (), limit: int = _LONGEST) -> str:
    """`value` on one line, its indicators (the longest first) defanged, every mark of Markdown and HTML escaped."""
    plain = line(value, limit)
    for ioc in iocs:
        plain = plain.replace(ioc.value, defang(ioc.value, ioc.type))
    plain = _LINK.sub(lambda found: f"{'hxx' if found[1].lower() == 'ht' else 'fx'}p{found[2].lower()}://", plain)
    plain = _WWW.sub("www[.]", _SCHEME.sub(r"\1[:]", plain))
    escaped = _PUNCTUATION.sub(r"\\\1", plain).replace("@", "&#64;")
    return _AT_START.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", escaped)


def indicator(ioc: Ioc) -> str:
    """An indicator's value, defanged and escaped."""
    return text(defang(ioc.value, ioc.type), limit=300)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of cells that are escaped already; no lines at all without rows."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *body] if body else []
