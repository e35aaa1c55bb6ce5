"""Geometry of the overview's charts. They are drawn as SVG by templates: no script, no canvas, sharp in print and under a strict policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10

WIDTH, HEIGHT = 1000.0, 200.0
"""The viewBox; the drawing is stretched to its place, so labels stand beside it as text."""
_GAP = 0.22


@dataclass(frozen=True, slots=True)
class Segment:
    """One colour of one bar, in units of the viewBox."""

    series: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class StackedBars:
    segments: list[Segment]
    ticks: list[int]
    """Values of the grid lines, from the top down to 0."""
    labels: list[str]
    """One a bar; an empty one is not written."""
    totals: dict[str, int]
    table: list[tuple[str, list[int]]]
    """The same as text, for those who cannot see the drawing."""
    series: list[str]
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a ranking. `share` is of the longest, 0–100."""

    label: str
    hint: str
    value: int
    share: float
    url: str = ""


def stacked_bars(names: Sequence[str], series: Mapping[str, Sequence[int]], *, label_every: int) -> StackedBars:
    """Bars for `names`, each a stack of `series` (first at the bottom). Every `label_every`-th bar is labelled, the last one always."""
    totals = [sum(values[at] for values in series.values()) for at in range(len(names))]
    top = _round_up(max(totals, default=0))
    step = WIDTH / max(len(names), 1)
    segments = []
    for at, name in enumerate(names):
        y = HEIGHT
        for key, values in series.items():
            height = values[at] / top * HEIGHT
            y -= height
            if height:
                title = f"{name}: {values[at]:,} {key}"
                segments.append(Segment(key, at * step + step * _GAP / 2, y, step * (1 - _GAP), height, title))
    last = len(names) - 1
    return StackedBars(
        segments=segments,
        ticks=[top, top // 2, 0],
        labels=[name if (last - at) % label_every == 0 else "" for at, name in enumerate(names)],
        totals={key: sum(values) for key, values in series.items()},
        table=[(name, [values[at] for values in series.values()]) for at, name in enumerate(names)],
        series=list(series),
        is_empty=not any(totals),
    )


def ranking(rows: Sequence[tuple[str, str, int, str]]) -> list[Row]:
    """Rows `(label, hint, value, url)` with their shares of the largest."""
    largest = max((value for _, _, value, _ in rows), default=0) or 1
    return [Row(label, hint, value, value / largest * 100, url) for label, hint, value, url in rows]


def _round_up(value: int) -> int:
    """The axis' end: the next even "nice" number, so that its half is whole as well."""
    if value <= 4:
        return 4
    magnitude: int = 10 ** int(log10(value))
    step = max(magnitude // 5, 2)
    return ceil(value / step) * step if step % 2 == 0 else ceil(value / (2 * step)) * 2 * step
