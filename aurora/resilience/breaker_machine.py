"""The circuit breaker as a pure function: state, event and the time in, next state and effects out.

No clock, no lock, no network. `aurora.resilience.breaker` puts a lock around it; `breaker.lua` beside this
file is the same table on Redis's clock, and a test drives both with the same events. All times are seconds on
whatever monotonic clock the caller uses; `State.shifted` turns them into durations, the only form in which
they leave a process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from aurora.errors import Invalid
from aurora.resilience.breaker_window import Conditions, Window


class Status(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Kind(StrEnum):
    ADMIT = "admit"
    SUCCEED = "succeed"
    FAIL = "fail"
    SLOW = "slow"
    TALLY = "tally"
    CANCEL = "cancel"
    FORCE_OPEN = "force_open"
    FORCE_CLOSED = "force_closed"
    RESET = "reset"


MOST_DOUBLINGS = 32
VERDICTS = frozenset({Kind.SUCCEED, Kind.FAIL, Kind.SLOW, Kind.TALLY, Kind.CANCEL})


@dataclass(frozen=True)
class BreakerSettings:
    """When to open, for how long, and how long a probe may take before another caller gets its turn
    (seconds). With `longest_reset` above `reset_timeout` each failed probe doubles the open time up to it,
    and chance adds up to a tenth, so that many breakers of one callee do not probe it together. `conditions`
    open it at a rate, too."""

    failure_threshold: int = 3
    reset_timeout: float = 30.0
    probe_lease: float = 60.0
    longest_reset: float = 0.0
    conditions: Conditions | None = None
    longest_open: float = field(init=False)

    def __post_init__(self) -> None:
        if self.failure_threshold < 1:
            raise Invalid("failure_threshold must be at least 1")
        for name in ("reset_timeout", "probe_lease", "longest_reset"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds >= 0):
                raise Invalid(f"{name} must be zero or a positive number of seconds")

        object.__setattr__(self, "longest_open", max(self.reset_timeout, self.longest_reset))

    @property
    def is_timed(self) -> bool:
        """Whether it matters how long a call takes."""
        return self.conditions is not None and self.conditions.slow_seconds > 0

    def open_time(self, reopened: int, draw: float) -> float:
        """Seconds to stay open after `reopened` failed probes; `draw` is chance, 0 to 1."""
        if self.longest_reset <= self.reset_timeout:
            return self.reset_timeout
        grown = min(self.reset_timeout * 2.0 ** min(reopened, MOST_DOUBLINGS), self.longest_reset)
        return grown * (1 + draw / 10)


class State(NamedTuple):
    """Everything that decides. `generation` is the fence: it changes with every transition and with every
    probe granted, and a verdict that bears another one moves nothing. `probe_at` is the moment from which one
    caller may be let through: the end of the open time, or of the present probe's lease; infinite while
    closed and while forced open."""

    status: Status = Status.CLOSED
    generation: int = 0
    failure_count: int = 0
    is_forced: bool = False
    opened_at: float | None = None
    probe_at: float = math.inf
    trips: int = 0
    reopened: int = 0
    last_error: str = ""
    window: Window = ()

    def shifted(self, seconds: float) -> State:
        """The same state on a clock that runs `seconds` ahead of this one."""
        if self.status is Status.CLOSED:
            return self  # it bears no instants
        opened_at = None if self.opened_at is None else self.opened_at + seconds
        return self._replace(opened_at=opened_at, probe_at=self.probe_at + seconds)


class Event(NamedTuple):
    """What happened. Verdicts bear the generation under which their call was admitted; a failure bears its
    text, and what chance adds to the open time (0 to 1). `succeeded` is how many other calls did since it was last
    told, for breakers with conditions; a tally tells nothing else."""

    kind: Kind
    generation: int = 0
    error: str = ""
    draw: float = 0.0
    succeeded: int = 0


class Step(NamedTuple):
    """The state after an event and its two possible effects: the caller is let through, listeners are told of
    a move to another status, or into or out of an operator's hand."""

    state: State
    before: Status
    is_admitted: bool = False
    is_transition: bool = False


class Counts(NamedTuple):
    """Outcomes since the breaker exists; they decide nothing."""

    successes: int = 0
    failures: int = 0
    rejected: int = 0


class View(NamedTuple):
    """A state as it crosses processes: times relative to the moment of writing, `version` for the order of
    views."""

    name: str
    version: int
    state: State
    counts: Counts


class Known(NamedTuple):
    """What a process believes when it asks the shared store. `differs`: the state moved here since `version`
    was seen."""

    version: int
    state: State
    differs: bool


class Answer(NamedTuple):
    """What the shared store did with an event: the new view, and the same effects as in `Step`."""

    view: View
    before: Status
    is_admitted: bool
    is_transition: bool


@dataclass(frozen=True)
class Transition:
    """A move from one status to another, or into or out of an operator's hand."""

    name: str
    before: Status
    after: Status
    is_forced: bool
    failure_count: int
    last_error: str | None
    retry_after: float | None
    is_shared: bool


@dataclass(frozen=True)
class BreakerSnapshot:
    """What is shown of a breaker. `shared` is False when it speaks for this process only."""

    state: Status
    is_forced: bool
    failure_count: int
    failure_threshold: int
    reset_timeout: float
    opened_at: datetime | None
    next_probe_at: datetime | None
    last_error: str | None
    trips: int
    successes: int
    failures: int
    rejected: int
    shared: bool


def advance(state: State, event: Event, *, settings: BreakerSettings, now: float) -> Step:
    """Apply one event. A verdict from another generation returns the state unchanged."""
    if event.kind in VERDICTS and event.generation != state.generation:
        return Step(state, state.status)
    after = _RULES[event.kind](state, event, settings, now)
    is_admitted = event.kind is Kind.ADMIT and (state.status is Status.CLOSED or after is not state)
    is_transition = (after.status, after.is_forced) != (state.status, state.is_forced)
    return Step(after, state.status, is_admitted, is_transition)


def _admit(state: State, _event: Event, settings: BreakerSettings, now: float) -> State:
    # One rule for open and half-open: a refused caller changes nothing, so it cannot prolong a dead prober's
    # lease.
    if state.status is Status.CLOSED or now < state.probe_at:
        return state
    return state._replace(
        status=Status.HALF_OPEN,
        generation=state.generation + 1,
        probe_at=now + settings.probe_lease,
    )


def _succeed(state: State, _event: Event, _settings: BreakerSettings, _now: float) -> State:
    if state.status is Status.HALF_OPEN:
        return _closed(state)
    if state.failure_count:
        return state._replace(failure_count=0)
    return state


def _fail(state: State, event: Event, settings: BreakerSettings, now: float) -> State:
    if state.is_forced:
        return state
    failed = state._replace(failure_count=state.failure_count + 1, last_error=event.error)
    if state.status is Status.CLOSED:
        failed = _counted(failed, event, settings, now, failures=1)
        if failed.failure_count < settings.failure_threshold and not _are_met(failed, settings):
            return failed
    return _opened(state, failed, event, settings, now)


def _slow(state: State, event: Event, settings: BreakerSettings, now: float) -> State:
    """A call that succeeded, but took too long."""
    fine = _succeed(state, event, settings, now)
    if fine.status is not Status.CLOSED or state.status is not Status.CLOSED or state.is_forced:
        return fine
    counted = _counted(fine, event, settings, now, slow=1)
    if not _are_met(counted, settings):
        return counted
    return _opened(state, counted._replace(last_error=event.error), event, settings, now)


def _tally(state: State, event: Event, settings: BreakerSettings, now: float) -> State:
    if state.status is not Status.CLOSED or not event.succeeded or settings.conditions is None:
        return state
    return state._replace(window=settings.conditions.added(state.window, now, calls=event.succeeded))


def _counted(
    state: State, event: Event, settings: BreakerSettings, now: float, *, failures: int = 0, slow: int = 0
) -> State:
    if settings.conditions is None:
        return state
    calls = event.succeeded + 1
    window = settings.conditions.added(state.window, now, calls=calls, failures=failures, slow=slow)
    return state._replace(window=window)


def _are_met(state: State, settings: BreakerSettings) -> bool:
    return settings.conditions is not None and settings.conditions.are_met(state.window)


def _opened(state: State, failed: State, event: Event, settings: BreakerSettings, now: float) -> State:
    # Trips count the openings of a closed breaker; a failed probe merely keeps it open.
    is_trip = state.status is Status.CLOSED
    reopened = 0 if is_trip else state.reopened + 1
    return failed._replace(
        status=Status.OPEN,
        generation=state.generation + 1,
        opened_at=now,
        probe_at=now + settings.open_time(reopened, event.draw),
        trips=state.trips + is_trip,
        reopened=reopened,
        window=(),
    )


def _cancel(state: State, _event: Event, _settings: BreakerSettings, now: float) -> State:
    if state.status is Status.HALF_OPEN:
        return state._replace(probe_at=min(state.probe_at, now))
    return state


def _force_open(state: State, _event: Event, _settings: BreakerSettings, now: float) -> State:
    return state._replace(
        status=Status.OPEN,
        generation=state.generation + 1,
        is_forced=True,
        opened_at=now,
        probe_at=math.inf,
        window=(),
    )


def _force_closed(state: State, _event: Event, _settings: BreakerSettings, _now: float) -> State:
    return _closed(state)._replace(is_forced=True)


def _reset(state: State, _event: Event, _settings: BreakerSettings, _now: float) -> State:
    return _closed(state)._replace(last_error="")


def _closed(state: State) -> State:
    return State(generation=state.generation + 1, trips=state.trips, last_error=state.last_error)


def snapshot_of(
    state: State, settings: BreakerSettings, counts: Counts, *, is_shared: bool, now: datetime
) -> BreakerSnapshot:
    """What people are shown. `state` has its times in seconds from `now`."""

    def date(moment: float | None) -> datetime | None:
        return None if moment is None or math.isinf(moment) else now + timedelta(seconds=moment)

    return BreakerSnapshot(
        state=state.status,
        is_forced=state.is_forced,
        failure_count=state.failure_count,
        failure_threshold=settings.failure_threshold,
        reset_timeout=settings.reset_timeout,
        opened_at=date(state.opened_at),
        next_probe_at=date(state.probe_at),
        last_error=state.last_error or None,
        trips=state.trips,
        successes=counts.successes,
        failures=counts.failures,
        rejected=counts.rejected,
        shared=is_shared,
    )


_RULES: Mapping[Kind, Callable[[State, Event, BreakerSettings, float], State]] = {
    Kind.ADMIT: _admit,
    Kind.SUCCEED: _succeed,
    Kind.FAIL: _fail,
    Kind.SLOW: _slow,
    Kind.TALLY: _tally,
    Kind.CANCEL: _cancel,
    Kind.FORCE_OPEN: _force_open,
    Kind.FORCE_CLOSED: _force_closed,
    Kind.RESET: _reset,
}
