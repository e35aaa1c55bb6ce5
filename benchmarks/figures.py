"""What a benchmark reports: figures beside their peers, targets they are held against, a table, a file of JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import orjson

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is held against: its own value, or its ratio to the peer's."""

    bound: float
    direction: Literal["at least", "at most"]
    of: Literal["ratio", "ours"]
    unit: str = ""

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.direction == "at least" else value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.direction == "at least" else "≤"
        return f"{sign} {self.bound:g}{' ×' if self.of == 'ratio' else ' ' + self.unit}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing. `peer` is None where nothing stands beside it; `details` go into the file only."""

    what: str
    unit: str
    ours: float
    peer_name: str = ""
    peer: float | None = None
    target: Target | None = None
    details: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours as a multiple of the peer's."""
        return self.ours / self.peer if self.peer else None

    @property
    def is_met(self) -> bool | None:
        """None without a target."""
        value = self.ours if self.target and self.target.of == "ours" else self.ratio
        return None if self.target is None or value is None else self.target.is_met(value)


def quantile(values: Sequence[float], fraction: float) -> float:
    """The value below which `fraction` of the values lie; the nearest measured one, nothing in between."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def show(subject: str, figures: Sequence[Figure]) -> None:
    """Prints the table of one subject."""
    rows = [("what", "ours", "peer", "ratio", "target", "")] + [_row(figure) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    print(f"\n{subject}")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


def save(subject: str, figures: Sequence[Figure], *, is_quick: bool) -> None:
    """Writes `results/SUBJECT.json`."""
    RESULTS.mkdir(exist_ok=True)
    rows = [asdict(figure) | {"ratio": figure.ratio, "is_met": figure.is_met} for figure in figures]
    document = {"subject": subject, "is_quick": is_quick, "figures": rows}
    (RESULTS / f"{subject}.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _row(figure: Figure) -> tuple[str, str, str, str, str, str]:
    return (
        figure.what,
        f"{_short(figure.ours)} {figure.unit}",
        "" if figure.peer is None else f"{_short(figure.peer)} ({figure.peer_name})",
        "" if figure.ratio is None else f"{figure.ratio:.2f} ×",
        "" if figure.target is None else str(figure.target),
        {None: "", True: "met", False: "NOT MET"}[figure.is_met],
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
