"""Dead letters put back: once, for the group that failed, for everybody else not at all."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from aurora.bus import dead_letters, metrics
from aurora.bus.relay import Relay
from aurora.errors import Conflict, Invalid, Missing
from aurora.models import AuditEntry, DeadLetter, OutboxEvent
from tests.aurora.bus.conftest import registered
from tests.aurora.bus.scene import (
    STREAM,
    AlsoNoting,
    Noting,
    announce,
    dead_consumer,
    effects,
    is_finished,
    publish,
    settle,
)
from tests.cast import OPERATOR
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


def _fail(_message):
    raise Invalid("not today")


def _buried(redis_client, event_id=None, **fields) -> DeadLetter:
    publish(redis_client, event_id, **fields)
    consumer, [entry] = dead_consumer()
    settle(Noting(_fail), consumer, entry)
    return DeadLetter.objects.latest("id")


def _gauges() -> dict[str, dict[tuple[str, ...], float]]:
    return {
        gauge.name: {tuple(sample.labels.values()): sample.value for sample in gauge.samples}
        for gauge in metrics.RowsCollector().collect()
    }


def test_what_is_buried_and_not_put_back_is_a_gauge_wherever_the_worker_ran(redis_client):
    letters = [_buried(redis_client) for _ in range(2)]
    dead_letters.redrive(dead_letter_id=letters[0].id, actor=OPERATOR)
    with registered("idle", AlsoNoting):
        gauge = _gauges()["aurora_bus_dead_letters"]
    assert {group: count for (_, group), count in gauge.items() if count} == {"noting": 1}
    assert gauge[STREAM, "also-noting"] == 0


def test_how_long_the_oldest_event_waits_for_the_relay_is_a_gauge(redis_client):
    assert _gauges()["aurora_outbox_oldest_age_seconds"] == {(): 0}
    announce()
    OutboxEvent.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    assert 120 <= _gauges()["aurora_outbox_oldest_age_seconds"][()] < 180


def test_a_message_put_back_is_handled_by_the_group_that_failed(start, redis_client):
    letter = _buried(redis_client, data='{"a":1}')
    worker = Noting()
    start(worker)
    start(Relay())
    dead_letters.redrive(dead_letter_id=letter.id, actor=OPERATOR)
    until(lambda: effects() == {letter.event_id: 1})
    assert worker.seen[0].data == {"a": 1}


def test_a_message_put_back_does_not_reach_other_groups_again(start, redis_client):
    letter = _buried(redis_client)
    other = AlsoNoting()
    other.exactly_once = False  # type: ignore[misc]
    start(Relay())
    start(Noting())
    start(other)
    dead_letters.redrive(dead_letter_id=letter.id, actor=OPERATOR)
    until(lambda: effects() and is_finished(redis_client, "also-noting"))
    assert effects("also-noting") == {letter.event_id: 1}


def test_a_message_that_fails_again_is_buried_again(start, redis_client):
    letter = _buried(redis_client)
    dead_letters.redrive(dead_letter_id=letter.id, actor=OPERATOR)
    start(Relay())
    start(Noting(_fail))
    until(lambda: DeadLetter.objects.count() == 2)
    assert DeadLetter.objects.filter(redriven_at=None, event_id=letter.event_id).count() == 1


def test_a_dead_letter_is_put_back_once(redis_client):
    letter = _buried(redis_client)
    dead_letters.redrive(dead_letter_id=letter.id, actor=OPERATOR)
    with pytest.raises(Conflict):
        dead_letters.redrive(dead_letter_id=letter.id, actor=OPERATOR)
    assert OutboxEvent.objects.count() == 1


def test_putting_back_is_audited(redis_client):
    letter = _buried(redis_client)
    dead_letters.redrive(dead_letter_id=letter.id, actor=OPERATOR)
    entry = AuditEntry.objects.get(action="dead_letter.redriven")
    assert (entry.actor, entry.target_id) == ("olga", str(letter.id))


def test_the_letters_of_one_event_published_twice_are_put_back_as_one(redis_client):
    event_id = str(uuid4())
    letters = [_buried(redis_client, event_id) for _ in range(2)]
    for letter in letters:
        dead_letters.redrive(dead_letter_id=letter.id, actor=OPERATOR)
    assert OutboxEvent.objects.count() == 1


@pytest.mark.parametrize("unknown", [uuid4(), "no uuid", None, ""])
def test_an_unknown_dead_letter_is_missing(unknown):
    with pytest.raises(Missing):
        dead_letters.redrive(dead_letter_id=unknown, actor=OPERATOR)


def test_what_has_no_id_cannot_be_put_back(redis_client):
    letter = _buried(redis_client, id="not-a-uuid")
    with pytest.raises(Invalid):
        dead_letters.redrive(dead_letter_id=letter.id, actor=OPERATOR)
    letter.refresh_from_db()
    assert letter.redriven_at is None


def test_the_command_puts_all_back_and_says_how_many(redis_client):
    for _ in range(2):
        _buried(redis_client)
    call_command("redrive", "--all", stdout=(out := StringIO()))
    assert out.getvalue() == "2 put back\n"
    assert OutboxEvent.objects.filter(stream=STREAM, addressee="noting").count() == 2


def test_the_command_goes_on_after_one_that_cannot_be_put_back(redis_client):
    letter = _buried(redis_client)
    with pytest.raises(CommandError, match="not all were put back"):
        call_command("redrive", "nonsense", str(letter.id), stdout=StringIO(), stderr=(errors := StringIO()))
    assert "nonsense: Not Found" in errors.getvalue()
    assert OutboxEvent.objects.count() == 1


def test_one_that_can_never_be_put_back_is_named_and_does_not_fail_the_others_run_for_good(redis_client):
    broken, whole = _buried(redis_client, id="not-a-uuid"), _buried(redis_client)
    call_command("redrive", "--all", stdout=(out := StringIO()), stderr=(errors := StringIO()))
    assert out.getvalue() == "1 put back, 1 not\n"
    assert errors.getvalue() == f"{broken.id}: The message has no readable id or type: it cannot be put back\n"
    assert OutboxEvent.objects.get().event_id == UUID(whole.event_id)


@pytest.mark.parametrize("arguments", [[], ["--all", str(uuid4())]])
def test_the_command_wants_ids_or_all(arguments):
    with pytest.raises(CommandError):
        call_command("redrive", *arguments)
