"""What a breaker costs: closed and quiet, sync and async, refusing, and recording a failure that all processes share.

Against pybreaker, purgatory, circuitbreaker, aiobreaker and interlock-cb in the same run, all in memory; a shared failure against a Redis PING
and against pybreaker with Redis. A quiet breaker of ours asks Redis nothing either. Overheads are net of the call itself. Batches of calls,
turn and turn about, medians.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from collections.abc import Awaitable, Callable

import aiobreaker
import circuitbreaker
import interlock
import purgatory
import pybreaker
import redis

from aurora.bus.redis import Purpose, client
from aurora.embedded import locations
from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings
from aurora.resilience.breaker_store import BreakerStore
from benchmarks.figures import Figure, Target, median
from benchmarks.installation import Installation

CALL = Target(1.0, "at most", "ours", "µs")
OF_PYBREAKER = Target(0.8, "at most", "ratio")
OF_INTERLOCK = Target(0.2, "at most", "ratio")
FAILURE = Target(1.3, "at most", "ratio")
TARGETS: tuple[Target, ...] = (CALL, OF_PYBREAKER, OF_INTERLOCK, FAILURE)
_BATCH = 10_000
_NEVER = 10**9
_SETTINGS = BreakerSettings(failure_threshold=3, reset_timeout=30.0)

Call = Callable[[], object]


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 5 batches of each when quick, else 50."""
    turns = 5 if is_quick else 50
    return [*_closed(turns), *asyncio.run(_closed_async(turns)), *_refusing(turns), *_failing(opened, turns)]


def _closed(turns: int) -> list[Figure]:
    theirs = pybreaker.CircuitBreaker(fail_max=3, reset_timeout=30)
    careful = interlock.CircuitBreaker(name="bench")
    lean = circuitbreaker.CircuitBreaker(name="bench")
    factory = purgatory.SyncCircuitBreakerFactory()

    def in_purgatory() -> None:
        with factory.get_breaker("bench"):
            _work()

    store = BreakerStore(client(Purpose.REQUEST))
    shared = Breaker("bench-closed", _SETTINGS, store=store)
    shared.snapshot()
    calls: list[Call] = [
        _work,
        lambda: shared.call(_work),
        lambda: theirs.call(_work),
        lambda: careful.call_sync(_work),
        lambda: lean.call(_work),
        in_purgatory,
    ]
    bare, ours, *peers = _in_turn(calls, turns)
    store.stop()
    names = ("pybreaker", "interlock-cb", "circuitbreaker", "purgatory")
    return _against("closed and quiet", bare, ours, dict(zip(names, peers, strict=True)))


async def _closed_async(turns: int) -> list[Figure]:
    ours = Breaker("bench-async", _SETTINGS)
    careful = interlock.CircuitBreaker(name="bench-async")
    lean = circuitbreaker.CircuitBreaker(name="bench-async")
    old = aiobreaker.CircuitBreaker(fail_max=3, timeout_duration=datetime.timedelta(seconds=30))
    factory = purgatory.AsyncCircuitBreakerFactory()

    async def in_purgatory() -> None:
        async with await factory.get_breaker("bench"):
            await _awork()

    calls: list[Callable[[], Awaitable[object]]] = [
        _awork,
        lambda: ours.acall(_awork),
        lambda: careful.call_async(_awork),
        lambda: lean.call_async(_awork),
        lambda: old.call_async(_awork),
        in_purgatory,
    ]
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(1 + turns):
        for call, seconds in zip(calls, took, strict=True):
            began = time.perf_counter()
            for _ in range(_BATCH):
                await call()
            seconds.append((time.perf_counter() - began) / _BATCH)
    bare, mine, *peers = (median(seconds[1:]) * 1e6 for seconds in took)
    names = ("interlock-cb", "circuitbreaker", "aiobreaker", "purgatory")
    return _against("closed and quiet, async", bare, mine, dict(zip(names, peers, strict=True)))


def _against(what: str, bare: float, ours: float, peers: dict[str, float]) -> list[Figure]:
    targets = {"pybreaker": OF_PYBREAKER, "interlock-cb": OF_INTERLOCK}
    return [Figure(f"{what}, overhead", "µs", ours - bare, target=CALL)] + [
        Figure(f"{what}, overhead", "µs", ours - bare, name, peer - bare, targets.get(name))
        for name, peer in peers.items()
    ]


def _refusing(turns: int) -> list[Figure]:
    ours = Breaker("bench-open", _SETTINGS)
    ours.force_open()
    theirs = pybreaker.CircuitBreaker(fail_max=3, reset_timeout=3600)
    theirs.open()
    careful = interlock.CircuitBreaker(name="bench-open")
    careful.force_open()

    def ask(call: Call, refusal: type[Exception]) -> Call:
        def asked() -> None:
            try:
                call()
            except refusal:
                return

        return asked

    mine, pybreakers, interlocks = _in_turn(
        [
            ask(lambda: ours.call(_work), BreakerOpen),
            ask(lambda: theirs.call(_work), pybreaker.CircuitBreakerError),
            ask(lambda: careful.call_sync(_work), interlock.CircuitOpenError),
        ],
        turns,
    )
    return [
        Figure("refusal while open, raised and caught", "µs", mine, "pybreaker", pybreakers, CALL),
        Figure("refusal while open, raised and caught", "µs", mine, "interlock-cb", interlocks),
    ]


def _failing(opened: Installation, turns: int) -> list[Figure]:
    """The second failure of a run and those after it: what outages consist of."""
    asked = client(Purpose.REQUEST)
    store = BreakerStore(asked)
    ours = Breaker("bench-failing", BreakerSettings(failure_threshold=_NEVER), store=store)
    theirs = _pybreaker_in_redis(opened)

    def fail() -> None:
        ours.admit().fail("no answer")

    def fail_theirs() -> None:
        with contextlib.suppress(TimeoutError):
            theirs.call(_broken)

    fail()
    ping, failure, peer = _in_turn([asked.ping, fail, fail_theirs], turns, batch=_BATCH // 100)
    store.stop()
    return [
        Figure("a failure, recorded for all processes", "µs", failure, "PING", ping, FAILURE),
        Figure("a failure, recorded for all processes", "µs", failure, "pybreaker", peer),
    ]


def _pybreaker_in_redis(opened: Installation) -> pybreaker.CircuitBreaker:
    connection = redis.Redis.from_url(locations.redis_url(opened.directory, database=1))
    storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, connection)
    return pybreaker.CircuitBreaker(fail_max=_NEVER, state_storage=storage)


def _work() -> int:
    return 1


async def _awork() -> int:
    return 1


def _broken() -> None:
    raise TimeoutError


def _in_turn(calls: list[Call], turns: int, *, batch: int = _BATCH) -> list[float]:
    """Microseconds of each call: the median over batches, taken turn and turn about, the first left out."""
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(1 + turns):
        for call, seconds in zip(calls, took, strict=True):
            began = time.perf_counter()
            for _ in range(batch):
                call()
            seconds.append((time.perf_counter() - began) / batch)
    return [median(seconds[1:]) * 1e6 for seconds in took]
