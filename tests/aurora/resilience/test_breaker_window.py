"""Rates over a window: the arithmetic, every branch of the table with conditions, and any order of calls against a reference."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora.errors import Invalid
from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings
from aurora.resilience.breaker_machine import Event, Kind, State, Status, advance
from aurora.resilience.breaker_window import SLOTS, Conditions, Tally, Window

NOW = 1000.0
RATE = Conditions(seconds=10.0, least_calls=4, failure_rate=0.5)
SLOW = Conditions(seconds=10.0, least_calls=4, slow_seconds=2.0, slow_rate=0.5)
RULES = BreakerSettings(failure_threshold=1000, reset_timeout=30.0, conditions=RATE)
SLOW_RULES = replace(RULES, conditions=SLOW)
CLOSED = State(generation=5)
PROBED = State(Status.HALF_OPEN, 5, 3, False, NOW - 30, NOW + 10)


def _after(*events, state=CLOSED, rules=RULES, now=NOW):
    for event in events:
        state = advance(state, event._replace(generation=state.generation), settings=rules, now=now).state
    return state


FAIL, TALLY, TOO_SLOW = (
    Event(Kind.FAIL, error="e"),
    Event(Kind.TALLY, succeeded=3),
    Event(Kind.SLOW, error="slow: 3.0 s"),
)


@pytest.mark.parametrize(
    ("rules", "events", "status"),
    [
        (RULES, [FAIL] * 3, Status.CLOSED),
        (RULES, [FAIL] * 4, Status.OPEN),
        (RULES, [TALLY, FAIL], Status.CLOSED),
        (RULES, [TALLY, FAIL, FAIL], Status.CLOSED),
        (RULES, [TALLY, FAIL, FAIL, FAIL], Status.OPEN),
        (RULES, [FAIL._replace(succeeded=3)] + [FAIL] * 2, Status.OPEN),
        (RULES, [TOO_SLOW] * 9, Status.CLOSED),
        (SLOW_RULES, [TOO_SLOW] * 3, Status.CLOSED),
        (SLOW_RULES, [TOO_SLOW] * 4, Status.OPEN),
        (SLOW_RULES, [FAIL] * 9, Status.CLOSED),
        (SLOW_RULES, [TALLY, TOO_SLOW, TOO_SLOW], Status.CLOSED),
        (SLOW_RULES, [TALLY, TOO_SLOW, TOO_SLOW, TOO_SLOW], Status.OPEN),
        (replace(RULES, conditions=None), [FAIL] * 9 + [TOO_SLOW] * 9, Status.CLOSED),
        (replace(RULES, failure_threshold=2), [TALLY, FAIL, FAIL], Status.OPEN),
    ],
)
def test_the_table_with_conditions(rules, events, status):
    assert _after(*events, rules=rules).status is status


@pytest.mark.parametrize("percent", range(1, 101))
def test_a_rate_is_reached_by_exactly_its_share_of_the_calls(percent):
    rate = Conditions(least_calls=100, failure_rate=percent / 100)
    assert rate.are_met(((1, 100, percent, 0),))
    assert not rate.are_met(((1, 100, percent - 1, 0),))


def test_an_opening_by_rate_is_a_trip_like_any_other_and_begins_a_new_window():
    opened = _after(*[FAIL] * 4)
    assert (opened.trips, opened.last_error, opened.window, opened.probe_at) == (1, "e", (), NOW + 30)
    slow = _after(*[TOO_SLOW] * 4, rules=SLOW_RULES)
    assert (slow.trips, slow.last_error, slow.window) == (1, "slow: 3.0 s", ())


def test_a_slow_success_is_a_success_to_the_count_and_to_a_probe():
    worn = CLOSED._replace(failure_count=2)
    assert _after(TOO_SLOW, state=worn, rules=SLOW_RULES).failure_count == 0
    assert _after(TOO_SLOW, state=PROBED, rules=SLOW_RULES).status is Status.CLOSED


@pytest.mark.parametrize("kind", [Kind.FAIL, Kind.SLOW])
def test_forced_closed_opens_at_no_rate(kind):
    held = CLOSED._replace(is_forced=True)
    assert _after(*[Event(kind)] * 9, state=held, rules=SLOW_RULES).status is Status.CLOSED


@pytest.mark.parametrize("kind", [Kind.SLOW, Kind.TALLY])
def test_of_another_generation_nothing_is_counted(kind):
    assert advance(CLOSED, Event(kind, 4, succeeded=3), settings=SLOW_RULES, now=NOW).state is CLOSED


def test_a_tally_alone_opens_nothing_and_counts_nothing_while_open():
    opened = _after(*[FAIL] * 4)
    assert _after(TALLY, state=opened) == opened
    assert _after(Event(Kind.TALLY)) == CLOSED


def test_what_is_older_than_the_window_is_forgotten():
    state = _after(*[FAIL] * 3)
    late = _after(FAIL, state=state, now=NOW + 11)
    assert late.status is Status.CLOSED
    assert sum(row[1] for row in late.window) == 1


def test_a_window_has_ten_slots_at_most():
    window: Window = ()
    for second in range(100):
        window = RATE.added(window, NOW + second * 0.7, calls=1)
        assert len(window) <= SLOTS


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 4)), max_size=80))
def test_any_order_of_calls_opens_when_a_plain_count_says_so(calls):
    """The reference keeps every call with its slot and counts them anew each time."""
    state, now, seen = State(), NOW, list[tuple[int, bool]]()
    for is_failure, passing in calls:
        now += passing
        slot = math.floor(now / (RATE.seconds / SLOTS))
        event = FAIL if is_failure else Event(Kind.TALLY, succeeded=1)
        state = advance(state, event._replace(generation=state.generation), settings=RULES, now=now).state
        seen.append((slot, is_failure))
        recent = [failed for at, failed in seen if at > slot - SLOTS]
        is_due = is_failure and len(recent) >= RATE.least_calls and sum(recent) * 2 >= len(recent)
        assert (state.status is Status.OPEN) is is_due
        if is_due:
            return


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0.0}, {"seconds": math.inf}, {"least_calls": 0}, {"failure_rate": 1.5}, {"failure_rate": -0.1},
        {"slow_rate": 0.5}, {"slow_seconds": 1.0}, {"failure_rate": math.nan},
    ],
)  # fmt: skip
def test_senseless_conditions_are_refused(wrong):
    with pytest.raises(Invalid):
        Conditions(**wrong)


def test_a_tally_tells_apart_what_was_taken_and_what_was_told():
    tally = Tally()
    for _ in range(3):
        tally.hit()
    assert (tally.tell(), tally.take(), tally.pending()) == (3, 3, 0)
    tally.hit()
    assert (tally.tell(), tally.pending(), tally.tell()) == (1, 1, 0)


class _Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def _slowly(clock, breaker, seconds):
    def work():
        clock.now += seconds

    breaker.call(work)


def test_a_callee_that_answers_too_slowly_opens_it_and_a_quick_one_does_not():
    clock = _Clock()
    breaker = Breaker("slow", SLOW_RULES, clock=clock)
    for _ in range(20):
        _slowly(clock, breaker, 0.1)
    for _ in range(3):
        _slowly(clock, breaker, 2.5)
    assert breaker.snapshot().state == "closed"
    for _ in range(3):
        clock.now += 11
        _slowly(clock, breaker, 0.1)
    for _ in range(9):
        if breaker.snapshot().state == "open":
            break
        _slowly(clock, breaker, 2.1)
    with pytest.raises(BreakerOpen):
        breaker.admit()
    assert breaker.snapshot().last_error == "slow: 2.1 s"


def test_a_permit_is_timed_from_its_admission():
    clock = _Clock()
    breaker = Breaker("slow", SLOW_RULES, clock=clock)
    for _ in range(4):
        permit = breaker.admit()
        clock.now += 2.4
        permit.succeed()
    assert breaker.snapshot().state == "open"


def test_conditions_may_come_and_go_while_it_is_in_use():
    clock = _Clock()
    breaker = Breaker("changing", replace(RULES, conditions=None), clock=clock)
    _slowly(clock, breaker, 9)
    breaker.settings = SLOW_RULES
    for _ in range(4):
        _slowly(clock, breaker, 2.4)
    assert breaker.snapshot().state == "open"
    breaker.reset()
    breaker.settings = replace(RULES, conditions=None)
    for _ in range(9):
        _slowly(clock, breaker, 9)
    assert breaker.snapshot().state == "closed"


def test_successes_before_a_move_are_nothing_to_the_window_after_it():
    clock = _Clock()
    breaker = Breaker("moved", RULES, clock=clock)
    for _ in range(50):
        breaker.call(lambda: None)
    breaker.reset()
    for _ in range(4):
        breaker.admit().fail("e")
    assert breaker.snapshot().state == "open"
