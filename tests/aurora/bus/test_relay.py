"""From the outbox to the stream: soon, in order, at least once."""

from __future__ import annotations

import threading
from collections import defaultdict

import psycopg
import pytest
import redis
from django.db import connection, transaction

from aurora.bus import outbox, postgres, relay
from aurora.bus import redis as clients
from aurora.bus.relay import Relay
from aurora.models import OutboxEvent
from tests.aurora.bus.scene import STREAM, TYPE, Noting, announce, effects, is_finished, published
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def _announce_many(aggregates: int, rounds: int, first: int = 0) -> None:
    for number in range(first, first + rounds):
        with transaction.atomic():
            outbox.announce_all(
                outbox.Event(STREAM, TYPE, f"thing:{thing}", {"thing": thing, "number": number})
                for thing in range(aggregates)
            )


def _by_thing(entries: list[dict[str, int]]) -> dict[int, list[int]]:
    numbers = defaultdict(list)
    for data in entries:
        numbers[data["thing"]].append(data["number"])
    return numbers


@pytest.fixture
def sessions():
    with postgres.session("one") as one, postgres.session("two") as two:
        yield one, two


def test_an_event_reaches_its_stream_with_all_its_fields(redis_client, sessions):
    event = announce(number=1)
    OutboxEvent.objects.update(traceparent=TRACE)
    relay.move_batch(sessions[0])
    [(_, fields)] = redis_client.xrange(STREAM)
    assert fields.keys() == {b"id", b"type", b"timestamp", b"data", b"traceparent"}
    assert (fields[b"id"].decode(), fields[b"type"].decode()) == (str(event.id), TYPE)
    assert fields[b"timestamp"].endswith(b"Z")
    assert (fields[b"data"], fields[b"traceparent"].decode()) == (b'{"number":1}', TRACE)
    assert not OutboxEvent.objects.exists()


def test_a_commit_wakes_the_relay(start, redis_client, monkeypatch):
    monkeypatch.setattr(relay, "SWEEP_SECONDS", 3_600)
    start(Relay())
    until(lambda: announce() and published(redis_client))
    before = redis_client.xlen(STREAM)
    until(lambda: not OutboxEvent.objects.exists())
    announce()
    until(lambda: redis_client.xlen(STREAM) > before, every=0.001)


def test_a_relay_moves_what_was_announced_before_it_started(start, redis_client):
    announce()
    start(Relay())
    until(lambda: published(redis_client))


def test_an_event_that_is_rolled_back_is_never_published(start, redis_client):
    start(Relay())
    with transaction.atomic():
        outbox.announce(outbox.Event(STREAM, TYPE, "thing:1", {"kept": False}))
        transaction.set_rollback(True)
    announce(kept=True)
    assert until(lambda: published(redis_client)) == [{"kept": True}]


def test_many_relays_keep_the_order_of_each_aggregate_and_publish_nothing_twice(start, redis_client, monkeypatch):
    monkeypatch.setattr(relay, "BATCH", 7)  # many claims, hence many races
    relays = [start(Relay()) for _ in range(3)]
    _announce_many(aggregates=10, rounds=60)
    until(lambda: not OutboxEvent.objects.exists())
    for running in relays:
        running.stop()
    assert _by_thing(published(redis_client)) == {thing: list(range(60)) for thing in range(10)}


def test_a_lane_that_another_relay_holds_is_left_alone_and_others_are_not(sessions):
    one, two = sessions
    _announce_many(aggregates=1, rounds=2)
    with one.transaction():
        assert len(relay.claim(one)) == 2
        _announce_many(aggregates=1, rounds=1, first=2)
        announce("elsewhere:1")
        with two.transaction():
            assert [row.data for row in relay.claim(two)] == ["{}"]


def test_a_relay_with_an_older_snapshot_than_anothers_delete_publishes_nothing_again(redis_client, sessions):
    one, two = sessions
    announce()
    # Two's claim is held up between its snapshot and its locks: by a lock that One has while it moves the row.
    gate = "(SELECT pg_advisory_xact_lock(4711)) AS gate ORDER BY id LIMIT"
    gated = relay.CLAIM.replace("ORDER BY id LIMIT", f", {gate}", 1)
    found: list[object] = []

    def claim_late() -> None:
        with two.transaction():
            found.extend(
                two.execute(gated, {"batch": 500, "lock": relay._LOCK_CLASS, "lanes": relay._LANES - 1}).fetchall()
            )

    late = threading.Thread(target=claim_late)
    with one.transaction():
        one.execute("SELECT pg_advisory_xact_lock(4711)")
        late.start()
        until(lambda: _waits_for_a_lock("two"))
        relay.move_batch(one)
    late.join(10)
    assert found == []
    assert len(published(redis_client)) == 1


def _waits_for_a_lock(application: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'",
            [application],
        )
        return bool(cursor.fetchone()[0])


def test_rows_that_redis_did_not_confirm_stay(redis_client, sessions):
    redis_client.set(STREAM, "not a stream")
    announce()
    with transaction.atomic():
        outbox.announce(outbox.Event("aurora:cases", TYPE, "case:1", {}))
    with pytest.raises(redis.ResponseError):
        relay.move_batch(sessions[0])
    assert [row.stream for row in OutboxEvent.objects.all()] == [STREAM]
    assert redis_client.xlen("aurora:cases") == 1


def test_a_relay_that_dies_between_redis_and_its_commit_publishes_twice_for_one_effect(start, redis_client, sessions):
    event = announce()
    with sessions[0].transaction(force_rollback=True):
        relay.move_batch(sessions[0])
    relay.move_batch(sessions[0])
    assert redis_client.xlen(STREAM) == 2
    start(Noting())
    until(lambda: is_finished(redis_client))
    assert effects() == {str(event.id): 1}


def test_while_redis_is_away_events_wait_in_the_outbox(start, own_redis, events):
    start(Relay())
    own_redis.stop()
    event = announce()
    until(lambda: events("neighbour_lost"))
    assert OutboxEvent.objects.filter(event_id=event.id).exists()
    own_redis.start()
    until(lambda: clients.client().exists(STREAM))
    until(lambda: not OutboxEvent.objects.exists())


def test_an_outage_of_redis_is_one_line_and_its_end_another(start, own_redis, events):
    start(Relay())
    own_redis.stop()
    announce()
    until(lambda: events("neighbour_lost"))
    own_redis.start()
    [back] = until(lambda: events("neighbour_back"))
    assert (back["neighbour"], back["part"]) == ("redis", "relay")
    assert len(events("neighbour_lost")) == 1


def test_a_relay_that_loses_its_postgres_session_gets_another(start, redis_client, events):
    start(Relay())
    until(lambda: announce() and published(redis_client))
    until(_terminate_the_relay)
    until(lambda: events("neighbour_lost"))
    event = announce()
    until(lambda: not OutboxEvent.objects.filter(event_id=event.id).exists())
    until(lambda: events("neighbour_back"))


def _terminate_the_relay() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'aurora-relay' AND datname = current_database()"
        )
        return bool(cursor.fetchall())


def test_the_relays_session_is_its_own_and_not_of_the_pool():
    with postgres.session("aurora-test") as session:
        assert isinstance(session, psycopg.Connection)
        assert session.autocommit
        assert session is not connection.connection
