"""Where events are: waiting, buried, or nowhere. Told by looking, never by age."""

from __future__ import annotations

import pytest
from django.db import transaction

from aurora.actors import system
from aurora.bus import dead_letters, outbox, postgres
from aurora.bus.relay import move_batch
from aurora.bus.whereabouts import Sought, locate
from aurora.models import DeadLetter
from tests.aurora.bus.scene import STREAM, TYPE, AlsoNoting, Noting, dead_consumer, publish

pytestmark = pytest.mark.django_db(transaction=True)

OURS = Sought(STREAM, Noting.group, TYPE, "thing")


def _announce(thing: str, event_type: str = TYPE) -> None:
    with transaction.atomic():
        outbox.announce(outbox.Event(STREAM, event_type, f"thing:{thing}", {"thing": thing}))


def _publish(client, *things: str, **fields: str) -> None:
    for thing in things:
        publish(client, data=f'{{"thing": "{thing}"}}', **fields)


def _bury(group: str = Noting.group) -> list[DeadLetter]:
    _, entries = dead_consumer(group)
    return [dead_letters.bury(stream=STREAM, group=group, entry=entry, error="too heavy") for entry in entries]


def test_an_event_in_the_outbox_waits(redis_client):
    _announce("a")
    assert locate(OURS, ["a"]).waiting == {"a"}


def test_an_event_that_the_relay_has_moved_waits(redis_client):
    _announce("a")
    with postgres.session("aurora-test") as session:
        move_batch(session)
    assert locate(OURS, ["a"]).waiting == {"a"}


def test_what_was_delivered_and_not_finished_waits(redis_client):
    _publish(redis_client, "a", "b")
    dead_consumer()
    assert locate(OURS, ["a", "b"]).waiting == {"a", "b"}


def test_behind_an_old_pending_entry_new_ones_are_seen(redis_client):
    _publish(redis_client, "old")
    dead_consumer()
    _publish(redis_client, *(f"thing {number}" for number in range(2_500)))
    found = locate(OURS, ["old", "thing 2499", "never"])
    assert found.waiting == {"old", "thing 2499"}
    assert found.lost == {"never"}


def test_what_the_group_has_finished_waits_no_more(redis_client):
    _publish(redis_client, "a", "b")
    consumer, entries = dead_consumer()
    consumer.acknowledge([entries[0].entry_id])
    assert locate(OURS, ["a", "b"]).waiting == {"b"}


def test_another_groups_progress_says_nothing(redis_client):
    _publish(redis_client, "a")
    consumer, [entry] = dead_consumer(AlsoNoting.group)
    consumer.acknowledge([entry.entry_id])
    assert locate(OURS, ["a"]).waiting == {"a"}


def test_an_event_for_another_group_or_of_another_type_is_not_ours(redis_client):
    _publish(redis_client, "a", addressee=AlsoNoting.group)
    _publish(redis_client, "b", type="other.happened")
    _announce("c", "other.happened")
    assert locate(OURS, ["a", "b", "c"]).lost == {"a", "b", "c"}


def test_what_redis_forgot_is_lost(redis_client):
    _publish(redis_client, "a")
    redis_client.flushdb()
    assert locate(OURS, ["a"]).lost == {"a"}


def test_a_buried_event_is_found_with_its_error(redis_client):
    _publish(redis_client, "a")
    _bury()
    assert locate(OURS, ["a"]).buried == {"a": "too heavy"}


def test_a_buried_event_that_was_put_back_waits(redis_client):
    _publish(redis_client, "a")
    [letter] = _bury()
    dead_letters.redrive(dead_letter_id=letter.id, actor=system("operator"))
    found = locate(OURS, ["a"])
    assert found.waiting == {"a"}
    assert found.buried == {}


def test_entries_that_nobody_can_read_are_passed(redis_client):
    for data in ("no JSON", "[1]", "{}"):
        publish(redis_client, data=data)
    _publish(redis_client, "a")
    assert locate(OURS, ["a"]).waiting == {"a"}


def test_nothing_sought_asks_nobody(own_redis):
    own_redis.stop()
    assert locate(OURS, []).lost == set()
