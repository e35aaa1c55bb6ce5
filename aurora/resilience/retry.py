"""Trying again, only where it helps: bounded in number, in time and in share of the traffic.

Retry stands outside the breaker, so that each attempt is a call the breaker sees, and ends at the breaker's
refusal.
"""

from __future__ import annotations

import random as random_module
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from aurora.resilience.breaker_permit import CALLERS_FAULT, BreakerOpen

T = TypeVar("T")

# The same call gets the same answer, whoever asks and however often.
FINAL = (BreakerOpen, *CALLERS_FAULT)


def may_succeed_later(error: BaseException) -> bool:
    """Whether the same call may succeed on another try: any `Exception` but the caller's own fault and a
    refusal."""
    return isinstance(error, Exception) and not isinstance(error, FINAL)


@dataclass(slots=True)
class _Second:
    start: int
    calls: int = 0
    retries: int = 0


class RetryBudget:
    """At most `share` of the calls of the last `window_seconds` may be retries, `floor` retries are always
    allowed.

    One per dependency. It keeps retries from multiplying the load on a callee that fails under load: an
    outage costs 1.2 times the traffic, not 3 times. Counted by whole seconds.
    """

    def __init__(
        self,
        *,
        share: float = 0.2,
        floor: int = 3,
        window_seconds: int = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share
        self._floor = floor
        self._window_seconds = window_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[_Second] = deque()

    def note_call(self) -> None:
        """Count a call (not its retries)."""
        with self._lock:
            self._current().calls += 1

    def take(self) -> bool:
        """Take leave for one retry; False when the budget is spent."""
        with self._lock:
            current = self._current()
            calls = sum(second.calls for second in self._seconds)
            retries = sum(second.retries for second in self._seconds)
            if retries >= max(self._floor, int(calls * self._share)):
                return False
            current.retries += 1
            return True

    def _current(self) -> _Second:
        now = int(self._clock())
        while self._seconds and self._seconds[0].start <= now - self._window_seconds:
            self._seconds.popleft()
        if not self._seconds or self._seconds[-1].start != now:
            self._seconds.append(_Second(now))
        return self._seconds[-1]


class RetryBudgets:
    """One budget per name in this process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._budgets: dict[str, RetryBudget] = {}

    def of(self, name: str) -> RetryBudget:
        """The budget of `name`; names come from configuration, so they are few."""
        with self._lock:
            return self._budgets.setdefault(name, RetryBudget(clock=self._clock))


def retry_call(
    fn: Callable[[], T],
    *,
    attempts: int = 3,
    base_seconds: float = 1.0,
    deadline: float | None = None,
    should_retry: Callable[[BaseException], bool] = may_succeed_later,
    on_failure: Callable[[int, BaseException], None] = lambda _attempt, _error: None,
    budget: RetryBudget | None = None,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = random_module.random,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call `fn` up to `attempts` times and return its first result, or raise its last error.

    Waits `wait_before(n)` between attempts. `deadline` is an instant on `clock` for the whole: an attempt
    that would start after it is not made, nor waited for; it does not interrupt `fn`. `on_failure(attempt,
    error)` is told of every failed attempt, counted from 1, but not of a breaker's refusal, which is raised
    at once. `should_retry` may narrow what is tried again, never widen it to errors that stay. An interrupt
    or a cancellation passes straight through.
    """
    if budget is not None:
        budget.note_call()
    attempt = 1
    while True:
        try:
            return fn()
        except BreakerOpen:
            raise
        except Exception as error:
            on_failure(attempt, error)
            if attempt >= attempts or not (may_succeed_later(error) and should_retry(error)):
                raise
            wait = wait_before(attempt, base_seconds=base_seconds, random=random)
            is_too_late = deadline is not None and clock() + wait >= deadline
            if is_too_late or not (budget is None or budget.take()):
                raise
        sleep(wait)
        attempt += 1


def wait_before(retry: int, *, base_seconds: float, random: Callable[[], float]) -> float:
    """Seconds to wait before the given retry (1 is the first): base·2^(retry-1) with equal jitter, that is at
    least half of it and at most all of it, so that callers who failed together do not come back together."""
    whole = base_seconds * 2.0 ** (retry - 1)
    return whole / 2 + whole / 2 * random()
