"""Messages that are handled in one transaction: one commit, and nobody pays for another's failure."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest
import structlog
from django.db import connection

from aurora.bus.pump import DONE
from aurora.bus.worker import _Settler
from aurora.errors import Invalid
from aurora.models import DeadLetter, ProcessedEvent
from aurora.observability import tracing
from tests.aurora.bus.scene import (
    NotingTogether,
    dead_consumer,
    effects,
    is_finished,
    pending,
    publish,
)
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def settle_together(redis_client):
    """Settles all that stands on the stream at once; what became of each."""

    def settle(worker):
        consumer, entries = dead_consumer()
        return _Settler(worker, consumer, threading.Event()).settle_together(entries)

    return settle


def test_messages_that_wait_are_handled_in_one_transaction(redis_client, settle_together):
    ids = [publish(redis_client) for _ in range(4)]
    transactions = set()

    def note_transaction(_message):
        with connection.cursor() as cursor:
            cursor.execute("SELECT txid_current()")
            transactions.add(cursor.fetchone())

    assert settle_together(NotingTogether(note_transaction)) == [DONE] * 4
    assert effects() == dict.fromkeys(ids, 1)
    assert len(transactions) == 1


def test_when_one_fails_all_others_are_handled_nevertheless(redis_client, settle_together):
    ids = [publish(redis_client) for _ in range(3)]

    def fail_on_the_second(message):
        if message.id == ids[1]:
            raise RuntimeError("not now")

    settled = settle_together(NotingTogether(fail_on_the_second))
    assert [one.is_done for one in settled] == [True, False, True]
    assert effects() == {ids[0]: 1, ids[2]: 1}
    assert ProcessedEvent.objects.count() == 2
    assert [entry["times_delivered"] for entry in pending(redis_client)] == [1, 1, 1]


def test_what_is_wrong_among_many_is_buried_by_itself(redis_client, settle_together):
    ids = [publish(redis_client) for _ in range(3)]
    publish(redis_client, data="{not json")

    def find_the_first_wrong(message):
        if message.id == ids[0]:
            raise Invalid("wrong")

    settle_together(NotingTogether(find_the_first_wrong))
    assert DeadLetter.objects.count() == 2
    assert effects() == {ids[1]: 1, ids[2]: 1}


def test_an_event_that_stands_there_twice_has_one_effect(redis_client, settle_together):
    event_id = publish(redis_client)
    publish(redis_client, event_id)
    publish(redis_client)
    assert all(one.is_done for one in settle_together(NotingTogether()))
    assert effects()[event_id] == 1
    assert sum(effects().values()) == 2


def test_an_id_written_in_another_way_is_the_same_event(redis_client, settle_together):
    event_id = str(uuid4())
    publish(redis_client, event_id)
    publish(redis_client, event_id.upper())
    publish(redis_client)
    settle_together(NotingTogether())
    assert sum(effects().values()) == 2


def test_an_event_that_the_group_has_handled_is_passed_over(redis_client, settle_together):
    handled, new = publish(redis_client), publish(redis_client)
    ProcessedEvent.objects.create(group="noting", event_id=handled)
    assert all(one.is_done for one in settle_together(NotingTogether()))
    assert effects() == {new: 1}


def test_what_comes_again_is_not_handled_with_others(redis_client, settle_together):
    """It may be what makes a process die, and then takes the others' deliveries with it each time."""
    ids = [publish(redis_client) for _ in range(3)]
    consumer, entries = dead_consumer()
    again = [entry._replace(deliveries=2) for entry in entries[:1]] + entries[1:]
    together = []

    def look(message):
        with connection.cursor() as cursor:
            cursor.execute("SELECT txid_current()")
            together.append((message.id, cursor.fetchone()))

    _Settler(NotingTogether(look), consumer, threading.Event()).settle_together(again)
    transactions = dict(together)
    assert transactions.keys() == set(ids)
    assert transactions[ids[0]] != transactions[ids[1]] == transactions[ids[2]]


def test_each_of_many_has_its_own_names_and_trace(start, redis_client, events):
    log = structlog.get_logger("handler")
    traces = []
    ids = [publish(redis_client, traceparent=f"00-{digit * 32}-{'b' * 16}-01") for digit in "ac"]

    def look(_message):
        log.warning("looking")
        traces.append(tracing.current_traceparent().split("-")[1])

    start(NotingTogether(look))
    until(lambda: is_finished(redis_client))
    assert [line["event_id"] for line in events("looking")] == ids
    assert traces == ["a" * 32, "c" * 32]


def test_hundreds_by_two_workers_have_one_effect_each(start, redis_client):
    ids = [publish(redis_client) for _ in range(500)]
    for event_id in ids[:50]:
        publish(redis_client, event_id)
    start(NotingTogether())
    start(NotingTogether())
    until(lambda: is_finished(redis_client))
    assert effects() == dict.fromkeys(ids, 1)
