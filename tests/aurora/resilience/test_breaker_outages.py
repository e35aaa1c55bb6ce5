"""Any history of a shared breaker: processes out of Redis's reach, flushes, an older file restored, Redis's clock set to another time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings, Permit
from aurora.resilience.breaker_machine import Answer, Counts, Event, Kind, Known, State, Status, advance
from aurora.resilience.breaker_store import SCRIPT, BreakerStore
from aurora.resilience.breaker_window import SLOTS, Conditions, Window

KEY = "aurora:breaker:agent"
UNKNOWN = Known(0, State(), differs=False)
STAGED = SCRIPT.replace("redis.call('TIME')", "{ARGV[15], ARGV[16]}")
PLAIN = BreakerSettings(failure_threshold=2, reset_timeout=30.0, probe_lease=35.0)
RULES = [
    PLAIN,
    BreakerSettings(failure_threshold=3, reset_timeout=0.1, probe_lease=5.0, longest_reset=100.0),
    BreakerSettings(
        failure_threshold=9,
        conditions=Conditions(seconds=60.0, least_calls=3, failure_rate=0.5, slow_seconds=1.0, slow_rate=0.5),
    ),
    BreakerSettings(failure_threshold=9, conditions=Conditions(seconds=6000.0, least_calls=4, failure_rate=0.5)),
]


class Staged(BreakerStore):
    """One process's way to Redis, whose script goes by the test's clock. Each answer is held against the machine in Python."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.client, retry_seconds=0.0)
        self.stage, self.is_away = stage, False

    def join(self, member: Any) -> None:
        """Nobody listens: what happened elsewhere is news only to who asks."""

    def ask(
        self, name: str, event: Event | None, *, settings: BreakerSettings, known: Known, counts: Counts
    ) -> Answer | None:
        if self.is_away:
            return None
        kept = super().ask(name, None, settings=settings, known=UNKNOWN, counts=Counts())
        assert kept is not None, self.stage.text()
        is_told = kept.view.version < known.version or (kept.view.version == known.version and known.differs)
        # A window told by one process is none: its slots are of that process's clock.
        before = known.state._replace(window=()) if is_told else kept.view.state._replace(window=self.stage.window())
        answer = super().ask(name, event, settings=settings, known=known, counts=counts)
        assert answer is not None, self.stage.text()
        assert answer.view.version >= known.version
        if event is not None:
            now = self.stage.micros / 1e6
            step = advance(before.shifted(now), event, settings=settings, now=now)
            assert _are_alike(answer.view.state, step.state.shifted(-now))
            assert (answer.before, answer.is_admitted) == (step.before, step.is_admitted)
            assert answer.is_transition == step.is_transition
            assert self.stage.window() == step.state.window
            if event.kind is Kind.FAIL and settings.conditions is not None:
                slot = now / (settings.conditions.seconds / SLOTS)
                assert all(slot - SLOTS < row[0] <= slot for row in self.stage.window())
        return answer

    def _run(self, key: str, arguments: list[str]) -> list[Any]:
        seconds, micros = divmod(self.stage.micros, 1_000_000)
        found: list[Any] = self.stage.script(keys=[key], args=[*arguments, seconds, micros])
        return found


class Stage:
    """Three processes with a breaker each, and what may befall them."""

    def __init__(self, client: redis.Redis) -> None:
        client.flushdb()
        self.client = client
        self.script: Any = client.register_script(STAGED)
        self.now, self.micros = 1000.0, 1_800_000_000_000_000
        self.stores = [Staged(self) for _ in range(3)]
        self.breakers = [Breaker("agent", PLAIN, store=store, clock=lambda: self.now) for store in self.stores]
        self.permits: list[Permit] = []
        self.file: bytes | None = None

    def text(self) -> bytes:
        found: Any = self.client.get(KEY)
        return found or b""

    def window(self) -> Window:
        rows = re.findall(rb";(\d+),(\d+),(\d+),(\d+)", self.text().split(b"\n")[12] if self.text() else b"")
        return tuple(tuple(map(int, row)) for row in rows)  # type: ignore[misc]

    def pass_on(self, seconds: float) -> None:
        self.now += seconds
        self.micros += round(seconds * 1_000_000)

    def admit(self, who: int, _: int) -> None:
        with suppress(BreakerOpen):
            self.permits.append(self.breakers[who].admit())

    def settle(self, verdict: Callable[[Permit], None], number: int) -> None:
        if self.permits:
            verdict(self.permits.pop(number % len(self.permits)))

    def set_clock(self, number: int) -> None:
        by = (-90_000, -3600, -1, 1, 7, 3600, 90_000)
        # At last as on a machine that has lost its battery: a few seconds after the epoch.
        later = self.micros + by[number] * 1_000_000 if number < len(by) else 0
        self.micros = max(later, 5_000_000)

    def flush(self) -> None:
        self.file = self.text()
        self.client.flushdb()

    def restore(self) -> None:
        if self.file:
            self.client.set(KEY, self.file)

    def away(self, who: int, *, is_away: bool) -> None:
        self.stores[who].is_away = is_away

    def set_rules(self, number: int) -> None:
        for each in self.breakers:
            each.settings = RULES[number % len(RULES)]

    def look(self) -> None:
        """Whoever reaches Redis shows what all processes share, and nobody waits for longer than somebody set."""
        for breaker, store in zip(self.breakers, self.stores, strict=True):
            snapshot, state = breaker.snapshot(), breaker._state
            assert snapshot.shared is not store.is_away
            assert (snapshot.state == "closed") == (state.opened_at is None)
            assert math.isinf(state.probe_at) == (snapshot.state == "closed" or snapshot.is_forced)
            if not math.isinf(state.probe_at):
                assert state.probe_at - self.now <= 111.0
            assert (state.opened_at or 0.0) <= self.now + 1e-6


def _are_alike(one: State, other: State) -> bool:
    """But for what becomes of instants as whole microseconds and as floating numbers; rounded to fewer places, two such may still fall apart."""
    return _gist(one) == _gist(other) and all(
        math.isclose(here, there, rel_tol=0.0, abs_tol=1e-4)
        for here, there in zip(_instants(one), _instants(other), strict=True)
    )


def _gist(state: State) -> tuple[object, ...]:
    counts = (state.failure_count, state.trips, state.reopened)
    return state.status, state.is_forced, state.opened_at is None, counts, state.last_error


def _instants(state: State) -> tuple[float, float]:
    return state.opened_at or 0.0, state.probe_at


VERBS: dict[str, Callable[[Stage, int, int], None]] = {
    "admit": Stage.admit,
    "fail": lambda stage, _, number: stage.settle(lambda permit: permit.fail("no\nanswer"), number),
    "succeed": lambda stage, _, number: stage.settle(Permit.succeed, number),
    "cancel": lambda stage, _, number: stage.settle(Permit.cancel, number),
    "force_open": lambda stage, who, _: stage.breakers[who].force_open(),
    "force_closed": lambda stage, who, _: stage.breakers[who].force_closed(),
    "reset": lambda stage, who, _: stage.breakers[who].reset(),
    "write_counts": lambda stage, who, _: stage.breakers[who].write_counts(),
    "look": lambda stage, _, __: stage.look(),
    "pass": lambda stage, _, number: stage.pass_on((0.01, 0.2, 31.0, 7200.0)[number % 4]),
    "clock": lambda stage, _, number: stage.set_clock(number),
    "flush": lambda stage, _, __: stage.flush(),
    "restore": lambda stage, _, __: stage.restore(),
    "away": lambda stage, who, _: stage.away(who, is_away=True),
    "back": lambda stage, who, _: stage.away(who, is_away=False),
    "rules": lambda stage, _, number: stage.set_rules(number),
}
OFTEN = [*["admit", "fail", "look"] * 4, "succeed", "cancel", "pass", "clock", "flush"]
FAIL = [("admit", 0, 0), ("fail", 0, 0)]
HISTORY = st.lists(st.tuples(st.sampled_from([*VERBS, *OFTEN]), st.integers(0, 2), st.integers(0, 7)), max_size=40)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HISTORY)
@example([*FAIL * 2, ("pass", 0, 1), ("flush", 0, 0)])
@example([*FAIL * 2, ("pass", 0, 3), ("flush", 0, 0), ("clock", 0, 7)])
@example([("rules", 0, 2), *FAIL, ("rules", 0, 3), *FAIL])
@example([("force_closed", 0, 0), ("rules", 0, 2), ("write_counts", 0, 0)])
@example([("rules", 0, 2), *FAIL, ("rules", 0, 1), *FAIL])
@example([("rules", 0, 3), ("away", 0, 0), *FAIL, ("back", 0, 0), ("clock", 0, 7), ("clock", 0, 5), *FAIL])
def test_whatever_happened_the_state_can_be_read_and_all_who_reach_redis_share_it(redis_client, history):
    stage = Stage(redis_client)
    for verb, who, number in history:
        VERBS[verb](stage, who, number)
    for store in stage.stores:
        store.is_away = False
    for _ in range(2):
        stage.look()
    first = stage.breakers[0]
    for breaker in stage.breakers:
        assert breaker._version == first._version
        assert _are_alike(breaker._state, first._state)
    _heals(stage)


def _heals(stage: Stage) -> None:
    """An operator's hand aside, one of all callers is let through when the time has come, and its success closes it for all."""
    if stage.breakers[0].snapshot().is_forced:
        stage.breakers[0].reset()
    stage.pass_on(200.0)
    stage.look()
    if stage.breakers[0].snapshot().state != Status.CLOSED:
        admitted = []
        for breaker in stage.breakers * 2:
            with suppress(BreakerOpen):
                admitted.append(breaker.admit())
        assert len(admitted) == 1
        admitted[0].succeed()
    assert {breaker.snapshot().state for breaker in stage.breakers} == {"closed"}
