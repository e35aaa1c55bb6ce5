"""The breaker shared through a real Redis: several stores in one process stand for several processes."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aurora.resilience import breakers
from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings, Transition
from aurora.resilience.breaker_machine import Counts, Event, Kind, Known, State, View, advance
from aurora.resilience.breaker_store import BreakerStore, read_view
from aurora.resilience.breaker_window import Conditions
from tests.waiting import until

KEY = "aurora:breaker:agent"
STATUS, OPENED_AT, PROBE_AT, COUNTS = 1, 5, 6, 12


def kept(client: redis.Redis) -> list[bytes]:
    """The lines of the breaker's state in Redis."""
    text = client.get(KEY)
    assert isinstance(text, bytes)
    return text.split(b"\n")


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.admit().fail(TimeoutError("no answer"))


def refuses(breaker: Breaker) -> bool:
    """Asks as a caller does, and leaves no trace when admitted."""
    try:
        breaker.admit().cancel()
    except BreakerOpen:
        return True
    return False


def cost(client: redis.Redis, action: Callable[[], object], *, of: str = "") -> int:
    """How many commands the server ran meanwhile, by whomever."""
    before = _commands(client, of)
    action()
    return _commands(client, of) - before


def _commands(client: redis.Redis, name: str) -> int:
    stats = client.info("commandstats")
    # INFO would count itself.
    names = [f"cmdstat_{name}"] if name else stats.keys() - {"cmdstat_info"}
    return sum(int(stats[each]["calls"]) for each in names if each in stats)


def test_failures_of_several_processes_add_up_and_open_it_for_all(redis_client, join):
    one, two = join(redis_client), join(redis_client)
    fail(one, 2)
    fail(two)
    assert refuses(two)
    until(lambda: refuses(one))


def test_a_new_process_reads_the_state_before_its_first_call(redis_client, join, request):
    fail(join(redis_client), 3)
    store = BreakerStore(redis_client, tick_seconds=0.02)
    request.addfinalizer(store.stop)
    late = Breaker("agent", BreakerSettings(), store=store)
    with pytest.raises(BreakerOpen) as refused:
        late.admit()
    assert refused.value.retry_after == pytest.approx(30.0, abs=0.1)


def test_a_success_elsewhere_resets_the_shared_count(redis_client, join):
    one, two = join(redis_client), join(redis_client)
    fail(one, 2)

    def success_of_two_is_seen_by_one() -> bool:
        two.call(lambda: None)
        return bool(one.snapshot().failure_count == 0)

    until(success_of_two_is_seen_by_one)


def test_one_probe_at_a_time_in_all_processes(redis_client, join):
    fleet = [join(redis_client, reset=0.0) for _ in range(5)]
    fail(fleet[0], 3)
    until(lambda: all(breaker.snapshot().state == "open" for breaker in fleet))
    assert sum(not _is_refused(breaker) for breaker in fleet * 4) == 1


@pytest.fixture
def three(redis_client, monkeypatch) -> Iterator[list[Breaker]]:
    """Breakers of this process that have not asked anybody yet."""
    store = BreakerStore(redis_client, tick_seconds=1.0)
    monkeypatch.setattr(breakers, "_store", store)
    yield [Breaker(f"agent-{number}", BreakerSettings(), store=store) for number in range(3)]
    store.stop()


def test_several_are_read_in_one_round_trip_as_each_is_by_itself(redis_client, join, three):
    fail(join(redis_client, name="agent-1"), 3)
    found = breakers.snapshots(three)
    assert [snapshot.state for snapshot in found] == ["closed", "open", "closed"]
    assert all(snapshot.shared for snapshot in found)
    assert breakers.snapshots(three)[1].trips == three[1].snapshot().trips == 1
    assert refuses(three[1])


def test_what_each_has_counted_goes_with_the_question_once(redis_client, join, three):
    breakers.snapshots(three)
    three[0].call(lambda: None)
    breakers.snapshots(three)
    breakers.snapshots(three)
    assert join(redis_client, name="agent-0").snapshot().successes == 1


def test_after_a_flush_redis_is_told_again_what_each_knew(redis_client, join, three):
    breakers.snapshots(three)
    fail(three[1], 3)
    redis_client.flushdb()
    redis_client.script_flush()
    assert [snapshot.state for snapshot in breakers.snapshots(three)] == ["closed", "open", "closed"]
    assert refuses(join(redis_client, name="agent-1"))


def test_without_redis_several_are_this_processs_alone_and_lose_no_count(own_redis, monkeypatch, request):
    store = BreakerStore(own_redis.client(), retry_seconds=0.02)
    request.addfinalizer(store.stop)
    monkeypatch.setattr(breakers, "_store", store)
    members = [Breaker(f"agent-{number}", BreakerSettings(), store=store) for number in range(2)]
    breakers.snapshots(members)
    own_redis.kill()
    members[0].call(lambda: None)
    assert [(found.shared, found.successes) for found in breakers.snapshots(members)] == [(False, 1), (False, 0)]
    own_redis.start()
    until(lambda: all(snapshot.shared for snapshot in breakers.snapshots(members)))
    assert breakers.snapshots(members)[0].successes == 1


def _is_shared(breaker: Breaker) -> bool:
    return breaker.snapshot().shared


def _is_refused(breaker: Breaker) -> bool:
    try:
        breaker.admit()
    except BreakerOpen:
        return True
    return False


def test_a_probes_success_closes_it_for_all(redis_client, join):
    one, two = join(redis_client, reset=0.0), join(redis_client, reset=0.0)
    fail(one, 3)
    one.admit().succeed()
    until(lambda: not refuses(two))
    assert two.snapshot().failure_count == 0


def test_a_probes_failure_opens_it_for_all(redis_client, join):
    one, two = join(redis_client, reset=0.0), join(redis_client, reset=0.0)
    fail(one, 3)
    probe = one.admit()
    one.settings = BreakerSettings(reset_timeout=3600.0)
    probe.fail("still down")
    until(lambda: two.snapshot().state == "open" and refuses(two))
    assert (two.snapshot().last_error, two.snapshot().trips) == ("still down", 1)


def test_a_cancelled_probe_frees_the_place_for_another_process(redis_client, join):
    one, two = join(redis_client, reset=0.0), join(redis_client, reset=0.0)
    fail(one, 3)
    one.admit().cancel()
    until(lambda: not _is_refused(two))


def test_refused_callers_do_not_prolong_a_lost_probes_lease(redis_client, join):
    one, two = join(redis_client, reset=0.0, lease=0.2), join(redis_client, reset=0.0, lease=0.2)
    fail(one, 3)
    one.admit()
    until(lambda: not _is_refused(two), every=0.001)


def test_a_call_begun_before_a_transition_elsewhere_moves_nothing(redis_client, join):
    one, two = join(redis_client, reset=0.0), join(redis_client, reset=0.0)
    late = [one.admit() for _ in range(3)]
    fail(two, 3)
    two.admit().succeed()
    for permit in late:
        permit.fail("late")
    snapshot = two.snapshot()
    assert (snapshot.state, snapshot.failure_count) == ("closed", 0)


def test_an_operators_orders_reach_every_process(redis_client, join):
    one, two = join(redis_client), join(redis_client)
    one.force_open()
    until(lambda: refuses(two))
    assert two.snapshot().is_forced
    two.reset()
    until(lambda: not refuses(one))
    two.force_closed()
    until(lambda: one.snapshot().is_forced)
    fail(one, 5)
    assert not refuses(one)


def test_a_transition_is_announced_only_where_it_was_caused(redis_client, join):
    here: list[Transition] = []
    there: list[Transition] = []
    one = join(redis_client, on_transition=here.append)
    two = join(redis_client, on_transition=there.append)
    fail(one, 3)
    until(lambda: refuses(two))
    assert [(move.before, move.after, move.is_shared) for move in here] == [("closed", "open", True)]
    assert there == []


def test_a_snapshot_shows_the_same_in_every_process(redis_client, join):
    one, two = join(redis_client, reset=30.0), join(redis_client, reset=30.0)
    fail(one, 3)
    first, second = one.snapshot(), two.snapshot()
    assert first.opened_at is not None
    assert second.opened_at is not None
    assert second.next_probe_at is not None
    assert abs((first.opened_at - second.opened_at).total_seconds()) < 0.5
    assert (second.next_probe_at - second.opened_at).total_seconds() == pytest.approx(30.0, abs=0.1)
    assert (second.state, second.trips, second.failures, second.shared) == ("open", 1, 3, True)


def test_a_breaker_that_opened_an_hour_ago_says_so_in_a_process_that_comes_later(redis_client, join):
    fail(join(redis_client), 3)
    lines = kept(redis_client)
    lines[OPENED_AT] = str(int(lines[OPENED_AT]) - 3600 * 1_000_000).encode()
    redis_client.set(KEY, b"\n".join(lines))
    opened_at = join(redis_client).snapshot().opened_at
    assert opened_at is not None
    assert (datetime.now(UTC) - opened_at).total_seconds() == pytest.approx(3600, abs=60)


def test_counts_of_quiet_processes_are_written_by_and_by(redis_client, join):
    one, two = join(redis_client), join(redis_client)
    for _ in range(5):
        one.call(lambda: None)
    until(lambda: two.snapshot().successes == 5)
    two.force_open()
    assert refuses(two)
    until(lambda: one.snapshot().rejected == 1)


def test_a_quiet_closed_breaker_and_an_open_one_cost_no_round_trip(own_redis, join):
    client = own_redis.client()
    breaker = join(client)
    # The listener's own rare commands fall into some of these windows, a round trip a call into every one.
    until(lambda: cost(client, lambda: [breaker.call(lambda: None) for _ in range(200)]) == 0)
    breaker.force_open()
    until(lambda: cost(client, lambda: [refuses(breaker) for _ in range(200)]) == 0)


def test_a_failure_and_the_first_success_after_it_cost_one_script_each(own_redis, join):
    client = own_redis.client()
    breaker = join(client)

    def fail_and_recover() -> None:
        fail(breaker)
        breaker.call(lambda: None)

    until(lambda: cost(client, fail_and_recover, of="evalsha") == 2)
    assert breaker.snapshot().failure_count == 0


def test_late_results_cost_no_round_trip(own_redis, join):
    client = own_redis.client()
    breaker = join(client)

    def cost_of_late_failures() -> int:
        breaker.reset()
        late = [breaker.admit() for _ in range(50)]
        breaker.force_open()
        return cost(client, lambda: [permit.fail("late") for permit in late])

    until(lambda: cost_of_late_failures() == 0)


def test_the_whole_state_is_one_text_that_a_person_can_read(redis_client, join):
    fail(join(redis_client), 3)
    assert redis_client.keys("*") == [KEY.encode()]
    assert kept(redis_client)[STATUS] == b"open"


def test_an_error_of_several_lines_is_kept_whole(redis_client, join):
    one, two = join(redis_client, threshold=1), join(redis_client)
    one.admit().fail("first\nsecond\n")
    assert two.snapshot().last_error == "first\nsecond\n"


def test_of_several_failures_only_the_first_is_news_to_others(redis_client, join):
    one, two = join(redis_client, threshold=10), join(redis_client, threshold=10)
    fail(one, 5)
    until(lambda: two._state.failure_count)
    two.call(lambda: None)
    assert one.snapshot().failure_count == 0


def test_databases_of_one_redis_do_not_hear_each_other(own_redis, join):
    here = join(own_redis.client())
    there = join(redis.Redis.from_url(f"{own_redis.url}?db=1", socket_timeout=2.0))
    other = join(own_redis.client())
    fail(here, 3)
    until(lambda: refuses(other))
    assert not refuses(there)


def test_redis_killed_the_machine_goes_on_with_what_it_knew(own_redis, join):
    breaker = join(own_redis.client(timeout=0.05), retry=3600.0)
    fail(breaker, 2)
    own_redis.kill()
    fail(breaker)
    assert refuses(breaker)
    assert breaker.snapshot().shared is False


def test_redis_absent_from_the_start_is_no_obstacle(own_redis, join):
    own_redis.kill()
    breaker = join(own_redis.client(timeout=0.05), reset=0.0)
    fail(breaker, 3)
    assert breaker.call(lambda: 7) == 7
    assert breaker.snapshot().state == "closed"


def test_a_frozen_redis_is_waited_for_once_not_once_a_call(own_redis, join):
    breaker = join(own_redis.client(timeout=0.1), retry=3600.0, threshold=1000)
    own_redis.send(signal.SIGSTOP)
    began = time.monotonic()
    fail(breaker, 50)
    own_redis.send(signal.SIGCONT)
    assert time.monotonic() - began < 2.0
    assert breaker._state.failure_count == 50


def test_a_thawed_redis_is_rejoined(own_redis, join):
    breaker = join(own_redis.client(timeout=0.1))
    own_redis.send(signal.SIGSTOP)
    fail(breaker)
    assert breaker.snapshot().shared is False
    own_redis.send(signal.SIGCONT)
    until(lambda: breaker.snapshot().shared)


def test_what_happened_here_while_redis_was_away_reaches_the_others_when_it_is_back(own_redis, join):
    one, two = join(own_redis.client()), join(own_redis.client())
    own_redis.kill()
    fail(one, 3)
    own_redis.start()
    until(lambda: refuses(two))
    until(lambda: two.snapshot().shared)
    assert two.snapshot().last_error == "TimeoutError: no answer"


@pytest.mark.parametrize("is_first", [True, False])
def test_what_an_operator_ordered_while_redis_was_away_holds_whoever_comes_back_first(own_redis, join, is_first):
    one, two = join(own_redis.client(), tick=60.0), join(own_redis.client(), tick=60.0)
    own_redis.kill()
    fail(one)
    two.force_open()
    own_redis.start()
    for breaker in [two, one] if is_first else [one, two]:
        until(partial(_is_shared, breaker))
    assert one.snapshot().is_forced
    assert two.snapshot().is_forced


def test_an_order_holds_though_redis_is_back_before_it_is_known_to_be_owed(own_redis, join):
    def another_thread_finds_it_back(_transition):
        own_redis.start()
        until(partial(_is_shared, one))
        until(two.read_shared)

    one = join(own_redis.client(), tick=60.0)
    two = join(own_redis.client(), tick=60.0, on_transition=another_thread_finds_it_back)
    own_redis.kill()
    fail(one)
    two.force_open()
    assert one.snapshot().is_forced
    assert two.snapshot().is_forced


def test_an_order_that_could_not_be_delivered_does_not_undo_the_next_one(own_redis, join, monkeypatch):
    breaker = join(own_redis.client(), tick=60.0)
    own_redis.kill()
    breaker.force_open()
    own_redis.start()
    ask = breaker._store.ask

    def lose_the_first(name, event, **told):
        if event is not None and event.kind is Kind.FORCE_OPEN:
            monkeypatch.setattr(breaker._store, "ask", ask)
            until(lambda: ask(name, None, **told))
            breaker.reset()
            return None
        return ask(name, event, **told)

    monkeypatch.setattr(breaker._store, "ask", lose_the_first)
    breaker.read_shared()
    assert breaker.snapshot().state == "closed"
    assert breaker.snapshot().shared


def test_an_order_is_given_once(own_redis, join):
    one, two = join(own_redis.client()), join(own_redis.client())
    own_redis.kill()
    one.force_open()
    own_redis.start()
    until(lambda: two.snapshot().is_forced)
    two.reset()
    assert one.snapshot().state == "closed"
    assert two.snapshot().state == "closed"


def test_once_rejoined_a_process_only_reads(own_redis, join):
    client = own_redis.client()
    breaker = join(client)
    own_redis.kill()
    fail(breaker)
    own_redis.start()
    until(lambda: breaker.snapshot().shared)
    before = kept(client)
    breaker.snapshot()
    assert kept(client) == before


def test_a_probe_begun_alone_still_counts_when_redis_is_back(own_redis, join):
    one, two = join(own_redis.client(), reset=0.0), join(own_redis.client(), reset=0.0)
    own_redis.kill()
    fail(one, 3)
    probe = one.admit()
    own_redis.start()
    until(lambda: two.snapshot().state == "half-open")
    probe.succeed()
    # At once, or with the listener's next word where the first process has not noticed yet that Redis is back.
    until(lambda: two.snapshot().state == "closed")


def test_a_call_admitted_in_a_process_that_went_astray_moves_nothing_in_the_shared_state(own_redis, join):
    one, two = join(own_redis.client(), reset=0.0), join(own_redis.client(), reset=0.0)
    own_redis.kill()
    fail(one, 3)
    fail(two, 3)
    probes = [one.admit(), two.admit()]
    own_redis.start()
    until(lambda: one.snapshot().shared and two.snapshot().shared)
    assert one._state.generation == two._state.generation
    stray = next(probe for probe in probes if probe._generation != one._state.generation)
    stray.succeed()
    assert one.snapshot().state == "half-open"


def test_flushed_while_open_every_process_still_refuses_and_the_first_to_ask_restores_it(own_redis, join):
    client = own_redis.client()
    one, two = join(client), join(client)
    fail(one, 3)
    until(lambda: refuses(two))
    client.flushall()
    assert refuses(one)
    assert refuses(two)
    assert two.snapshot().state == "open"
    assert kept(client)[STATUS] == b"open"
    assert join(client).snapshot().trips == 1


@pytest.mark.parametrize("order", ["force_open", "force_closed"])
def test_flushed_while_nobody_asks_an_operators_order_is_told_again_to_who_comes_later(own_redis, join, order):
    client = own_redis.client()
    breaker = join(client)
    getattr(breaker, order)()
    client.flushall()
    until(lambda: client.exists(KEY))
    assert join(client).snapshot().is_forced


def test_after_a_flush_there_is_still_only_one_probe(own_redis, join):
    client = own_redis.client()
    fleet = [join(client, reset=0.0) for _ in range(3)]
    fail(fleet[0], 3)
    until(lambda: all(breaker.snapshot().state == "open" for breaker in fleet))
    client.flushall()
    assert sum(not _is_refused(breaker) for breaker in fleet * 3) == 1


def test_flushed_when_a_probe_was_due_it_is_told_again_and_probed(own_redis, join):
    client = own_redis.client()
    breaker = join(client, reset=0.0, tick=60.0)
    fail(breaker, 3)
    time.sleep(0.01)  # a probe is due, and nobody has asked
    client.flushall()
    assert [breaker.snapshot().shared for _ in range(3)] == [True] * 3
    assert breaker.snapshot().state == "open"
    with breaker.admit() as probe:
        probe.succeed()
    assert join(client).snapshot().state == "closed"


def test_a_forgotten_script_is_loaded_again(own_redis, join):
    client = own_redis.client()
    breaker = join(client)
    client.script_flush()
    fail(breaker, 3)
    assert kept(client)[STATUS] == b"open"
    assert breaker.snapshot().shared


@pytest.mark.parametrize("mine", ["mine", "", "1\nopen", "\n" * 13])
def test_a_state_that_somebody_overwrote_is_told_again(redis_client, join, mine):
    breaker = join(redis_client)
    fail(breaker, 3)
    redis_client.set(KEY, mine)
    assert breaker.snapshot().shared
    assert join(redis_client).snapshot().state == "open"


def test_a_key_that_somebody_made_a_list_is_no_obstacle(redis_client, join):
    redis_client.lpush(KEY, "mine")
    breaker = join(redis_client)
    fail(breaker, 3)
    assert breaker.snapshot().shared
    assert join(redis_client).snapshot().state == "open"


def test_a_push_that_nobody_can_read_harms_nobody(redis_client, join):
    one, two = join(redis_client), join(redis_client)
    channel = one._store._channel if one._store else ""
    for garbage in (b"\xff", b"{}", b"[1]", "agent\n" * 13):
        redis_client.publish(channel, garbage)
    fail(one, 3)
    until(lambda: refuses(two))


def test_a_clock_set_back_does_not_prolong_the_open_time(redis_client, join):
    breaker = join(redis_client, reset=30.0)
    fail(breaker, 3)
    lines = kept(redis_client)
    lines[PROBE_AT] = str(int(lines[PROBE_AT]) + 3600 * 1_000_000).encode()
    redis_client.set(KEY, b"\n".join(lines))
    snapshot = breaker.snapshot()
    assert snapshot.opened_at is not None
    assert snapshot.next_probe_at is not None
    assert (snapshot.next_probe_at - snapshot.opened_at).total_seconds() < 35.0


def test_an_older_view_never_replaces_a_newer_one(redis_client, join):
    breaker = join(redis_client)
    fail(breaker)
    old = read_view("agent\n1\nopen\n1\n3\n0\n0\n\n1\n0\n0\n0\n0\nx")
    breaker.adopt(old)
    assert not refuses(breaker)


def test_a_stopped_store_has_no_thread_and_a_new_member_starts_one(redis_client):
    others = _listeners()  # the product's own store of this process may have been in use before
    store = BreakerStore(redis_client, tick_seconds=0.02)
    Breaker("agent", BreakerSettings(), store=store).snapshot()
    store.stop()
    assert not _listeners() - others
    Breaker("agent", BreakerSettings(), store=store).snapshot()
    assert len(_listeners() - others) == 1
    store.stop()


class Clumsy:
    """A member that fails at its first reading."""

    name = "agent"

    def __init__(self) -> None:
        self.readings = 0
        self.heard: list[View] = []

    def adopt(self, view: View) -> None:
        self.heard.append(view)

    def read_shared(self) -> bool:
        self.readings += 1
        if self.readings == 1:
            raise RuntimeError("clumsy")
        return True

    def write_counts(self) -> None:
        pass


def test_the_listener_survives_a_member_that_fails(redis_client, join, request):
    store, member = BreakerStore(redis_client, tick_seconds=0.02), Clumsy()
    request.addfinalizer(store.stop)
    store.join(member)
    until(lambda: member.readings == 2)
    fail(join(redis_client))
    until(lambda: member.heard)


def test_a_forked_process_listens_again_from_its_first_question(redis_client, join):
    one, two = join(redis_client), join(redis_client)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            fail(two)
            until(lambda: _hears(two, after=one))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def _hears(breaker: Breaker, *, after: Breaker) -> bool:
    after.reset()
    return breaker._version == after._version


def _listeners() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "breaker-listener"}


@pytest.mark.parametrize("payload", ["", "null", "a\nb", "1\n" * 12, "1\n" * 13, b"\xff"])
def test_only_a_view_is_read_as_one(payload):
    with pytest.raises(ValueError):
        read_view(payload)


SEVEN_PER_CENT = BreakerSettings(
    failure_threshold=9, conditions=Conditions(seconds=80_000.0, least_calls=100, failure_rate=0.07)
)
LUA_SETTINGS = st.builds(
    BreakerSettings,
    failure_threshold=st.integers(1, 3),
    reset_timeout=st.sampled_from([0.0, 3600.0]),
    probe_lease=st.sampled_from([0.0, 3600.0]),
    longest_reset=st.sampled_from([0.0, 90_000.0]),
    # Windows so long that real time moves nothing on between the events.
    conditions=st.none()
    | st.builds(
        Conditions,
        seconds=st.just(80_000.0),
        least_calls=st.integers(1, 8),
        failure_rate=st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0.001, 1.0),
        slow_seconds=st.just(1.0),
        slow_rate=st.sampled_from([0.25, 0.5]) | st.floats(0.001, 1.0),
    ),
)
EVENTS = st.lists(
    st.tuples(st.sampled_from([*Kind, Kind.FAIL, Kind.ADMIT, Kind.ADMIT]), st.integers(0, 2), st.integers(0, 6)),
    max_size=30,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LUA_SETTINGS, EVENTS)
@example(BreakerSettings(failure_threshold=1, reset_timeout=30.0), [(Kind.FAIL, 0, 0), (Kind.SLOW, 0, 0)])
@example(SEVEN_PER_CENT, [(Kind.TALLY, 0, 93), *[(Kind.FAIL, 0, 0)] * 7])
def test_the_lua_table_and_the_python_table_are_the_same(redis_client, rules, events):
    redis_client.flushdb()
    store = BreakerStore(redis_client)
    state, shared, version = State(), State(), 0
    issued = [(0, 0)]
    for kind, back, others in events:
        mine, theirs = issued[-1 - min(back, len(issued) - 1)]
        answer = store.ask(
            "agent",
            Event(kind, theirs, "e", 0.5, others),
            settings=rules,
            known=Known(version, shared, differs=False),
            counts=Counts(),
        )
        step = advance(state, Event(kind, mine, "e", 0.5, others), settings=rules, now=100.0)
        assert answer is not None
        state, shared, version = step.state, answer.view.state, answer.view.version
        assert _gist(shared) == _gist(state)
        assert (answer.before, answer.is_admitted) == (step.before, step.is_admitted)
        assert answer.is_transition == step.is_transition
        if issued[-1][0] != state.generation:
            issued.append((state.generation, shared.generation))
        assert issued[-1] == (state.generation, shared.generation)


def _gist(state: State) -> tuple[object, ...]:
    return (
        state.status,
        state.failure_count,
        state.is_forced,
        state.opened_at is None,
        math.isinf(state.probe_at),
        state.trips,
        state.reopened,
        # In hours, for the shared clock runs on between the events.
        None if math.isinf(state.probe_at) else round((state.probe_at - (state.opened_at or 0.0)) / 3600, 2),
        state.last_error,
    )


def test_counts_are_not_lost_when_redis_does_not_take_them(own_redis, join):
    breaker = join(own_redis.client(timeout=0.05))
    own_redis.kill()
    for _ in range(3):
        breaker.call(lambda: None)
    with suppress(BreakerOpen):
        fail(breaker)
    snapshot = breaker.snapshot()
    assert (snapshot.successes, snapshot.failures) == (3, 1)


RATED = BreakerSettings(failure_threshold=1000, conditions=Conditions(seconds=3600.0, least_calls=10, failure_rate=0.5))


def test_a_rate_is_that_of_all_processes_together(redis_client, join):
    one, two = join(redis_client), join(redis_client)
    one.settings = two.settings = RATED
    for _ in range(5):
        one.call(lambda: None)
    one.write_counts()
    fail(two, 4)
    assert not refuses(two)
    fail(two)
    assert refuses(two)
    until(lambda: refuses(one))


def test_the_window_is_kept_with_the_state_and_begins_anew_with_a_move(redis_client, join):
    breaker = join(redis_client)
    breaker.settings = RATED
    fail(breaker, 3)
    assert kept(redis_client)[COUNTS].startswith(b"0;")
    assert kept(redis_client)[COUNTS].endswith(b",3,3,0")
    breaker.reset()
    assert b";" not in kept(redis_client)[COUNTS]


def test_a_breaker_without_conditions_keeps_no_window(redis_client, join):
    breaker = join(redis_client)
    fail(breaker, 2)
    assert b";" not in kept(redis_client)[COUNTS]


def test_a_rate_costs_no_round_trip_while_all_is_well(own_redis, join):
    breaker = join(own_redis.client(), tick=60.0)
    breaker.settings = RATED
    client = own_redis.client()
    # The listener reads once when it has subscribed, whenever that is.
    until(lambda: cost(client, lambda: [breaker.call(lambda: None) for _ in range(100)], of="evalsha") == 0)


def test_without_redis_a_process_goes_by_its_own_rate(own_redis, join):
    breaker = join(own_redis.client())
    breaker.settings = RATED
    own_redis.kill()
    for _ in range(5):
        breaker.call(lambda: None)
    fail(breaker, 5)
    assert refuses(breaker)
