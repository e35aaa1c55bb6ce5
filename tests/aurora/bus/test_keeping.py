"""A Redis that forgets: what no group had finished is published again, in its order, and has its effect once."""

from __future__ import annotations

import shutil

import pytest
from django.db import transaction

from aurora.bus import keeping, postgres, registry, streams
from aurora.bus import redis as clients
from aurora.bus.groups import GroupConsumer
from aurora.bus.housekeeping import trim_streams
from aurora.bus.relay import Relay, move_batch
from aurora.models import DeadLetter, OutboxEvent, PublishedEvent
from tests.aurora.bus.scene import (
    STREAM,
    AlsoNoting,
    Noting,
    announce,
    announce_many,
    effects,
    is_finished,
    published,
    relay_turn,
)
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _groups(monkeypatch):
    monkeypatch.setattr(registry, "_factories", {"noting": Noting, "also-noting": AlsoNoting})


@pytest.fixture
def session(redis_client):
    with postgres.session("relay") as opened:
        yield opened


def finish(group, count=100):
    """Reads and finishes what there is, with no other effect; the data."""
    consumer = GroupConsumer(stream=STREAM, group=group, claim_seconds=30)
    entries = consumer.read(count=count, block_ms=1)
    consumer.acknowledge([entry.entry_id for entry in entries])
    return [entry.fields[b"data"] for entry in entries]


def kept():
    return PublishedEvent.objects.count()


def test_an_event_is_kept_until_every_group_has_finished_it(session):
    announce()
    relay_turn(session)
    assert (kept(), OutboxEvent.objects.count()) == (1, 0)
    finish("noting")
    keeping.let_go()
    assert kept() == 1
    finish("also-noting")
    keeping.let_go()
    assert kept() == 0


def test_a_group_that_no_worker_has_made_yet_is_waited_for(session):
    """After Redis was emptied the groups come back one by one."""
    announce()
    relay_turn(session)
    finish("noting")
    keeping.let_go()
    assert kept() == 1


def test_what_a_group_has_in_hand_is_kept_with_all_after_it(session):
    for number in range(3):
        announce(number=number)
    relay_turn(session)
    for group in ("noting", "also-noting"):
        consumer = GroupConsumer(stream=STREAM, group=group, claim_seconds=30)
        first, _, last = consumer.read(count=10, block_ms=1)
        consumer.acknowledge([first.entry_id, last.entry_id])
    keeping.let_go()
    assert list(PublishedEvent.objects.order_by("id").values_list("data", flat=True)) == [
        '{"number":1}',
        '{"number":2}',
    ]


def test_events_that_no_worker_reads_are_not_kept(session, monkeypatch):
    monkeypatch.setattr(registry, "_factories", {})
    announce()
    relay_turn(session)
    assert kept() == 0


def test_what_was_cut_from_its_stream_is_let_go_and_does_not_come_again(session, redis_client):
    announce_many(300, aggregates=1)
    relay_turn(session)
    redis_client.xtrim(STREAM, maxlen=100, approximate=False)
    keeping.let_go()
    assert kept() == 100


@pytest.mark.parametrize("lose", ["flushall", "restart"])
def test_what_nobody_had_finished_when_redis_forgot_has_its_effect_once(own_redis, start, lose):
    announced = announce_many(20, aggregates=4)
    with postgres.session("relay") as session:
        relay_turn(session)
    finish("also-noting", 5)
    if lose == "flushall":
        clients.client().flushall()
    else:
        own_redis.stop()
        for file in own_redis.directory.glob("appendonly*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        own_redis.start()
    start(Noting())
    start(Relay())
    ids = [event_id for events in announced.values() for event_id in events]
    until(lambda: set(effects()) == set(ids))
    assert effects() == dict.fromkeys(ids, 1)


def test_the_last_moments_that_a_restart_lost_come_again_and_nothing_else(own_redis):
    """The append-only file is written once a second: what came after that is gone, what came before is there."""
    client = clients.client()
    with postgres.session("relay") as session:
        announce(number=1)
        relay_turn(session)
        client.bgrewriteaof()
        until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        [file] = own_redis.directory.glob("appendonly.aof")
        shutil.copy(file, file.with_suffix(".old"))
        announce(number=2)
        relay_turn(session)
        own_redis.stop()
        file.with_suffix(".old").replace(file)
        own_redis.start()
        assert published(client) == [{"number": 1}]
        announce(number=3)
        relay_turn(session)
    assert published(client) == [{"number": 1}, {"number": 2}, {"number": 3}]
    assert kept() == 3


def test_a_restart_that_lost_nothing_publishes_nothing_again(own_redis):
    with postgres.session("relay") as session:
        announce_many(5, aggregates=2)
        relay_turn(session)
        own_redis.stop()
        own_redis.start()
        assert keeping.put_back_lost(session, clients.client(), run=keeping.present_run(clients.client())) == 0
    assert len(published(clients.client())) == kept() == 5
    assert set(PublishedEvent.objects.values_list("run", flat=True)) == {keeping.present_run(clients.client())}


def test_what_was_forgotten_comes_before_what_waits(session, redis_client):
    announce(number=1)
    announce(number=2)
    relay_turn(session)
    announce(number=3)
    redis_client.flushdb()
    relay_turn(session)
    assert [data["number"] for data in published(redis_client)] == [1, 2, 3]


def test_a_batch_that_was_confirmed_just_before_and_committed_just_after_is_found(session, redis_client):
    """Its rows are not there to be looked up when the loss is noticed."""
    announce()
    with session.transaction():
        move_batch(session)
        redis_client.flushdb()
        assert keeping.let_go() == 0
    finish("noting")
    finish("also-noting")
    keeping.let_go()
    assert (kept(), OutboxEvent.objects.count()) == (0, 1)


def test_two_that_notice_the_loss_put_it_back_once(session, redis_client):
    announce()
    relay_turn(session)
    redis_client.flushdb()
    run = keeping.present_run(redis_client)
    with postgres.session("other") as other:
        assert keeping.put_back_lost(session, redis_client, run=run) == 1
        assert keeping.put_back_lost(other, redis_client, run=run) == 0
    assert OutboxEvent.objects.count() == 1


def test_what_is_finished_is_let_go_before_it_is_trimmed(session, redis_client, monkeypatch):
    """Trimmed and still kept, it would be taken for lost after the next restart."""
    monkeypatch.setattr("aurora.bus.trimming.KEPT_ENTRIES", 0)
    announce_many(300, aggregates=1)
    relay_turn(session)
    finish("noting", 300)
    finish("also-noting", 300)
    trim_streams()
    assert kept() == 0


def test_a_loss_in_a_transaction_that_is_undone_is_noticed_again(session, redis_client):
    announce()
    relay_turn(session)
    redis_client.flushdb()
    with session.transaction(force_rollback=True):
        relay_turn(session)
    relay_turn(session)
    assert len(published(redis_client)) == 2


def test_an_event_put_back_for_one_group_stays_addressed_to_it(session, redis_client):
    event = announce()
    with transaction.atomic():
        OutboxEvent.objects.update(addressee="noting")
    relay_turn(session)
    redis_client.flushdb()
    relay_turn(session)
    [(_, fields)] = redis_client.xrange(STREAM)
    assert (fields[b"id"].decode(), fields[b"addressee"]) == (str(event.id), b"noting")


def test_a_relay_notices_the_loss_by_itself_although_nothing_new_is_announced(start, redis_client, monkeypatch):
    monkeypatch.setattr("aurora.bus.relay.SWEEP_SECONDS", 0.1)
    start(Relay())
    announce()
    until(lambda: kept() == 1)
    redis_client.flushdb()
    until(lambda: redis_client.exists(STREAM))
    start(Noting())
    until(lambda: is_finished(redis_client))
    assert sum(effects().values()) == 1
    assert not DeadLetter.objects.exists()


def test_streams_without_a_loss_are_not_read(session, redis_client, monkeypatch):
    announce()
    relay_turn(session)

    def refuse(*_arguments):
        raise AssertionError("the stream was read")

    monkeypatch.setattr(keeping, "_standing", refuse)
    relay_turn(session)
    keeping.let_go()


def test_only_streams_with_workers_are_waited_for():
    assert registry.groups_on(STREAM) == {"noting", "also-noting"}
    assert registry.groups_on(streams.AUDIT) == set()
