"""The limiter while Redis is away, frozen or flushed: no request waits or fails, and limits still hold."""

from __future__ import annotations

import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora.embedded import locations
from aurora.embedded.servers import Redis as RedisServer
from aurora.resilience.ratelimit import Decision, Policy
from tests.aurora.limiter_fakes import Clock, CountingPool, counting_pool, limiter_on, patient

GENERAL = Policy("general", 5, 60)
PLAYBOOKS = Policy("playbooks", 2, 60)
ANALYST = "user:analyst"


def nothing_at(folder: Path) -> CountingPool:
    return counting_pool(f"unix://{folder}/nothing.sock")


def run_together(calls: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def server(tmp_path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path / "redis", locations.socket_dir(tmp_path))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pool(server):
    made = counting_pool(f"unix://{server.socket}")
    yield made
    made.disconnect()


@pytest.fixture
def impatient(pool, clock):
    return limiter_on(pool, clock=clock)


@pytest.fixture
def limiter(impatient, pool):
    patient(pool)
    return impatient


@pytest.fixture
def admin(server) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(server.socket)) as made:
        yield made


@pytest.fixture
def alone(tmp_path, clock):
    """A limiter whose Redis was never there."""
    return limiter_on(nothing_at(tmp_path), clock=clock)


def test_the_very_call_that_finds_redis_dead_is_decided_locally(limiter, server):
    assert not limiter.hit(ANALYST, [GENERAL]).is_local
    server.stop()
    decision = limiter.hit(ANALYST, [GENERAL, PLAYBOOKS])
    assert (decision.allowed, decision.is_local) == (True, True)
    assert decision.standings == ((GENERAL, 4, 60), (PLAYBOOKS, 1, 60))


def test_a_dead_redis_is_left_alone_for_a_second(limiter, pool, server, clock):
    server.stop()
    limiter.hit(ANALYST, [GENERAL])
    clock.now += 0.984375
    limiter.hit(ANALYST, [GENERAL])
    assert pool.trips == 1
    clock.now += 0.015625
    limiter.hit(ANALYST, [GENERAL])
    assert pool.trips == 2


def test_redis_decides_again_once_it_is_back(limiter, server, clock):
    server.stop()
    assert limiter.hit(ANALYST, [GENERAL]).is_local
    server.start()
    assert limiter.hit(ANALYST, [GENERAL]).is_local
    clock.now += 1
    assert not limiter.hit(ANALYST, [GENERAL]).is_local
    assert not limiter.hit(ANALYST, [GENERAL]).is_local


def test_a_frozen_redis_holds_one_hit_for_the_clients_timeout_and_the_next_not_at_all(impatient, pool, server):
    server.process.send_signal(signal.SIGSTOP)
    decisions = [impatient.hit(ANALYST, [GENERAL]) for _ in range(3)]
    assert all(decision.is_local for decision in decisions)
    assert pool.trips == 1


def test_one_caller_tries_a_frozen_redis_for_all_others(impatient, pool, server, clock):
    server.process.send_signal(signal.SIGSTOP)
    impatient.hit(ANALYST, [GENERAL])
    clock.now += 1
    barrier = threading.Barrier(8)

    def hit() -> None:
        barrier.wait()
        impatient.hit(ANALYST, [GENERAL])

    run_together([hit] * 8)
    assert pool.trips == 2


def test_a_flushed_redis_is_given_the_script_again_within_the_same_hit(limiter, admin):
    limiter.hit(ANALYST, [GENERAL])
    admin.flushall()
    admin.script_flush()
    decision = limiter.hit(ANALYST, [GENERAL])
    assert (decision.is_local, decision.standings[0].remaining) == (False, 4)


def test_the_script_is_sent_once(limiter, admin):
    for _ in range(3):
        limiter.hit(ANALYST, [GENERAL])
    assert admin.info("commandstats")["cmdstat_eval"]["calls"] == 1


def test_a_redis_that_answers_with_an_error_fails_no_request(limiter, admin):
    admin.set(f"aurora:limit:{{{ANALYST}}}:general", "not a list")
    decision = limiter.hit(ANALYST, [GENERAL])
    assert (decision.allowed, decision.is_local) == (True, True)


def test_a_redis_that_takes_no_writes_fails_no_request(limiter, admin):
    admin.config_set("maxmemory", "1")
    decision = limiter.hit(ANALYST, [GENERAL])
    assert (decision.allowed, decision.is_local) == (True, True)


def test_a_late_answer_is_never_taken_for_the_next_callers(impatient, server, clock):
    """A hit that timed out is answered once Redis thaws, on a connection that nobody reads any more."""
    impatient.hit(ANALYST, [GENERAL])
    server.process.send_signal(signal.SIGSTOP)
    impatient.hit(ANALYST, [GENERAL])
    server.process.send_signal(signal.SIGCONT)
    clock.now += 1
    decision = impatient.hit("user:lead", [PLAYBOOKS])
    assert decision.standings == ((PLAYBOOKS, 1, 60),)


def test_a_refusal_that_redis_gave_holds_while_it_is_away(limiter, server):
    for _ in range(6):
        limiter.hit(ANALYST, [GENERAL])
    server.stop()
    assert not limiter.hit(ANALYST, [GENERAL]).allowed


def test_limits_hold_without_redis_under_threads(alone):
    policy, passed = Policy("general", 100, 60), list[bool]()

    def hit() -> None:
        passed.extend(alone.hit(ANALYST, [policy]).allowed for _ in range(50))

    run_together([hit] * 8)
    assert (len(passed), sum(passed)) == (400, 100)


def test_processes_share_a_quota_while_redis_is_away(tmp_path, clock):
    limiters = [limiter_on(nothing_at(tmp_path), clock=clock, processes=3) for _ in range(3)]
    policy = Policy("general", 10, 60)
    passed = sum(limiter.hit(ANALYST, [policy]).allowed for limiter in limiters for _ in range(20))
    assert passed == 9


def test_a_share_is_never_too_small_for_the_hit_itself(tmp_path, clock):
    limiter = limiter_on(nothing_at(tmp_path), clock=clock, processes=100)
    assert limiter.hit(ANALYST, [GENERAL]).allowed
    assert limiter.hit("key:sensor", [GENERAL], cost=4).allowed


def test_the_longest_unseen_caller_is_forgotten_first(tmp_path, clock):
    limiter = limiter_on(nothing_at(tmp_path), clock=clock, max_identities=2)
    one = Policy("general", 1, 60)
    passed = [limiter.hit(f"user:{name}", [one]).allowed for name in "abacab"]
    assert passed == [True, True, False, True, False, True]


POLICIES = [Policy("general", 5, 3), Policy("investigations", 3, 2), Policy("playbooks", 2, 5)]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3 * 64),
        st.lists(st.sampled_from(POLICIES), min_size=1, max_size=3, unique=True),
        st.integers(1, 2),
    ),
    max_size=40,
)


class CountByHand:
    """The rule itself, word for word: every admitted hit is kept for ever and counted anew each time."""

    def __init__(self) -> None:
        self.times: defaultdict[str, list[float]] = defaultdict(list)

    def live(self, policy: Policy, now: float) -> list[float]:
        return [time for time in self.times[policy.name] if time > now - policy.window_seconds]

    def fits(self, policies: list[Policy], cost: int, now: float) -> bool:
        return all(len(self.live(policy, now)) + cost <= policy.quota for policy in policies)

    def hit(self, policies: list[Policy], cost: int, now: float) -> Decision:
        allowed = self.fits(policies, cost, now)
        wait = next(seconds for seconds in range(100) if self.fits(policies, cost, now + seconds))
        for policy in policies if allowed else ():
            self.times[policy.name] += [now] * cost
        return Decision(allowed, wait, tuple(self.standing(policy, now) for policy in policies), True)

    def standing(self, policy: Policy, now: float) -> Any:
        live = self.live(policy, now)
        grows = (seconds for seconds in range(100) if len(self.live(policy, now + seconds)) < len(live))
        return (policy, policy.quota - len(live), next(grows, 0))


@settings(max_examples=200)
@given(STEPS)
def test_the_local_window_decides_as_a_count_by_hand(steps):
    clock, by_hand = Clock(), CountByHand()
    limiter = limiter_on(nothing_at(Path("/nonexistent")), clock=clock)
    for sixty_fourths, policies, cost in steps:
        clock.now += sixty_fourths / 64
        assert limiter.hit(ANALYST, policies, cost=cost) == by_hand.hit(policies, cost, clock.now)
