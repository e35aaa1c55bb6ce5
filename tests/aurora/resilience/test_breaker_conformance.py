"""What breakers elsewhere are known to get wrong, where no other file of this folder holds it already."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from aurora.resilience import breakers
from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings
from aurora.resilience.retry import RetryBudgets, retry_call


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.admit().fail("no answer")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_step_of_the_wall_clock_changes_nothing(hours):
    breaker = Breaker("agent", BreakerSettings(reset_timeout=600.0))
    fail(breaker, 3)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours)), pytest.raises(BreakerOpen) as refused:
        breaker.admit()
    assert 590 < refused.value.retry_after <= 600


def test_with_more_attempts_the_waits_are_one_two_and_four_seconds():
    waits: list[float] = []
    with pytest.raises(TimeoutError):
        retry_call(_hang, attempts=4, sleep=waits.append, random=lambda: 1.0)
    assert waits == [1.0, 2.0, 4.0]


def _hang() -> None:
    raise TimeoutError


def test_one_dead_agent_silences_no_other(redis_client, monkeypatch):
    monkeypatch.setattr(breakers, "_breakers", {})
    dead, well = (breakers.get(f"agent:{name}", BreakerSettings()) for name in ("dead", "well"))
    dead.force_open()
    assert well.call(lambda: "here") == "here"
    budgets = RetryBudgets()
    assert budgets.of("dead") is not budgets.of("well")


def test_one_process_that_cannot_reach_an_agent_does_not_open_it_for_three_that_can(redis_client, join):
    """Its failures lie between their successes, each of which starts the count again."""
    bad, *good = [join(redis_client) for _ in range(4)]
    for _ in range(10):
        fail(bad)
        for process in good:
            process.read_shared()  # the news of the failure, which a push brings by and by
            process.call(lambda: None)
    assert bad.snapshot().state == "closed"


def test_three_processes_that_cannot_reach_it_open_it(redis_client, join):
    *bad, good = [join(redis_client) for _ in range(4)]
    for process in bad:
        fail(process)
    assert good.snapshot().state == "open"


def test_each_attempt_of_a_dispatch_is_a_call_and_the_refusal_ends_them():
    breaker = Breaker("agent", BreakerSettings(failure_threshold=2))
    waits: list[float] = []
    with pytest.raises(BreakerOpen) as refused:
        retry_call(lambda: breaker.call(_hang), attempts=5, sleep=waits.append)
    assert len(waits) == 2
    assert refused.value.retry_after > 0
    assert breaker.snapshot().failures == 2


def test_a_frozen_redis_adds_nothing_to_a_quiet_call(own_redis, join):
    breaker = join(own_redis.client(timeout=60.0))
    own_redis.send(signal.SIGSTOP)
    try:
        # One question to it would wait for a minute; what waits is the listener's thread, until it thaws.
        assert [breaker.call(lambda: 1) for _ in range(1000)] == [1] * 1000
    finally:
        own_redis.send(signal.SIGCONT)


def test_an_open_breaker_says_whose_it_is_and_when_to_come_back():
    breaker = Breaker("agent:threat_hunter", BreakerSettings())
    fail(breaker, 3)
    with pytest.raises(BreakerOpen) as refused:
        breaker.call(lambda: None)
    assert (refused.value.name, str(refused.value)) == ("agent:threat_hunter", "Agent service unavailable")
    assert 29 < refused.value.retry_after <= 30


def test_a_quiet_breaker_counts_every_success_of_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    breaker = Breaker("agent", BreakerSettings())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [breaker.call(lambda: None) for _ in range(500)], range(8)))
    assert breaker.snapshot().successes == 4000
    assert breaker.snapshot().successes == 4000  # to look is not to count
