"""The limiter while Redis answers: exact, all or nothing, honest about the wait."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
import uuid
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from aurora.errors import Invalid
from aurora.resilience.ratelimit import SECOND, Limiter, Policy
from tests.aurora.limiter_fakes import Clock, CountingPool, counting_pool, limiter_on, patient
from tests.waiting import until

GENERAL = Policy("general", 5, 60)
PLAYBOOKS = Policy("playbooks", 2, 60)
INGEST = Policy("ingest", 6000, 60)
BRIEF = Policy("general", 5, 1)
ANALYST = "user:analyst"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pool(redis_client, redis_url):
    made = counting_pool(redis_url)
    yield made
    made.disconnect()


def patient_limiter_on(pool: CountingPool, **options: Any) -> Limiter:
    made = limiter_on(pool, **options)
    patient(pool)
    return made


@pytest.fixture
def limiter(pool):
    return patient_limiter_on(pool)


def key_of(policy: Policy, identity: str = ANALYST) -> str:
    return f"aurora:limit:{{{identity}}}:{policy.name}"


def seed(client: redis.Redis, policy: Policy, ages: list[float], identity: str = ANALYST) -> None:
    """Lays down hits admitted so many seconds ago by Redis's clock; a negative age lies in the future."""
    seconds, micros = client.time()
    now = seconds * SECOND + micros
    key = key_of(policy, identity)
    client.delete(key)
    if ages:
        client.rpush(key, *[now - int(age * SECOND) for age in sorted(ages, reverse=True)])


def let_pass(client: redis.Redis, policy: Policy, seconds: float) -> None:
    """Makes the hits that are kept so much older, as if that time had passed by Redis's clock."""
    kept: Any = client.lrange(key_of(policy), 0, -1)
    client.delete(key_of(policy))
    client.rpush(key_of(policy), *(int(at) - int(seconds * SECOND) for at in kept))


def test_a_quota_lets_exactly_that_many_through(limiter):
    assert [limiter.hit(ANALYST, [GENERAL]).allowed for _ in range(8)] == [True] * 5 + [False] * 3


def test_an_admitted_hit_says_what_remains_and_when_there_is_more(limiter):
    decision = limiter.hit(ANALYST, [GENERAL])
    assert (decision.retry_after, decision.is_local) == (0, False)
    assert decision.standings == ((GENERAL, 4, 60),)


def test_the_reset_is_when_the_oldest_hit_leaves(limiter, redis_client):
    seed(redis_client, GENERAL, [45.5, 10])
    (standing,) = limiter.hit(ANALYST, [GENERAL]).standings
    assert (standing.remaining, standing.reset_seconds) == (2, 15)


def test_a_refused_hit_says_when_to_come_back(limiter, redis_client):
    seed(redis_client, GENERAL, [40.5, 10, 10, 10, 10])
    decision = limiter.hit(ANALYST, [GENERAL])
    assert (decision.allowed, decision.retry_after) == (False, 20)
    assert decision.standings == ((GENERAL, 0, 20),)


def test_refused_hits_do_not_count(limiter, redis_client):
    seed(redis_client, GENERAL, [10] * 5)
    for cost in (1, 2, 3):
        limiter.hit(ANALYST, [GENERAL], cost=cost)
    assert redis_client.llen(key_of(GENERAL)) == 5


def test_a_hit_that_one_policy_refuses_counts_in_none(limiter, redis_client):
    seed(redis_client, PLAYBOOKS, [10, 10])
    decision = limiter.hit(ANALYST, [GENERAL, PLAYBOOKS])
    assert not decision.allowed
    assert decision.standings == ((GENERAL, 5, 0), (PLAYBOOKS, 0, 50))
    assert limiter.hit(ANALYST, [GENERAL]).standings[0].remaining == 4


def test_the_order_of_policies_changes_nothing(limiter, redis_client):
    seed(redis_client, PLAYBOOKS, [10, 10])
    limiter.hit(ANALYST, [PLAYBOOKS, GENERAL])
    assert redis_client.exists(key_of(GENERAL)) == 0


def test_a_policy_that_refused_does_not_refuse_requests_it_does_not_apply_to(limiter, redis_client):
    seed(redis_client, PLAYBOOKS, [10, 10])
    assert not limiter.hit(ANALYST, [GENERAL, PLAYBOOKS]).allowed
    assert limiter.hit(ANALYST, [GENERAL]).allowed


@pytest.mark.parametrize("policies", [[GENERAL, PLAYBOOKS], [PLAYBOOKS, GENERAL]])
def test_the_wait_is_that_of_the_slowest_policy_that_refused(limiter, redis_client, policies):
    seed(redis_client, GENERAL, [50] * 5)
    seed(redis_client, PLAYBOOKS, [20, 20])
    assert limiter.hit(ANALYST, policies).retry_after == 40


def test_callers_have_quotas_of_their_own(limiter, redis_client):
    seed(redis_client, GENERAL, [1] * 5)
    assert not limiter.hit(ANALYST, [GENERAL]).allowed
    assert limiter.hit("user:lead", [GENERAL]).allowed


def test_a_hit_without_policies_passes_without_a_round_trip(limiter, pool):
    decision = limiter.hit(ANALYST, [])
    assert (decision.allowed, decision.standings, pool.trips) == (True, (), 0)


def test_one_decision_over_two_policies_is_one_round_trip(limiter, pool):
    limiter.hit(ANALYST, [GENERAL, PLAYBOOKS])
    pool.trips = 0
    limiter.hit(ANALYST, [GENERAL, PLAYBOOKS])
    assert pool.trips == 1


def test_a_costly_hit_takes_its_cost(limiter):
    assert limiter.hit(ANALYST, [INGEST], cost=2500).standings[0].remaining == 3500
    assert limiter.hit(ANALYST, [INGEST], cost=3500).allowed
    assert not limiter.hit(ANALYST, [INGEST]).allowed


def test_a_costly_hit_waits_until_enough_hits_have_left(limiter, redis_client):
    seed(redis_client, GENERAL, [50.5, 40.5, 30.5, 20.5])
    decision = limiter.hit(ANALYST, [GENERAL], cost=3)
    assert (decision.retry_after, decision.standings[0]) == (20, (GENERAL, 1, 10))


def test_a_costly_refusal_does_not_refuse_a_cheap_hit(limiter, redis_client):
    seed(redis_client, GENERAL, [10] * 4)
    assert not limiter.hit(ANALYST, [GENERAL], cost=2).allowed
    assert limiter.hit(ANALYST, [GENERAL], cost=1).allowed


@pytest.mark.parametrize("cost", [6, 0, -1])
def test_a_cost_that_can_never_pass_is_invalid(limiter, cost):
    with pytest.raises(Invalid):
        limiter.hit(ANALYST, [GENERAL], cost=cost)


def test_two_policies_of_one_name_are_refused_loudly(limiter):
    with pytest.raises(ValueError, match="different names"):
        limiter.hit(ANALYST, [GENERAL, BRIEF])


def test_a_lowered_quota_holds_at_once(limiter, redis_client):
    seed(redis_client, GENERAL, [50.5, 40.5, 30.5, 20.5, 10.5])
    decision = limiter.hit(ANALYST, [Policy("general", 3, 60)])
    assert (decision.allowed, decision.retry_after) == (False, 30)


def _is_away_from_the_edge(age: float) -> bool:
    """Time passes between laying hits down and asking; those about to leave the window prove nothing."""
    return not 50 < age <= 60


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0, 120).filter(_is_away_from_the_edge), max_size=40), st.integers(1, 30))
def test_what_remains_is_what_a_count_by_hand_leaves(redis_client, limiter, ages, quota):
    policy, caller = Policy("general", quota, 60), f"user:{uuid.uuid4()}"
    seed(redis_client, policy, ages, caller)
    used = sum(age < 60 for age in ages)
    decision = limiter.hit(caller, [policy])
    assert decision.allowed == (used < quota)
    assert decision.standings[0].remaining == max(0, quota - used - decision.allowed)


@pytest.mark.parametrize("expired", [0, 1, 2, 3, 1000, 4095, 5999, 6000])
def test_hits_that_left_the_window_are_dropped_however_many(limiter, redis_client, expired):
    seed(redis_client, INGEST, [90.0] * expired + [1.0] * (6000 - expired))
    decision = limiter.hit(ANALYST, [INGEST])
    assert decision.allowed == (expired > 0)
    assert redis_client.llen(key_of(INGEST)) == 6000 - expired + decision.allowed


def test_no_window_wherever_it_begins_holds_more_than_the_quota(limiter):
    passed: list[tuple[float, float]] = []

    def hit() -> bool:
        before = time.monotonic()
        if limiter.hit(ANALYST, [BRIEF]).allowed:
            passed.append((before, time.monotonic()))
        return len(passed) == 15

    until(hit, every=0.003)
    spans = [passed[i + 5][1] - passed[i][0] for i in range(10)]
    assert min(spans) >= 1.0


@pytest.mark.parametrize("refusals", [1, 2], ids=["refused by Redis", "refused from memory"])
def test_a_caller_who_waits_as_long_as_told_gets_through(pool, redis_client, clock, refusals):
    limiter = patient_limiter_on(pool, clock=clock)
    seed(redis_client, GENERAL, [30.0, 5.0, 4.0, 3.0, 2.0])
    told = [limiter.hit(ANALYST, [GENERAL]).retry_after for _ in range(refusals)]
    assert all(0 < wait <= 30 for wait in told)
    clock.now += told[-1]
    let_pass(redis_client, GENERAL, told[-1])
    assert limiter.hit(ANALYST, [GENERAL]).allowed


def test_a_caller_known_to_be_over_costs_no_round_trip(pool, redis_client, clock):
    limiter = patient_limiter_on(pool, clock=clock)
    seed(redis_client, GENERAL, [40.5] * 5)
    limiter.hit(ANALYST, [GENERAL])
    pool.trips = 0
    clock.now += 7
    decision = limiter.hit(ANALYST, [GENERAL])
    assert (decision.allowed, decision.retry_after, pool.trips) == (False, 13, 0)
    assert decision.standings == ((GENERAL, 0, 13),)


def test_redis_is_asked_again_when_the_wait_is_over(pool, redis_client, clock):
    limiter = patient_limiter_on(pool, clock=clock)
    seed(redis_client, GENERAL, [40.5] * 5)
    clock.now += limiter.hit(ANALYST, [GENERAL]).retry_after
    seed(redis_client, GENERAL, [])
    assert limiter.hit(ANALYST, [GENERAL]).allowed


def test_the_memory_of_refusals_is_bounded(pool, redis_client):
    limiter = patient_limiter_on(pool, max_identities=2)
    one = Policy("general", 1, 60)
    for name in ("user:a", "user:b", "user:c"):
        limiter.hit(name, [one])
        limiter.hit(name, [one])
    pool.trips = 0
    limiter.hit("user:c", [one])
    assert pool.trips == 0
    limiter.hit("user:a", [one])
    assert pool.trips == 1


def test_a_host_whose_clock_is_an_hour_off_gets_nothing_extra(limiter, redis_url, clock):
    clock.now += 3600
    skewed = patient_limiter_on(counting_pool(redis_url), clock=clock)
    assert all(limiter.hit(ANALYST, [GENERAL]).allowed for _ in range(5))
    assert skewed.hit(ANALYST, [GENERAL]).retry_after == 60


def test_hits_from_the_near_future_still_count(limiter, redis_client):
    """Redis's clock went back a little."""
    seed(redis_client, GENERAL, [-2.5] * 5)
    assert limiter.hit(ANALYST, [GENERAL]).retry_after == 63


def test_a_clock_set_back_by_an_hour_locks_nobody_out(limiter, redis_client):
    seed(redis_client, GENERAL, [-3600] * 5)
    assert limiter.hit(ANALYST, [GENERAL]).standings == ((GENERAL, 4, 60),)


def test_a_key_outlives_the_last_hit_that_may_come_before_it_is_renewed(limiter, redis_client):
    limiter.hit(ANALYST, [GENERAL])
    assert 120_000 < redis_client.pttl(key_of(GENERAL)) <= 121_000


def test_a_key_is_renewed_when_hits_leave_its_window(limiter, redis_client):
    seed(redis_client, GENERAL, [60.5, 1])
    redis_client.pexpire(key_of(GENERAL), 61_000)
    limiter.hit(ANALYST, [GENERAL])
    assert redis_client.pttl(key_of(GENERAL)) > 120_000


def test_a_full_ingest_window_takes_less_than_70_kilobytes(limiter, redis_client):
    seed(redis_client, INGEST, [float(n) / 100 for n in range(5999)])
    limiter.hit(ANALYST, [INGEST])
    assert redis_client.memory_usage(key_of(INGEST), samples=0) < 70_000


@pytest.mark.parametrize(
    "identity", ["", "a}b{c", "{}", "{", "x" * 100_000, "a b\r\nDEL *", "\0", "\ud800", "名前", "user:ok"]
)
def test_any_identity_counts_by_itself_and_in_one_hash_slot(limiter, redis_client, identity):
    first, second = (limiter.hit(identity, [GENERAL, PLAYBOOKS]) for _ in range(2))
    assert (first.standings[0].remaining, second.standings[0].remaining) == (4, 3)
    assert limiter.hit("user:other", [GENERAL]).standings[0].remaining == 4
    keys = [key for key in redis_client.scan_iter() if b"user:other" not in key]
    assert {key.rpartition(b":")[2] for key in keys} == {b"general", b"playbooks"}
    assert len({key_slot(key) for key in keys}) == 1
    assert all(len(key) < 250 for key in keys)


RACER = """
    import sys, threading, redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from aurora.resilience.ratelimit import Limiter, Policy

    client = redis.Redis.from_url(
        sys.argv[1], socket_timeout=0.05, socket_connect_timeout=0.05, retry=Retry(NoBackoff(), 0)
    )
    limiter = Limiter(client)
    client.connection_pool.connection_kwargs["socket_timeout"] = 30
    policies = [Policy("general", 100, 60), Policy("investigations", 1000, 60)]
    passed = []

    def race():
        for _ in range(50):
            decision = limiter.hit("user:analyst", policies)
            assert not decision.is_local
            passed.append(decision.allowed)

    threads = [threading.Thread(target=race) for _ in range(2)]
    print("ready", flush=True)
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(passed), sum(passed))
"""


def test_of_400_hits_by_8_threads_in_4_processes_exactly_100_pass(redis_client, redis_url):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(RACER), redis_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 4
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    results = [tuple(map(int, racer.communicate(timeout=60)[0].split())) for racer in racers]
    assert (sum(hits for hits, _ in results), sum(passed for _, passed in results)) == (400, 100)
    assert redis_client.llen(key_of(Policy("investigations", 1000, 60))) == 100
