"""One decision of the limiter over two quotas, with the figures for its headers.

Against what `limits` needs for the same answer, a moving window's `hit` and `get_window_stats` for each of two limits on the same Redis, and
against a bare PING, below which nothing that asks Redis can go. The three in turn, medians. And a hit of a caller whose refusal is remembered.
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

TARGETS = (Target(1.3, "at most", "ratio"), Target(5.0, "at most", "ours"))
_POLICIES = (Policy("general", 100_000, 60), Policy("investigations", 100_000, 60))
_WARM_UP = 200


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 500 turns when quick, else 10 000."""
    redis = client(Purpose.REQUEST)
    ours, theirs = _ours(), _theirs(opened)
    took = in_turn([redis.ping, ours, theirs], _WARM_UP + (500 if is_quick else 10_000))
    ping, decided, peer = (median(seconds[_WARM_UP:]) * 1e6 for seconds in took)
    (refused,) = in_turn([_refused()], _WARM_UP + (500 if is_quick else 10_000))
    return [
        Figure("two quotas, decided, with headers", "µs", decided, "limits", peer),
        Figure("two quotas, decided, with headers", "µs", decided, "PING", ping, TARGETS[0]),
        Figure("refused again", "µs", median(refused[_WARM_UP:]) * 1e6, target=TARGETS[1]),
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


def _refused() -> Callable[[], object]:
    """A caller that is known to be over its limit."""
    limiter, policies = (
        Limiter(client(Purpose.REQUEST)),
        (Policy("general", 1, 3600), Policy("investigations", 1, 3600)),
    )
    limiter.hit("user:refused", policies)
    return lambda: limiter.hit("user:refused", policies)


def _theirs(opened: Installation) -> Callable[[], object]:
    address = locations.redis_url(opened.directory, database=1)
    strategy = MovingWindowRateLimiter(RedisStorage(f"redis+{address}" if address.startswith("unix") else address))
    items = [limits.RateLimitItemPerMinute(policy.quota, namespace=policy.name) for policy in _POLICIES]

    def decide() -> list[tuple[bool, object]]:
        return [(strategy.hit(item, "bench"), strategy.get_window_stats(item, "bench")) for item in items]

    return decide
