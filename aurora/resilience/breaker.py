"""The circuit breaker that callers hold: one per name and process, shared through Redis when it is given a
store.

    breaker = Breaker("agent.threat_hunter", BreakerSettings(), store=store)
    output = breaker.call(lambda: client.send(task))        # or `await breaker.acall(…)`
    with breaker.admit() as permit:                         # or by hand
        ...
        permit.fail("the agent answered: failed")           # a failure that no exception tells of

The decisions are `breaker_machine.advance`, or the same table in Redis. Closed and quiet, a call touches no
lock and no network; the store is asked only about failures, first successes after them, probes
and what operators order. That takes one short round trip on the calling thread, in `acall` too: it is bounded
by the client's timeout and rarer than hops to a thread would be worth.
"""

from __future__ import annotations

import math
import random
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog

from aurora.resilience.breaker_machine import (
    Answer,
    BreakerSettings,
    BreakerSnapshot,
    Counts,
    Event,
    Kind,
    Known,
    State,
    Status,
    Step,
    Transition,
    View,
    advance,
    snapshot_of,
)
from aurora.resilience.breaker_permit import BreakerOpen, Permit, is_callees_fault
from aurora.resilience.breaker_store import BreakerStore
from aurora.resilience.breaker_window import Conditions, Tally
from aurora.texts import storable

__all__ = [
    "Breaker",
    "BreakerOpen",
    "BreakerSettings",
    "BreakerSnapshot",
    "Conditions",
    "Permit",
    "Status",
    "Transition",
    "is_callees_fault",
]

T = TypeVar("T")

LAST_ERROR_LENGTH = 300
CLOSED: Final = Status.CLOSED
_COUNTED: Final = frozenset({Kind.FAIL, Kind.SLOW, Kind.TALLY})
_ORDERS: Final = frozenset({Kind.FORCE_OPEN, Kind.FORCE_CLOSED, Kind.RESET})

log = structlog.get_logger(__name__)


class Breaker:
    """One guarded dependency. Safe for threads and for coroutines; nothing is held while the call runs.

    `on_transition` is called once per transition over all processes, in the process that caused it.
    `settings` may be replaced at any time; what is already open may keep its end.
    """

    def __init__(
        self,
        name: str,
        settings: BreakerSettings,
        *,
        store: BreakerStore | None = None,
        clock: Callable[[], float] = time.monotonic,
        detail: str = "Agent service unavailable",
        on_transition: Callable[[Transition], None] | None = None,
        counts_as_failure: Callable[[BaseException], bool] = is_callees_fault,
    ) -> None:
        self.name = name
        self._settings = settings
        self._is_timed = settings.is_timed
        self.detail = detail
        self.counts_as_failure = counts_as_failure
        self._store = store
        self._clock = clock
        self._on_transition = on_transition
        self._lock = threading.Lock()
        self._state = State()
        self._version = 0
        self._differs = False
        self._owed: Kind | None = None  # what an operator ordered while this process was alone
        self._orders = 0
        self._is_joined = store is None
        self._is_shared = False
        self._totals = Counts()
        self._successes, self._failures, self._rejected = Tally(), Tally(), Tally()
        self._count_success, self._count_refusal = self._successes.hit, self._rejected.hit
        # The state, while calls need not look at it: joined, closed, nothing counted.
        self._quiet: State | None = None
        if self._is_joined and not self._is_timed:
            self._quiet = self._state

    def call(self, fn: Callable[[], T]) -> T:
        """Run `fn` if admitted. Raises BreakerOpen, or whatever `fn` raises. The time limit belongs inside
        `fn`: one around this call would look like a cancellation, and a callee that hangs would never count
        as failing."""
        quiet = self._quiet
        if quiet is None:
            generation = self._enter()
            began = self._clock() if self._is_timed else math.inf
        else:
            generation, began = quiet.generation, math.inf
        try:
            result = fn()
        except BaseException as error:
            Permit(self, generation).settle(error)
            raise
        self._count_success()
        if quiet is None or self._quiet is not quiet:
            self._note_success(generation, began)
        return result

    async def acall(self, fn: Callable[[], Awaitable[T]]) -> T:
        """`call` for a coroutine function. A cancelled call returns its permit without a verdict."""
        quiet = self._quiet
        if quiet is None:
            generation = self._enter()
            began = self._clock() if self._is_timed else math.inf
        else:
            generation, began = quiet.generation, math.inf
        try:
            result = await fn()
        except BaseException as error:
            Permit(self, generation).settle(error)
            raise
        self._count_success()
        if quiet is None or self._quiet is not quiet:
            self._note_success(generation, began)
        return result

    def admit(self) -> Permit:
        """Leave to make one call now; the caller must settle it. Raises BreakerOpen."""
        return Permit(self, self._enter(), self._clock() if self._is_timed else math.inf)

    @property
    def settings(self) -> BreakerSettings:
        return self._settings

    @settings.setter
    def settings(self, settings: BreakerSettings) -> None:
        if settings != self._settings:
            with self._lock:
                self._settings = settings
                self._is_timed = settings.is_timed
                self._successes.tell()
                self._keep(self._state)

    @property
    def retry_after(self) -> float:
        """Seconds until the next call may be admitted, by what is known here; 0 while closed, and when a probe is due."""
        state = self._state
        if state.status is CLOSED:
            return 0.0
        return min(max(state.probe_at - self._clock(), 0.0), self._settings.longest_open)

    def snapshot(self) -> BreakerSnapshot:
        """The breaker as it is now; with a store, one round trip, which also writes this process's counts. Of several at once: `breakers.snapshots`."""
        if not self._is_joined:
            self._join()
        else:
            self.read_shared()
        return self.as_last_read()

    def as_last_read(self) -> BreakerSnapshot:
        """The breaker as this process knows it, without asking anybody."""
        with self._lock:
            state, totals, is_shared = self._state, self._totals, self._is_shared
            counts = Counts(
                totals.successes + self._successes.pending(),
                totals.failures + self._failures.pending(),
                totals.rejected + self._rejected.pending(),
            )
        return snapshot_of(
            state.shifted(-self._clock()), self._settings, counts, is_shared=is_shared, now=datetime.now(UTC)
        )

    def force_open(self) -> None:
        """Refuse every call, without probes, until `reset` or `force_closed`."""
        self._order(Kind.FORCE_OPEN)

    def force_closed(self) -> None:
        """Admit every call, whatever fails, until `reset` or `force_open`."""
        self._order(Kind.FORCE_CLOSED)

    def reset(self) -> None:
        """Closed, counting from zero, out of the operator's hand; calls under way no longer matter."""
        self._order(Kind.RESET)

    def adopt(self, view: View) -> None:
        """Take over a state that another process made, unless it is older than what is known here."""
        with self._lock:
            if view.version > self._version or (view.version == self._version and not self._differs):
                self._keep(view.state.shifted(self._clock()))
                self._version = view.version
                self._differs = False
                self._totals = view.counts

    def read_shared(self) -> bool:
        """Bring this process and the store together. False when there is no store, or no answer from it."""
        return self._ask(None) is not None

    def write_counts(self) -> None:
        """Add this process's counts to the shared ones, if there are any. A state that matters is looked for, too: after a flush nobody may ask
        here for long, and a process that begins meanwhile would not know of it."""
        with self._lock:
            is_due = self._successes.pending() or self._failures.pending() or self._rejected.pending()
            is_due = is_due or self._state.status is not CLOSED or self._state.is_forced
        if is_due and self._settings.conditions is not None:
            self._apply(Event(Kind.TALLY, self._state.generation))
        elif is_due:
            self.read_shared()

    def _join(self) -> None:
        # The listener subscribes first and reads again once subscribed, so no change falls between this read
        # and it.
        if self._store is not None:
            self._store.join(self)
            self.read_shared()
        self.have_joined()

    def have_joined(self) -> None:
        """The store pushes changes to this breaker and was read once since: calls may rely on what is known here."""
        with self._lock:
            self._is_joined = True
            self._keep(self._state)

    def _keep(self, state: State) -> None:
        if state.generation != self._state.generation:
            self._successes.tell()  # what succeeded before is nothing to the window that begins now
        self._state = state
        is_quiet = self._is_joined and state.status is CLOSED and not state.failure_count and not self._is_timed
        self._quiet = state if is_quiet else None

    def _enter(self) -> int:
        """The generation under which a caller may call, as a probe if need be, or BreakerOpen."""
        if not self._is_joined:
            self._join()
        state = self._state
        if state.status is CLOSED:
            return state.generation
        now = self._clock()
        if now >= state.probe_at:
            step = self._apply(Event(Kind.ADMIT))
            if step.is_admitted:
                return step.state.generation
            state = step.state
        self._count_refusal()
        # Neither a probe's whole lease nor the absent next probe of a forced breaker is worth waiting for.
        wait, longest = state.probe_at - now, self._settings.longest_open
        if wait > longest:
            wait = longest
        elif wait < 0.0:
            wait = 0.0
        raise BreakerOpen(self.detail, self.name, wait)

    def _succeed(self, generation: int, began: float) -> None:
        self._count_success()
        self._note_success(generation, began)

    def _note_success(self, generation: int, began: float) -> None:
        state = self._state
        if state.generation != generation:
            return
        if self._is_timed and self._took_long(began):
            self._apply(Event(Kind.SLOW, generation, f"slow: {self._clock() - began:.1f} s", random.random()))  # noqa: S311 - as below
        elif state.failure_count or state.status is not CLOSED:
            self._apply(Event(Kind.SUCCEED, generation))

    def _took_long(self, began: float) -> bool:
        conditions = self._settings.conditions
        return conditions is not None and self._clock() - began > conditions.slow_seconds

    def _fail(self, generation: int, error: BaseException | str) -> None:
        self._failures.hit()
        if self._state.generation == generation:
            self._apply(Event(Kind.FAIL, generation, _told(error), random.random()))  # noqa: S311 - spreads, hides nothing

    def _cancel(self, generation: int) -> None:
        state = self._state
        if state.generation == generation and state.status is not CLOSED:
            self._apply(Event(Kind.CANCEL, generation))

    def _order(self, kind: Kind) -> None:
        if not self._is_joined:
            self._join()
        with self._lock:
            self._owed, self._orders = None, self._orders + 1  # this one is in the place of all before
        self._apply(Event(kind))

    def _deliver(self) -> None:
        """Give the store the order it is owed. Merely told as a state it would be lost to whichever process had come back first."""
        with self._lock:
            kind, self._owed, orders = self._owed, None, self._orders
        step = self._ask(Event(kind)) if kind else None
        if step is None:
            with self._lock:
                if self._orders == orders:
                    self._owed = kind
        elif step.is_transition:
            self._announce(step)

    def _apply(self, event: Event) -> Step:
        if self._settings.conditions is not None and event.kind in _COUNTED:
            event = self._with_successes(event)
        step = self._ask(event)
        if step is None:
            with self._lock:
                step = advance(self._state, event, settings=self._settings, now=self._clock())
                if step.state is not self._state:
                    step = self._diverge(step)
                if event.kind in _ORDERS and self._store is not None:
                    self._owed = event.kind
        if step.is_transition:
            self._announce(step)
        return step

    def _with_successes(self, event: Event) -> Event:
        with self._lock:
            news = self._successes.tell()
        # A slow call is among them itself.
        return event._replace(succeeded=max(0, news - (event.kind is Kind.SLOW)))

    def _diverge(self, step: Step) -> Step:
        """Keep a state that was decided here alone."""
        if self._store is not None and step.state.generation != self._state.generation:
            # The store may take this generation over later: no other process may have counted up to the same.
            # Redis's own are microseconds, far below; Lua's numbers are exact up to 2^53.
            unique = (1 << 52) | secrets.randbits(52)
            step = step._replace(state=step.state._replace(generation=unique))
        self._keep(step.state)
        self._differs = True
        return step

    def _ask(self, event: Event | None) -> Step | None:
        """What the store did with `event`; None when this process is on its own."""
        if self._store is None:
            return None
        known, counts = self.tell()
        answer = self._store.ask(self.name, event, settings=self._settings, known=known, counts=counts)
        return self.hear(answer, counts)

    def tell(self) -> tuple[Known, Counts]:
        """What the store is told with a question; `hear` has to follow, for the counts are with the question now."""
        if self._owed is not None:
            self._deliver()
        with self._lock:
            known = Known(self._version, self._state.shifted(-self._clock()), self._differs)
            return known, Counts(self._successes.take(), self._failures.take(), self._rejected.take())

    def hear(self, answer: Answer | None, counts: Counts) -> Step | None:
        """Takes over what the store answered; the counts are taken back when it did not."""
        self._is_shared = answer is not None
        if answer is None:
            with self._lock:
                self._successes.give_back(counts.successes)
                self._failures.give_back(counts.failures)
                self._rejected.give_back(counts.rejected)
            return None
        self.adopt(answer.view)
        state = answer.view.state.shifted(self._clock())
        return Step(state, answer.before, answer.is_admitted, answer.is_transition)

    def _announce(self, step: Step) -> None:
        if self._on_transition is None:
            return
        wait = step.state.probe_at - self._clock()
        transition = Transition(
            name=self.name,
            before=step.before,
            after=step.state.status,
            is_forced=step.state.is_forced,
            failure_count=step.state.failure_count,
            last_error=step.state.last_error or None,
            retry_after=None if math.isinf(wait) else max(0.0, wait),
            is_shared=self._is_shared,
        )
        try:
            self._on_transition(transition)
        except Exception:
            # A listener's fault must not replace the result of the call that happened to cause the
            # transition.
            log.exception("breaker_announcement_failed", breaker=self.name)


def _told(error: BaseException | str) -> str:
    return storable(error if isinstance(error, str) else f"{type(error).__name__}: {error}", LAST_ERROR_LENGTH)
