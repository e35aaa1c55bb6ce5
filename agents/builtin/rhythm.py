"""How even a row of moments or of sizes is: what tells a program that calls by the clock from a person. Pure.

Two measures of unevenness stand side by side. The spread (standard deviation over the mean) is what one missed call spoils; the jitter (median
absolute deviation over the median) is what it does not, so that a beacon whose host slept for an hour is still a beacon.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

LEAST_INTERVALS = 4

EVEN = 0.35
"""Published beacons jitter by up to a third of their period; people and updaters are less even."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Of `count` intervals: `period` is the mean and `median` the middle one, in seconds; `spread` and `jitter` are fractions of them.

    `skew` (Bowley's, -1 to 1) is about 0 where early and late calls balance, as a random delay around a period makes them.
    """

    period: float
    median: float
    spread: float
    jitter: float
    skew: float
    count: int

    @property
    def is_even(self) -> bool:
        return self.spread <= EVEN or (self.jitter <= EVEN / 2 and abs(self.skew) <= 0.5)


def measure(times: Iterable[datetime]) -> Rhythm | None:
    """The rhythm of distinct moments; None for too few of them to tell."""
    distinct = sorted(set(times))
    intervals = [(later - earlier).total_seconds() for earlier, later in pairwise(distinct)]
    if len(intervals) < LEAST_INTERVALS:
        return None
    mean, median = statistics.fmean(intervals), statistics.median(intervals)
    return Rhythm(
        period=mean,
        median=median,
        spread=statistics.pstdev(intervals) / mean,
        jitter=unevenness(intervals),
        skew=_bowley(intervals),
        count=len(intervals),
    )


def unevenness(values: Sequence[float]) -> float:
    """The median absolute deviation over the median (0 for equal values); 1 when the median is nothing to measure by."""
    median = statistics.median(values)
    return statistics.median(abs(value - median) for value in values) / median if median > 0 else 1.0


def _bowley(values: Sequence[float]) -> float:
    lower, middle, upper = statistics.quantiles(values, n=4)
    return (upper + lower - 2 * middle) / (upper - lower) if upper > lower else 0.0
