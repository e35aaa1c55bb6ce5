"""Every branch of the breaker's table, and any order of events against a reference that the eye can check."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora.errors import Invalid
from aurora.resilience.breaker_machine import (
    BreakerSettings,
    Event,
    Kind,
    State,
    Status,
    advance,
)

NOW = 100.0
SETTINGS = BreakerSettings(failure_threshold=3, reset_timeout=30.0, probe_lease=60.0)

CLOSED = State(generation=5, trips=1, last_error="old")
WORN = CLOSED._replace(failure_count=2)
OPEN = CLOSED._replace(status=Status.OPEN, failure_count=3, opened_at=70.0, probe_at=NOW)
EARLY = OPEN._replace(probe_at=NOW + 0.001)
PROBED = OPEN._replace(status=Status.HALF_OPEN, probe_at=NOW + 10.0)
HELD_OPEN = OPEN._replace(is_forced=True, probe_at=math.inf)
HELD_CLOSED = CLOSED._replace(is_forced=True)

OPENED: dict[str, Any] = {"status": Status.OPEN, "generation": 6, "opened_at": NOW, "probe_at": NOW + 30.0}
SHUT: dict[str, Any] = {
    "status": Status.CLOSED,
    "generation": 6,
    "failure_count": 0,
    "is_forced": False,
    "opened_at": None,
    "probe_at": math.inf,
}
FAILED = {"failure_count": 3, "last_error": "new"}

TABLE = [
    ("a closed breaker admits", CLOSED, Kind.ADMIT, {}, True),
    ("a worn but closed breaker admits", WORN, Kind.ADMIT, {}, True),
    ("an open breaker refuses until its time", EARLY, Kind.ADMIT, {}, False),
    (
        "an open breaker lets one probe through at its time",
        OPEN,
        Kind.ADMIT,
        {"status": Status.HALF_OPEN, "generation": 6, "probe_at": NOW + 60.0},
        True,
    ),
    ("a probe under way keeps others out and its lease as it is", PROBED, Kind.ADMIT, {}, False),
    (
        "a probe whose lease has ended is replaced",
        PROBED._replace(probe_at=NOW),
        Kind.ADMIT,
        {"generation": 6, "probe_at": NOW + 60.0},
        True,
    ),
    ("a breaker forced open never probes", HELD_OPEN, Kind.ADMIT, {}, False),
    ("a breaker forced closed admits", HELD_CLOSED, Kind.ADMIT, {}, True),
    ("a success in quiet changes nothing", CLOSED, Kind.SUCCEED, {}, False),
    ("a success resets the count", WORN, Kind.SUCCEED, {"failure_count": 0}, False),
    ("a successful probe closes", PROBED, Kind.SUCCEED, SHUT, False),
    (
        "a failure below the threshold counts",
        CLOSED,
        Kind.FAIL,
        {"failure_count": 1, "last_error": "new"},
        False,
    ),
    ("the third failure opens", WORN, Kind.FAIL, OPENED | FAILED | {"trips": 2}, False),
    (
        "a failed probe opens for the full time and is no trip",
        PROBED,
        Kind.FAIL,
        OPENED | {"failure_count": 4, "reopened": 1, "last_error": "new"},
        False,
    ),
    ("a failure under forced closed changes nothing", HELD_CLOSED, Kind.FAIL, {}, False),
    ("a cancelled call changes nothing", WORN, Kind.CANCEL, {}, False),
    ("a cancelled probe leaves its place to the next caller", PROBED, Kind.CANCEL, {"probe_at": NOW}, False),
    (
        "cancelling a probe after its lease does not postpone the next",
        PROBED._replace(probe_at=50.0),
        Kind.CANCEL,
        {},
        False,
    ),
    (
        "forced open from closed",
        CLOSED,
        Kind.FORCE_OPEN,
        OPENED | {"probe_at": math.inf, "is_forced": True},
        False,
    ),
    (
        "forced open takes a probe's place away",
        PROBED,
        Kind.FORCE_OPEN,
        OPENED | {"probe_at": math.inf, "is_forced": True},
        False,
    ),
    ("forced closed from open", OPEN, Kind.FORCE_CLOSED, SHUT | {"is_forced": True}, False),
    ("reset from open", OPEN, Kind.RESET, SHUT | {"last_error": ""}, False),
    ("reset from forced open", HELD_OPEN, Kind.RESET, SHUT | {"last_error": ""}, False),
    ("reset from forced closed", HELD_CLOSED, Kind.RESET, SHUT | {"last_error": ""}, False),
    ("reset of a worn count", WORN, Kind.RESET, SHUT | {"last_error": ""}, False),
]


@pytest.mark.parametrize(
    ("before", "kind", "changes", "is_admitted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_table(before, kind, changes, is_admitted):
    step = advance(before, Event(kind, before.generation, "new"), settings=SETTINGS, now=NOW)

    assert step.state == before._replace(**changes)
    assert step.is_admitted is is_admitted


def test_each_failed_probe_doubles_the_open_time_up_to_the_longest():
    growing = BreakerSettings(reset_timeout=10.0, longest_reset=60.0)
    state, waits = PROBED, []
    for _ in range(5):
        state = advance(state, Event(Kind.FAIL, state.generation), settings=growing, now=NOW).state
        waits.append(state.probe_at - NOW)
        state = advance(state, Event(Kind.ADMIT), settings=growing, now=state.probe_at).state
    assert waits == [20.0, 40.0, 60.0, 60.0, 60.0]
    closed = advance(state, Event(Kind.SUCCEED, state.generation), settings=growing, now=NOW).state
    assert closed.reopened == 0


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 10.0), (0.5, 10.5), (1.0, 11.0)])
def test_chance_adds_up_to_a_tenth_to_a_time_that_grows(draw, wait):
    growing = BreakerSettings(failure_threshold=1, reset_timeout=10.0, longest_reset=60.0)
    state = advance(CLOSED, Event(Kind.FAIL, CLOSED.generation, "e", draw), settings=growing, now=NOW).state
    assert state.probe_at == pytest.approx(NOW + wait)


def test_a_breaker_that_fails_for_years_still_has_an_open_time():
    growing = BreakerSettings(reset_timeout=10.0, longest_reset=60.0)
    assert growing.open_time(10**6, 0.0) == 60.0


@pytest.mark.parametrize("state", [CLOSED, WORN, OPEN, PROBED, HELD_OPEN, HELD_CLOSED])
@pytest.mark.parametrize("kind", [Kind.SUCCEED, Kind.FAIL, Kind.CANCEL])
@pytest.mark.parametrize("generation", [4, 6])
def test_a_verdict_of_another_generation_moves_nothing(state, kind, generation):
    assert advance(state, Event(kind, generation), settings=SETTINGS, now=NOW).state is state


@pytest.mark.parametrize(
    ("before", "kind", "is_transition"),
    [
        (CLOSED, Kind.FAIL, False),
        (WORN, Kind.FAIL, True),
        (WORN, Kind.SUCCEED, False),
        (OPEN, Kind.ADMIT, True),
        (PROBED._replace(probe_at=NOW), Kind.ADMIT, False),
        (PROBED, Kind.CANCEL, False),
        (PROBED, Kind.SUCCEED, True),
        (OPEN, Kind.FORCE_OPEN, True),
        (HELD_OPEN, Kind.FORCE_OPEN, False),
        (CLOSED, Kind.RESET, False),
        (HELD_CLOSED, Kind.RESET, True),
    ],
)
def test_a_transition_is_a_change_of_status_or_of_hand(before, kind, is_transition):
    step = advance(before, Event(kind, before.generation), settings=SETTINGS, now=NOW)

    assert (step.is_transition, step.before) == (is_transition, before.status)


def test_shifting_moves_instants_and_nothing_else():
    assert OPEN.shifted(-NOW) == OPEN._replace(opened_at=-30.0, probe_at=0.0)
    assert HELD_OPEN.shifted(5.0).probe_at == math.inf
    assert CLOSED.shifted(5.0) == CLOSED


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_threshold": 0},
        {"reset_timeout": -1.0},
        {"reset_timeout": math.inf},
        {"probe_lease": math.nan},
        {"longest_reset": -1.0},
    ],
)
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(Invalid):
        BreakerSettings(**wrong)


class Reference:
    """The promise in a dozen lines: calls are remembered by the object that admitted them, not by numbers."""

    def __init__(self, opened_at: float | None = None) -> None:
        self.opened_at = opened_at
        self.failures = 0
        self.era = object()
        self.probe: tuple[object, float] | None = None

    def admit(self, now: float) -> object | None:
        if self.opened_at is None:
            return self.era
        if now < (self.probe[1] if self.probe else self.opened_at + SETTINGS.reset_timeout):
            return None
        self.probe = (object(), now + SETTINGS.probe_lease)
        return self.probe[0]

    def after(self, call: object, is_good: bool, now: float) -> Reference:
        if self.probe and call is self.probe[0]:
            return Reference(None if is_good else now)
        if call is self.era and self.opened_at is None:
            self.failures = 0 if is_good else self.failures + 1
            if self.failures == SETTINGS.failure_threshold:
                return Reference(now)
        return self


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "succeed", "fail", "fail"]),
        st.integers(0, 6),
        st.sampled_from([0.0, 1.0, 29.0, 30.0, 61.0]),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(ACTIONS)
def test_any_order_of_calls_and_late_results_agrees_with_the_reference(actions):
    state, reference, now = State(), Reference(), 0.0
    calls: list[tuple[int, object]] = []
    for action, pick, passing in actions:
        now += passing
        if action == "begin":
            step = advance(state, Event(Kind.ADMIT), settings=SETTINGS, now=now)
            state, expected = step.state, reference.admit(now)
            assert step.is_admitted is (expected is not None)
            if expected is not None:
                calls.append((state.generation, expected))
        elif calls:
            generation, call = calls.pop(pick % len(calls))
            state = advance(state, Event(Kind(action), generation), settings=SETTINGS, now=now).state
            reference = reference.after(call, action == "succeed", now)
        assert (state.status is Status.CLOSED) is (reference.opened_at is None)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(0, 3), st.floats(0, 50)), max_size=60))
def test_no_order_of_events_breaks_an_invariant(events):
    state, now = State(), 0.0
    for kind, back, passing in events:
        now += passing
        before = state
        state = advance(state, Event(kind, state.generation - back, "e"), settings=SETTINGS, now=now).state
        assert state.generation >= before.generation
        assert (state.opened_at is None) is (state.status is Status.CLOSED)
        if state.status is before.status is Status.CLOSED and not state.is_forced:
            assert state.failure_count < SETTINGS.failure_threshold
        if state.status is not before.status:
            assert state.generation > before.generation
