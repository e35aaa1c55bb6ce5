"""One decision of the limiter over two quotas, with the figures for its headers.

Against what `limits` needs for the same answer, a moving window's `hit` and `get_window_stats` for each of two limits on the same Redis, and
against a bare PING, below which nothing that asks Redis can go. The three in turn, medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import limits
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from aurora.bus.redis import Purpose, client
from aurora.embedded import locations
from aurora.resilience.ratelimit import Limiter, Policy
from aurora.rest.limit_headers import headers_for
from benchmarks.figures import Figure, Target, median
from benchmarks.installation import Installation

TARGETS: tuple[Target, ...] = ()
_POLICIES = (Policy("general", 100_000, 60), Policy("investigations", 100_000, 60))
_WARM_UP = 200


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 500 turns when quick, else 10 000."""
    redis = client(Purpose.REQUEST)
    ours, theirs = _ours(), _theirs(opened)
    took = in_turn([redis.ping, ours, theirs], _WARM_UP + (500 if is_quick else 10_000))
    ping, decided, peer = (median(seconds[_WARM_UP:]) * 1e6 for seconds in took)
    return [
        Figure("two quotas, decided, with headers", "µs", decided, "limits", peer),
        Figure("two quotas, decided, with headers", "µs", decided, "PING", ping),
    ]


def in_turn(calls: Sequence[Callable[[], object]], turns: int) -> list[list[float]]:
    """Seconds of each call, turn and turn about."""
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(turns):
        for call, seconds in zip(calls, took, strict=True):
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
    return took


def _ours() -> Callable[[], object]:
    limiter = Limiter(client(Purpose.REQUEST))
    return lambda: headers_for(limiter.hit("user:bench", _POLICIES))


def _theirs(opened: Installation) -> Callable[[], object]:
    address = locations.redis_url(opened.directory, database=1)
    strategy = MovingWindowRateLimiter(RedisStorage(f"redis+{address}" if address.startswith("unix") else address))
    items = [limits.RateLimitItemPerMinute(policy.quota, namespace=policy.name) for policy in _POLICIES]

    def decide() -> list[tuple[bool, object]]:
        return [(strategy.hit(item, "bench"), strategy.get_window_stats(item, "bench")) for item in items]

    return decide
