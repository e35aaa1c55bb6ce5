"""One call through a breaker that is closed and has nothing to tell, against pybreaker and against the call alone.

Both in one process and in memory: a quiet closed breaker of ours asks Redis nothing either, since other processes' news come by themselves.
Batches of calls, turn and turn about, medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pybreaker

from aurora.bus.redis import Purpose, client
from aurora.resilience.breaker import Breaker, BreakerSettings
from aurora.resilience.breaker_store import BreakerStore
from benchmarks.figures import Figure, Target, median
from benchmarks.installation import Installation

TARGETS: tuple[Target, ...] = ()
_BATCH = 10_000


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 5 batches when quick, else 50."""
    settings = BreakerSettings(failure_threshold=3, reset_timeout=30.0)
    alone = Breaker("bench-alone", settings)
    store = BreakerStore(client(Purpose.REQUEST))
    shared = Breaker("bench-shared", settings, store=store)
    theirs = pybreaker.CircuitBreaker(fail_max=3, reset_timeout=30)
    calls: list[Callable[[], object]] = [
        lambda: alone.call(_work),
        lambda: shared.call(_work),
        lambda: theirs.call(_work),
        _work,
    ]
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(1 + (5 if is_quick else 50)):
        for call, seconds in zip(calls, took, strict=True):
            seconds.append(_batch(call))
    store.stop()
    ours, everywhere, peer, bare = (median(seconds[1:]) * 1e6 for seconds in took)
    return [
        Figure("closed, this process only", "µs", ours, "pybreaker", peer),
        Figure("closed, shared through Redis", "µs", everywhere, "pybreaker", peer),
        Figure("closed, this process only", "µs", ours, "no breaker", bare),
    ]


def _work() -> int:
    return 1


def _batch(call: Callable[[], object]) -> float:
    """Seconds a call, on average over a batch."""
    began = time.perf_counter()
    for _ in range(_BATCH):
        call()
    return (time.perf_counter() - began) / _BATCH
