"""Dead consumers, long handlers, lost groups, stops: who has a message, and that nobody has it twice or never."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from functools import partial
from typing import Any

import pytest
import redis

from aurora.bus import groups, pump, streams
from aurora.bus import redis as clients
from aurora.bus.groups import Entry, GroupConsumer, consumer_name
from aurora.bus.streams import Message
from aurora.models import DeadLetter
from tests.aurora.bus.conftest import MAX_DELIVERIES
from tests.aurora.bus.scene import (
    STREAM,
    Noting,
    NotingTwice,
    announce,
    dead_consumer,
    effects,
    is_finished,
    pending,
    publish,
    settle,
)
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


def _extensions(client: redis.Redis, count: int) -> None:
    """Waits until the lease of the one pending entry has been extended `count` times."""
    seen, last = 0, 0
    while seen < count:
        idle = until(lambda: pending(client))[0]["time_since_delivered"]
        seen, last = seen + (idle < last), idle


@pytest.fixture
def long_lease(settings: Any) -> None:
    """Leases that outlast the pauses of a busy machine: where one must not be lost, that must not be a matter of luck."""
    settings.BUS_CLAIM_SECONDS = 3.0


def test_a_message_of_a_consumer_that_died_before_handling_is_taken_over_on_an_idle_stream(start, redis_client):
    event_id = publish(redis_client)
    dead_consumer()
    start(Noting())
    until(lambda: is_finished(redis_client))
    assert effects() == {event_id: 1}


def test_a_consumer_that_died_between_handling_and_acknowledging_leaves_one_effect(start, redis_client):
    event_id = publish(redis_client)
    consumer, [entry] = dead_consumer()
    assert settle(Noting(), consumer, entry)
    worker = Noting()
    start(worker)
    until(lambda: is_finished(redis_client))
    assert effects() == {event_id: 1}
    assert not worker.seen


@pytest.fixture
def unheard_at_once(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim time that nobody waits for, and consumers that count as silent as soon as they say nothing."""
    settings.BUS_CLAIM_SECONDS = 600.0
    monkeypatch.setattr(groups, "SILENT_SECONDS", 0.0)


def _dead_pid() -> int:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
        return process.pid


def test_what_a_dead_process_of_this_machine_had_is_taken_without_waiting_for_the_claim_time(
    start, redis_client, unheard_at_once, events
):
    ids = [publish(redis_client) for _ in range(3)]
    dead_consumer(pid=_dead_pid())
    worker = Noting()
    start(worker)
    until(lambda: is_finished(redis_client))
    assert [message.id for message in worker.seen] == ids
    assert [line["entries"] for line in events("dead_consumer_released")] == [3]


def test_a_delivery_that_ended_with_its_process_counts(redis_client, unheard_at_once):
    publish(redis_client)
    dead, [entry] = dead_consumer(pid=_dead_pid())
    dead.begin(entry)
    consumer, _ = dead_consumer()
    consumer.release_dead()
    [again] = consumer.claim(count=1, in_hand=())
    assert again.deliveries == entry.deliveries + 1


def test_a_consumer_that_redis_heard_just_now_keeps_what_it_has(redis_client, unheard_at_once, monkeypatch):
    monkeypatch.setattr(groups, "SILENT_SECONDS", 60.0)
    publish(redis_client)
    dead_consumer(pid=_dead_pid())
    consumer, _ = dead_consumer()
    consumer.release_dead()
    assert consumer.claim(count=10, in_hand=()) == []


def test_who_may_live_keeps_what_it_has(redis_client, unheard_at_once):
    for name in (
        consumer_name(os.getpid()),
        f"elsewhere:{_dead_pid()}:0badc0de:1234",
        f"{socket.gethostname()}:{_dead_pid()}::1234",
        f"{socket.gethostname()}:{_dead_pid()}:1234",
        "by hand",
    ):
        publish(redis_client)
        dead_consumer(name=name)
    consumer, _ = dead_consumer()
    consumer.release_dead()
    assert consumer.claim(count=10, in_hand=()) == []


def _all_of_four(consumer: GroupConsumer, taken: dict[str, Entry]) -> list[Entry]:
    """In their order, when the last of them has come to its claim time; it is not that of the others, for its handling began later."""
    taken |= {entry.entry_id: entry for entry in consumer.claim(count=10, in_hand=())}
    return [taken[entry_id] for entry_id in sorted(taken, key=streams.place_of)] if len(taken) == 4 else []


class _Killed(BaseException):
    """What a handler raises that takes its process along."""


def test_who_waited_beside_a_message_that_kills_its_handlers_is_not_buried_with_it(start, redis_client):
    poison, *innocent = [publish(redis_client) for _ in range(4)]

    def die(_message: Message) -> None:
        raise _Killed

    consumer, entries = dead_consumer()
    for _ in range(MAX_DELIVERIES):
        with pytest.raises(_Killed):
            settle(Noting(die), consumer, entries[0])
        consumer, _ = dead_consumer()
        entries = until(partial(_all_of_four, consumer, {}))
    worker = Noting()
    start(worker)
    until(lambda: is_finished(redis_client))
    assert [message.id for message in worker.seen] == innocent
    [letter] = DeadLetter.objects.all()
    assert str(letter.event_id) == poison


def test_a_handler_that_is_longer_than_the_claim_time_keeps_its_message(start, redis_client, long_lease):
    release = threading.Event()
    slow, other = Noting(lambda _message: release.wait(60)), Noting()
    start(slow)
    publish(redis_client)
    until(lambda: slow.seen)
    start(other)
    _extensions(redis_client, 4)
    release.set()
    until(lambda: is_finished(redis_client))
    assert not other.seen
    assert len(slow.seen) == 1


def test_what_waits_behind_a_long_handler_keeps_its_lease_too(start, redis_client, long_lease):
    release = threading.Event()
    ids = [publish(redis_client) for _ in range(3)]
    slow, other = Noting(lambda _message: release.wait(60)), Noting()
    start(slow)
    until(lambda: len(pending(redis_client)) == 3)
    start(other)
    _extensions(redis_client, 4)
    release.set()
    until(lambda: is_finished(redis_client))
    assert [message.id for message in slow.seen] == ids
    assert not other.seen


def test_a_handler_beyond_its_timeout_loses_its_message_to_another(start, redis_client, events):
    class Hasty(Noting):
        timeout = 0.05

    release = threading.Event()
    event_id = publish(redis_client)
    stuck = Hasty(lambda _message: release.wait(60))
    # A hang inside the transaction would make the other wait for it; this one hangs before.
    stuck.exactly_once = False  # type: ignore[misc]
    start(stuck)
    until(lambda: stuck.seen)
    other = Noting()
    start(other)
    until(lambda: effects() == {event_id: 1})
    release.set()
    assert len(events("handler_overdue")) == 1


def test_old_entries_are_found_behind_many_young_ones(redis_client):
    for _ in range(60):
        publish(redis_client)
    _, entries = dead_consumer()
    old = entries[-1].entry_id
    redis_client.xclaim(STREAM, Noting.group, "dead", 0, [old], idle=60_000, justid=True)
    consumer, _ = dead_consumer()
    consumer._claim_ms = 30_000
    # Redis looks at ten entries for each one asked for.
    found = [entry.entry_id for _ in range(8) for entry in consumer.claim(count=1, in_hand=())]
    assert found == [old]


def test_a_deleted_entry_does_not_stay_pending_for_ever(start, redis_client):
    publish(redis_client)
    _, [entry] = dead_consumer()
    redis_client.xdel(STREAM, entry.entry_id)
    start(Noting())
    until(lambda: not pending(redis_client))


def test_a_worker_survives_that_redis_is_emptied(start, redis_client, events):
    worker = Noting()
    start(worker)
    publish(redis_client)
    until(lambda: worker.seen)
    redis_client.flushdb()
    event_id = publish(redis_client)
    until(lambda: event_id in effects())
    assert len(events("group_created")) == 2


def test_a_worker_survives_that_its_group_is_destroyed_while_it_handles(start, redis_client):
    release = threading.Event()
    ids = {publish(redis_client) for _ in range(3)}
    worker = Noting(lambda _message: release.wait(60))
    start(worker)
    until(lambda: worker.seen)
    redis_client.xgroup_destroy(STREAM, Noting.group)
    until(lambda: redis_client.xinfo_groups(STREAM))
    release.set()
    until(lambda: is_finished(redis_client))
    assert effects() == dict.fromkeys(ids, 1)


def test_an_idle_stream_is_not_taken_for_a_dead_server(start, redis_client, events):
    """Redis's clients give up on a server that is silent for longer than their timeout, as it is while a reader blocks."""
    waits = clients.client(clients.Purpose.STREAM).connection_pool.connection_kwargs["socket_timeout"]
    assert waits - clients.BLOCK_MS / 1000 >= 2
    running = start(Noting())
    running.thread.join(waits + 1)
    event_id = publish(redis_client)
    until(lambda: event_id in effects())
    assert events("neighbour_lost") == []


def test_a_worker_comes_back_with_redis(start, own_redis, events):
    from aurora.bus import redis as clients
    from aurora.bus.relay import Relay

    start(Relay())
    start(Noting())
    until(lambda: announce() and effects())
    own_redis.stop()
    until(lambda: any(line["part"] == "noting" for line in events("neighbour_lost")))
    event = announce()
    own_redis.start()
    until(lambda: str(event.id) in effects())
    assert until(lambda: is_finished(clients.client()))
    assert set(effects().values()) == {1}


def test_a_stop_lets_the_running_handler_finish_and_hands_the_rest_back(start, redis_client):
    release = threading.Event()
    ids = [publish(redis_client) for _ in range(3)]
    worker = Noting(lambda _message: release.wait(60))
    running = start(worker)
    until(lambda: len(pending(redis_client)) == 3)
    until(lambda: worker.seen)
    running.stop_event.set()
    # Handed back: they may be taken at once, and the delivery does not count.
    until(lambda: [row["times_delivered"] for row in pending(redis_client)] == [1, 0, 0])
    release.set()
    running.stop()
    assert effects() == {ids[0]: 1}
    assert len(pending(redis_client)) == 2


def test_a_stop_that_cannot_wait_for_a_handler_hands_its_message_back(start, redis_client, settings, monkeypatch):
    monkeypatch.setattr(pump, "FINISH_SECONDS", 0.2)
    settings.BUS_CLAIM_SECONDS = 600.0
    release = threading.Event()
    event_id = publish(redis_client)
    long = NotingTwice(lambda _message: release.wait(60))
    running = start(long)
    until(lambda: long.seen)
    running.stop()
    other = NotingTwice()
    start(other)
    until(lambda: is_finished(redis_client))
    assert [message.id for message in other.seen] == [event_id]
    release.set()


def test_a_consumer_with_nothing_pending_is_removed_at_the_stop(start, redis_client):
    publish(redis_client)
    running = start(Noting())
    until(lambda: is_finished(redis_client))
    running.stop()
    assert redis_client.xinfo_consumers(STREAM, Noting.group) == []
