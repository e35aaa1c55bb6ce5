"""Retries: how many, how long, and when not."""

from __future__ import annotations

import asyncio

import pytest

from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings
from aurora.resilience.retry import RetryBudget, RetryBudgets, retry_call, wait_before


class Callee:
    """Raises what it is given, one after the other, then answers 7. Time passes only in `sleep`."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.now = 0.0
        self.waits: list[float] = []
        self.told: list[tuple[int, BaseException]] = []

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def retry(self, **options) -> int:
        defaults = {
            "sleep": self.sleep,
            "random": lambda: 1.0,
            "clock": lambda: self.now,
            "on_failure": lambda attempt, error: self.told.append((attempt, error)),
        }
        return retry_call(self, **(defaults | options))


def test_a_first_success_is_returned_without_waiting():
    callee = Callee()
    assert (callee.retry(), callee.calls, callee.waits) == (7, 1, [])


def test_the_third_attempt_may_still_succeed_after_one_and_two_seconds():
    callee = Callee(TimeoutError(), TimeoutError())
    assert (callee.retry(), callee.waits) == (7, [1.0, 2.0])


def test_after_the_last_attempt_its_error_is_raised_without_waiting():
    last = TimeoutError("third")
    callee = Callee(TimeoutError(), TimeoutError(), last)
    with pytest.raises(TimeoutError) as caught:
        callee.retry()
    assert caught.value is last
    assert (callee.calls, callee.waits) == (3, [1.0, 2.0])


def test_every_failed_attempt_is_told_the_last_one_too():
    errors = [TimeoutError("1"), OSError("2"), TimeoutError("3")]
    callee = Callee(*errors)
    with pytest.raises(TimeoutError):
        callee.retry()
    assert callee.told == [(1, errors[0]), (2, errors[1]), (3, errors[2])]


@pytest.mark.parametrize("error", [Invalid(), Denied(), Missing(), Conflict()], ids=lambda e: type(e).__name__)
def test_what_stays_wrong_is_tried_once_whatever_the_caller_says(error):
    callee = Callee(error)
    with pytest.raises(type(error)):
        callee.retry(should_retry=lambda _: True)
    assert (callee.calls, callee.told) == (1, [(1, error)])


def test_the_caller_may_narrow_what_is_tried_again():
    callee = Callee(OSError())
    with pytest.raises(OSError):
        callee.retry(should_retry=lambda error: isinstance(error, TimeoutError))
    assert callee.calls == 1


def test_a_cancellation_passes_through_untold():
    callee = Callee(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        callee.retry(should_retry=lambda _: True)
    assert (callee.calls, callee.told) == (1, [])


def test_a_refusal_by_the_breaker_is_raised_at_once_and_untold():
    callee = Callee(BreakerOpen("no", "a", 9.0))
    with pytest.raises(BreakerOpen):
        callee.retry(should_retry=lambda _: True)
    assert (callee.calls, callee.waits, callee.told) == (1, [], [])


def test_a_breaker_that_opens_under_the_attempts_ends_them():
    breaker = Breaker("a", BreakerSettings(failure_threshold=2))
    callee = Callee(*[TimeoutError() for _ in range(9)])
    with pytest.raises(BreakerOpen):
        retry_call(lambda: breaker.call(callee), attempts=9, sleep=callee.sleep)
    assert callee.calls == 2


def test_no_wait_goes_past_the_deadline():
    callee = Callee(TimeoutError(), TimeoutError(), TimeoutError())
    with pytest.raises(TimeoutError):
        callee.retry(deadline=2.5)
    assert callee.waits == [1.0]


def test_an_attempt_is_made_when_it_begins_before_the_deadline():
    callee = Callee(TimeoutError(), TimeoutError())
    assert callee.retry(deadline=3.1) == 7


@pytest.mark.parametrize(("drawn", "waits"), [(0.0, [0.5, 1.0, 2.0]), (0.5, [0.75, 1.5, 3.0])])
def test_waits_double_and_are_spread_over_their_upper_half(drawn, waits):
    assert [wait_before(n, base_seconds=1.0, random=lambda: drawn) for n in (1, 2, 3)] == waits


def test_a_spent_budget_ends_the_attempts():
    budget = RetryBudget(floor=1, clock=lambda: 0.0)
    callee = Callee(TimeoutError(), TimeoutError(), TimeoutError())
    with pytest.raises(TimeoutError):
        callee.retry(budget=budget)
    assert (callee.calls, callee.waits) == (2, [1.0])


def test_a_budget_allows_three_retries_however_few_the_calls():
    budget = RetryBudget(clock=lambda: 0.0)
    budget.note_call()
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_a_budget_allows_a_fifth_of_many_calls():
    budget = RetryBudget(clock=lambda: 0.0)
    for _ in range(100):
        budget.note_call()
    assert sum(budget.take() for _ in range(50)) == 20


def test_a_budget_forgets_after_a_minute():
    now = [0.0]
    budget = RetryBudget(clock=lambda: now[0])
    assert [budget.take() for _ in range(4)].count(True) == 3
    now[0] = 59.9
    assert not budget.take()
    now[0] = 60.0
    assert budget.take()


def test_a_dead_callee_gets_a_fifth_more_calls_not_three_times_as_many():
    budget = RetryBudget(clock=lambda: 0.0)
    callee = Callee(*[TimeoutError() for _ in range(1000)])
    for _ in range(100):
        with pytest.raises(TimeoutError):
            callee.retry(budget=budget)
    assert callee.calls <= 120


def test_each_name_has_its_own_budget():
    budgets = RetryBudgets(clock=lambda: 0.0)
    assert budgets.of("a") is budgets.of("a")
    assert budgets.of("a") is not budgets.of("b")
