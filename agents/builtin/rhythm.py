"""How even a row of moments or of sizes is: what tells a program that calls by the clock from a person. Pure.

Two measures of unevenness stand side by side. The spread (standard deviation over the mean) is what one missed call spoils; the jitter (median
absolute deviation over the median) is what it does not, so that a beacon whose host slept for an hour is still a beacon.

Few calls look even by chance: of four intervals of a caller without any clock, every fifteenth row is as even as a beacon's. So each rhythm comes
with the chance of that under the null of a Poisson process (exponential intervals of an unknown rate). People's traffic comes in bursts, which is
more uneven still: what is beyond chance for a Poisson process is so for them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

LEAST_INTERVALS = 4

EVEN = 0.35
"""Published beacons jitter by up to a third of their period; people and updaters are less even."""

SIGNIFICANT = 0.001
"""Over all rhythms measured in one inquiry together: how often mere chance may be taken for a clock."""

_NEAR = EVEN / 2
_MAX_SKEW = 0.5


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Of `count` intervals: `period` is the mean and `median` the middle one, in seconds; `spread` and `jitter` are fractions of them.

    `skew` (Bowley's, -1 to 1) is about 0 where early and late calls balance, as a random delay around a period makes them.
    `chance` bounds how likely a caller without a clock is as even.
    """

    period: float
    median: float
    spread: float
    jitter: float
    skew: float
    count: int
    chance: float

    @property
    def looks_even(self) -> bool:
        """Whether a clock with the jitter of beacons would make it; so may chance, of few calls."""
        return self.spread <= EVEN or (self.jitter <= _NEAR and abs(self.skew) <= _MAX_SKEW)

    def is_even(self, among: int = 1) -> bool:
        """Looks even, and beyond chance although `among` rhythms were looked at (Bonferroni)."""
        return self.looks_even and self.chance * among <= SIGNIFICANT


def measure(times: Iterable[datetime]) -> Rhythm | None:
    """The rhythm of distinct moments; None for too few of them to tell."""
    distinct = sorted(set(times))
    intervals = [(later - earlier).total_seconds() for earlier, later in pairwise(distinct)]
    if len(intervals) < LEAST_INTERVALS:
        return None
    mean, median = statistics.fmean(intervals), statistics.median(intervals)
    spread = statistics.pstdev(intervals) / mean
    return Rhythm(
        period=mean,
        median=median,
        spread=spread,
        jitter=unevenness(intervals),
        skew=_bowley(intervals),
        count=len(intervals),
        # Two tests, so twice the lesser chance.
        chance=min(1.0, 2 * min(chance_of_spread(spread, len(intervals)), chance_of_nearness(intervals))),
    )


def unevenness(values: Sequence[float]) -> float:
    """The median absolute deviation over the median (0 for equal values); 1 when the median is nothing to measure by."""
    median = statistics.median(values)
    return statistics.median(abs(value - median) for value in values) / median if median > 0 else 1.0


def chance_of_spread(spread: float, count: int) -> float:
    """How likely `count` exponential intervals spread by no more than this (Greenwood's statistic, 1946).

    As shares of their sum they are a uniform point of a simplex, and the spread is its distance from the centre times √count: the chance is the
    volume of a ball over that of the simplex. Exact as long as the ball lies within (spread ≤ 1/√(count - 1)), an upper bound beyond.
    """
    dimensions = count - 1
    if not spread:
        return 0.0
    logarithm = (
        dimensions / 2 * math.log(math.pi)
        + dimensions * (math.log(spread) - math.log(count) / 2)
        + math.lgamma(count)
        - math.lgamma(dimensions / 2 + 1)
        - 0.5 * math.log(count)
    )
    return math.exp(min(0.0, logarithm))


def chance_of_nearness(intervals: Sequence[float]) -> float:
    """An upper bound on how likely as many of these intervals, were they exponential, lie within 17.5 % of their median.

    Whatever the rate, another interval falls that near to a given one with the chance `hit` at most; one near which so many lie can be any of
    them (union bound).
    """
    median = statistics.median(intervals)
    near = sum(abs(value - median) <= _NEAR * median for value in intervals)
    # The rate that makes the interval between (1 - w)m and (1 + w)m likeliest, found by setting the derivative to nothing.
    rate = math.log((1 + _NEAR) / (1 - _NEAR)) / (2 * _NEAR)
    hit = math.exp(-rate * (1 - _NEAR)) - math.exp(-rate * (1 + _NEAR))
    others = len(intervals) - 1
    tail = sum(_binomial(hits, others, hit) for hits in range(max(0, near - 1), others + 1))
    return min(1.0, len(intervals) * tail)


def _binomial(hits: int, of: int, chance: float) -> float:
    """By logarithms: the number of choices alone is beyond a float from some thousand intervals on."""
    choices = math.lgamma(of + 1) - math.lgamma(hits + 1) - math.lgamma(of - hits + 1)
    return math.exp(choices + hits * math.log(chance) + (of - hits) * math.log1p(-chance))


def _bowley(values: Sequence[float]) -> float:
    lower, middle, upper = statistics.quantiles(values, n=4)
    return (upper + lower - 2 * middle) / (upper - lower) if upper > lower else 0.0
