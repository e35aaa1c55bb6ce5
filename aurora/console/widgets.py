"""Small pieces of HTML that every page of the console uses. Text goes in as text: each is built with `format_html`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from aurora.texts import words as words

NOTHING = format_html('<span class="au-nothing">{}</span>', "—")

_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def badge(kind: str, value: str, label: str = "") -> SafeString:
    """A coloured word. `kind` (`severity`, `status`, `tlp` …) and `value` choose the colour in console.css."""
    if not value:
        return NOTHING
    word = _NOT_A_WORD.sub("-", value.lower())
    return format_html('<span class="au-badge au-{}-{}">{}</span>', kind, word, label or words(value))


def when(moment: datetime | None) -> SafeString:
    """A moment in UTC, to the second."""
    if moment is None:
        return NOTHING
    text = _utc(moment, "%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time class="au-time" datetime="{}">{}</time>', _iso(moment), text)


def ago(moment: datetime | None, now: datetime | None = None) -> SafeString:
    """A moment as its distance from now, with the UTC time under it."""
    if moment is None:
        return NOTHING
    distance = (now or timezone.now()) - moment
    text = f"{span(distance)} ago" if distance >= timedelta(0) else f"in {span(-distance)}"
    return format_html(
        '<time class="au-ago" datetime="{}" title="{}"><b>{}</b><small>{}</small></time>',
        _iso(moment),
        _utc(moment, "%Y-%m-%d %H:%M:%S UTC"),
        text,
        _utc(moment, "%m-%d %H:%M UTC"),
    )


def span(duration: timedelta) -> str:
    """A duration in its largest unit or two: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    seconds = int(duration.total_seconds())
    for at, (size, unit) in enumerate(_UNITS):
        if seconds < size:
            continue
        whole, rest = divmod(seconds, size)
        if at + 1 < len(_UNITS) and size > 60 and rest >= _UNITS[at + 1][0]:
            smaller, smaller_unit = _UNITS[at + 1]
            return f"{whole} {unit} {rest // smaller} {smaller_unit}"
        return f"{whole} {unit}"
    return "0 s"


def chips(values: Iterable[object], *, shown: int = 3, kind: str = "plain") -> SafeString:
    """Short values side by side, the first `shown` of them and how many more there are."""
    texts = [str(value) for value in values]
    if not texts:
        return NOTHING
    head = format_html_join(
        "", '<span class="au-chip au-chip-{}" title="{}">{}</span>', ((kind, text, text) for text in texts[:shown])
    )
    more = format_html('<span class="au-more">+{}</span>', len(texts) - shown) if len(texts) > shown else ""
    return format_html('<span class="au-chips">{}{}</span>', head, more)


def percent(fraction: float | None) -> SafeString:
    """A confidence, as a bar and a number."""
    if fraction is None:
        return NOTHING
    value = round(min(max(fraction, 0.0), 1.0) * 100)
    return format_html(
        '<span class="au-percent"><meter min="0" max="100" value="{}"></meter> {} %</span>', value, value
    )


def icon(name: str) -> SafeString:
    """A Material symbol, which unfold ships; decoration only."""
    return format_html('<span class="material-symbols-outlined au-icon" aria-hidden="true">{}</span>', name)


def _utc(moment: datetime, form: str) -> str:
    return moment.astimezone(timezone.get_fixed_timezone(0)).strftime(form)


def _iso(moment: datetime) -> str:
    return _utc(moment, "%Y-%m-%dT%H:%M:%SZ")
