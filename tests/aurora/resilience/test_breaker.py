"""The breaker as callers hold it, in one process, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from aurora.errors import Conflict, Denied, Invalid, Missing, Unavailable
from aurora.resilience.breaker import (
    Breaker,
    BreakerOpen,
    BreakerSettings,
    Permit,
    Status,
    Transition,
    is_callees_fault,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def moves() -> list[Transition]:
    return []


@pytest.fixture
def breaker(clock, moves) -> Breaker:
    return Breaker("agent", BreakerSettings(), clock=clock, on_transition=moves.append)


def fail(breaker: Breaker, times: int = 1, error: Exception | None = None) -> None:
    for _ in range(times):
        breaker.admit().fail(error or ConnectionRefusedError("refused"))


def state(breaker: Breaker) -> Status:
    return breaker.snapshot().state


def raising(error: BaseException):
    def call():
        raise error

    return call


def test_a_call_returns_what_the_function_returns(breaker):
    assert breaker.call(lambda: 7) == 7


def test_an_error_of_the_call_reaches_the_caller_unchanged(breaker):
    error = TimeoutError("slow")
    with pytest.raises(TimeoutError) as caught:
        breaker.call(raising(error))
    assert caught.value is error


def test_three_consecutive_failures_open_it(breaker):
    fail(breaker, 2)
    assert state(breaker) == "closed"
    fail(breaker)
    assert state(breaker) == "open"


def test_a_success_in_between_starts_the_count_again(breaker):
    fail(breaker, 2)
    breaker.call(lambda: None)
    fail(breaker, 2)
    assert state(breaker) == "closed"


def test_an_open_breaker_refuses_without_calling(breaker, clock):
    fail(breaker, 3)
    clock.now += 12
    called = []
    with pytest.raises(BreakerOpen) as refused:
        breaker.call(lambda: called.append(1))
    assert called == []
    assert refused.value.name == "agent"
    assert refused.value.retry_after == pytest.approx(18.0)
    assert refused.value.detail == "Agent service unavailable"


def test_a_refusal_is_our_unavailable_with_the_breakers_own_words():
    breaker = Breaker("redis", BreakerSettings(failure_threshold=1), detail="Live updates unavailable")
    fail(breaker)
    with pytest.raises(Unavailable, match="Live updates unavailable"):
        breaker.admit()


def test_of_a_hundred_concurrent_callers_after_the_reset_time_exactly_one_is_admitted(breaker, clock):
    fail(breaker, 3)
    clock.now += 30
    start = threading.Barrier(100)

    def caller(_: int) -> bool:
        start.wait()
        try:
            breaker.admit()
        except BreakerOpen:
            return False
        return True

    with ThreadPoolExecutor(100) as pool:
        assert sum(pool.map(caller, range(100))) == 1


def test_a_successful_probe_closes_and_counts_from_zero(breaker, clock):
    fail(breaker, 3)
    clock.now += 30
    breaker.call(lambda: None)
    assert state(breaker) == "closed"
    fail(breaker, 2)
    assert state(breaker) == "closed"


def test_a_failed_probe_opens_for_the_full_time(breaker, clock):
    fail(breaker, 3)
    clock.now += 45
    fail(breaker)
    with pytest.raises(BreakerOpen) as refused:
        breaker.admit()
    assert refused.value.retry_after == pytest.approx(30.0)


def test_a_stale_success_moves_nothing(breaker, clock):
    stale = breaker.admit()
    fail(breaker, 3)
    clock.now += 30
    breaker.admit()
    stale.succeed()
    assert state(breaker) == "half-open"


def test_late_failures_do_not_extend_the_open_time(breaker, clock):
    late = [breaker.admit() for _ in range(5)]
    fail(breaker, 3)
    clock.now += 20
    for permit in late:
        permit.fail(TimeoutError())
    clock.now += 10
    assert isinstance(breaker.admit(), Permit)


def test_a_probe_that_never_reports_holds_the_place_only_until_its_lease_ends(breaker, clock):
    fail(breaker, 3)
    clock.now += 30
    lost = breaker.admit()
    for _ in range(59):
        clock.now += 1
        with pytest.raises(BreakerOpen):
            breaker.admit()
    clock.now += 1
    breaker.admit()
    lost.succeed()
    assert state(breaker) == "half-open"


def test_a_cancelled_probe_gives_its_place_to_the_next_caller(breaker, clock):
    fail(breaker, 3)
    clock.now += 30
    breaker.admit().cancel()
    assert state(breaker) == "half-open"
    breaker.call(lambda: None)
    assert state(breaker) == "closed"


@pytest.mark.parametrize(
    "error",
    [
        Invalid(),
        Denied(),
        Missing(),
        Conflict(),
        BreakerOpen("no", "other", 1.0),
        asyncio.CancelledError(),
        concurrent.futures.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_nothing_about_the_callee_gives_no_verdict(breaker, error):
    fail(breaker, 2)
    with pytest.raises(type(error)):
        breaker.call(raising(error))
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.failure_count) == ("closed", 2)


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError(), ConnectionResetError(), TimeoutError(), ValueError("garbled"), Unavailable()],
    ids=lambda error: type(error).__name__,
)
def test_what_speaks_against_the_callee_counts(breaker, error):
    with pytest.raises(type(error)):
        breaker.call(raising(error))
    assert breaker.snapshot().failure_count == 1


def test_what_counts_can_be_narrowed(clock):
    breaker = Breaker(
        "db",
        BreakerSettings(failure_threshold=1),
        clock=clock,
        counts_as_failure=lambda error: is_callees_fault(error) and not isinstance(error, KeyError),
    )
    with pytest.raises(KeyError):
        breaker.call(raising(KeyError("mine")))
    assert state(breaker) == "closed"


def test_no_predicate_makes_a_cancellation_count(clock):
    breaker = Breaker("a", BreakerSettings(failure_threshold=1), clock=clock, counts_as_failure=lambda _: True)
    with pytest.raises(asyncio.CancelledError):
        breaker.call(raising(asyncio.CancelledError()))
    assert state(breaker) == "closed"


def test_a_block_that_ends_well_succeeds_and_one_that_raises_fails(breaker):
    fail(breaker, 2)
    with breaker.admit():
        pass
    assert breaker.snapshot().failure_count == 0
    with pytest.raises(OSError), breaker.admit():
        raise OSError("down")
    assert breaker.snapshot().failure_count == 1


def test_a_failure_that_the_callee_declares_counts_although_nothing_was_raised(breaker):
    with breaker.admit() as permit:
        permit.fail("task state: failed")
    snapshot = breaker.snapshot()
    assert (snapshot.failure_count, snapshot.failures, snapshot.successes) == (1, 1, 0)
    assert snapshot.last_error == "task state: failed"


@pytest.mark.parametrize("second", ["succeed", "cancel"])
def test_only_the_first_verdict_of_a_permit_counts(breaker, second):
    fail(breaker, 2)
    permit = breaker.admit()
    permit.fail("down")
    getattr(permit, second)()
    permit.fail("again")
    assert (breaker.snapshot().failures, state(breaker)) == (3, "open")


async def test_coroutines_pass_through_the_same_machine(breaker):
    async def down() -> None:
        raise ConnectionResetError

    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await breaker.acall(down)
    with pytest.raises(BreakerOpen):
        await breaker.acall(down)


async def test_a_coroutine_that_answers_closes_it(breaker, clock):
    async def answer() -> int:
        return 7

    fail(breaker, 3)
    clock.now += 30
    assert await breaker.acall(answer) == 7
    assert state(breaker) == "closed"


async def test_a_cancelled_coroutine_probe_returns_the_permit(breaker, clock):
    fail(breaker, 3)
    clock.now += 30
    entered = asyncio.Event()

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    probe = asyncio.create_task(breaker.acall(hang))
    await entered.wait()
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert isinstance(breaker.admit(), Permit)


def test_nothing_is_held_while_a_call_runs(breaker):
    assert breaker.call(lambda: breaker.call(lambda: breaker.snapshot().state)) == "closed"


def test_forced_open_refuses_for_good_and_takes_the_probes_place(breaker, clock):
    fail(breaker, 3)
    clock.now += 30
    probe = breaker.admit()
    breaker.force_open()
    probe.succeed()
    clock.now += 1_000_000
    with pytest.raises(BreakerOpen) as refused:
        breaker.admit()
    assert refused.value.retry_after == 30.0
    snapshot = breaker.snapshot()
    assert (snapshot.is_forced, snapshot.next_probe_at) == (True, None)


def test_forced_closed_admits_whatever_fails(breaker):
    breaker.force_closed()
    fail(breaker, 10)
    assert (state(breaker), breaker.snapshot().failures) == ("closed", 10)


@pytest.mark.parametrize("order", ["force_open", "force_closed"])
def test_reset_takes_it_out_of_the_operators_hand(breaker, order):
    getattr(breaker, order)()
    breaker.reset()
    fail(breaker, 3)
    assert (state(breaker), breaker.snapshot().is_forced) == ("open", False)


def test_a_snapshot_tells_everything(breaker, clock):
    breaker.call(lambda: None)
    fail(breaker, 3, TimeoutError("no answer"))
    clock.now += 10
    with pytest.raises(BreakerOpen):
        breaker.admit()
    snapshot = breaker.snapshot()
    now = datetime.now(UTC)
    assert (snapshot.state, snapshot.failure_count, snapshot.failure_threshold) == ("open", 3, 3)
    assert (snapshot.reset_timeout, snapshot.last_error) == (30.0, "TimeoutError: no answer")
    assert (snapshot.trips, snapshot.successes, snapshot.failures, snapshot.rejected) == (1, 1, 3, 1)
    assert snapshot.opened_at is not None
    assert abs(now - timedelta(seconds=10) - snapshot.opened_at) < timedelta(seconds=1)
    assert snapshot.next_probe_at is not None
    assert abs(now + timedelta(seconds=20) - snapshot.next_probe_at) < timedelta(seconds=1)
    assert snapshot.shared is False


def test_a_closed_breaker_shows_no_times(breaker):
    snapshot = breaker.snapshot()
    assert (snapshot.opened_at, snapshot.next_probe_at, snapshot.last_error) == (None, None, None)


def test_a_replaced_threshold_holds_from_the_next_failure(breaker):
    fail(breaker, 2)
    breaker.settings = BreakerSettings(failure_threshold=5)
    fail(breaker, 2)
    assert state(breaker) == "closed"
    fail(breaker)
    assert (state(breaker), breaker.snapshot().failure_threshold) == ("open", 5)


def test_each_transition_is_announced_once_and_refusals_are_not(breaker, clock, moves):
    fail(breaker, 3)
    for _ in range(5):
        with pytest.raises(BreakerOpen):
            breaker.admit()
    clock.now += 30
    breaker.call(lambda: None)
    assert [(move.before, move.after) for move in moves] == [
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "closed"),
    ]


def test_an_announcement_says_why_and_until_when(breaker, moves):
    fail(breaker, 3)
    assert moves == [
        Transition(
            name="agent",
            before=Status.CLOSED,
            after=Status.OPEN,
            is_forced=False,
            failure_count=3,
            last_error="ConnectionRefusedError: refused",
            retry_after=30.0,
            is_shared=False,
        )
    ]


def test_a_broken_listener_does_not_replace_the_result_of_a_call(clock):
    def broken(_: Transition) -> None:
        raise ZeroDivisionError

    breaker = Breaker("a", BreakerSettings(), clock=clock, on_transition=broken)
    fail(breaker, 3)
    clock.now += 30
    assert breaker.call(lambda: 7) == 7


def test_hostile_error_text_is_cut_and_made_encodable(breaker):
    fail(breaker, 1, ValueError("\ud800" + "x" * 100_000))
    last_error = breaker.snapshot().last_error
    assert last_error is not None
    assert last_error.startswith("ValueError: ?xxx")
    assert len(last_error) == 300


def test_no_outcome_is_lost_between_threads(breaker):
    def caller(_: int) -> None:
        for _ in range(500):
            breaker.call(lambda: None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, range(8)))
    assert breaker.snapshot().successes == 4000
