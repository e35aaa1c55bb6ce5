"""Numbers, times and lists as an analyst writes them. Untrusted text is kept on one line and short."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cases.models import Alert

_MAX_TITLE = 140
# Control characters, line separators and the marks that reverse the direction of text on screen.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def moment(when: datetime) -> str:
    """`2026-03-04 12:00:05 UTC`."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def period(first: datetime, last: datetime) -> str:
    """`from 2026-03-04 12:00:05 UTC to 2026-03-04 12:10:00 UTC`, or `at …` when both are the same second."""
    begin, end = moment(first), moment(last)
    return f"at {begin}" if begin == end else f"from {begin} to {end}"


def clock(when: datetime) -> str:
    """`03-04 12:00`, for chains within days."""
    return f"{when.astimezone(UTC):%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """`45 s`, `5.5 min`, `4.3 h`, `2.1 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def volume(count: int) -> str:
    """Bytes in decimal units: `1.4 GB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def many(number: int, noun: str, plural: str = "") -> str:
    """`1 alert`, `3 alerts`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Iterable[str], limit: int = 4) -> str:
    """`a, b and c`, or `a, b, c, d and 3 more`."""
    names = list(items)
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    if len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return names[0] if names else "none"


def verb(number: int, singular: str, plural: str) -> str:
    """`1 action needs`, `2 actions need`: the verb alone."""
    return singular if number == 1 else plural


def none_of(number: int, noun: str) -> str:
    """`None of 3 IOCs is`, `The only IOC is not`."""
    return f"None of {number} {noun}s is" if number > 1 else f"The only {noun} is not"


def counted(items: Sequence[str], noun: str) -> str:
    """`2 assets (fs-01 and ws-07)`, or `no asset`."""
    return f"{many(len(items), noun)} ({listed(items)})" if items else f"no {noun}"


def line(text: object, limit: int = _MAX_TITLE) -> str:
    """Untrusted text as one line of at most `limit` characters, without invisible characters."""
    plain = " ".join(_UNSEEN.sub(" ", str(text)[: limit * 8]).split())
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"


def quoted(alert: Alert) -> str:
    """The alert's title in quotation marks, on one line."""
    return f"“{line(alert.title)}”"


def percent(fraction: float) -> str:
    return f"{fraction:.0%}"
