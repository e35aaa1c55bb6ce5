"""One message before one worker: what becomes of it, by how its handler ends."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import structlog
from django.db import connection

from aurora.bus import metrics, registry, streams
from aurora.bus.worker import LONGEST_DELAY_SECONDS, delay_after
from aurora.errors import Conflict, Denied, Invalid, Missing, Unavailable
from aurora.models import DeadLetter, ProcessedEvent
from aurora.observability import tracing, work
from tests.aurora.bus.conftest import CLAIM_SECONDS, MAX_DELIVERIES
from tests.aurora.bus.scene import (
    STREAM,
    AlsoNoting,
    Noting,
    NotingTwice,
    dead_consumer,
    effects,
    is_finished,
    publish,
    settle,
)
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


class Failing:
    """Raises `errors` one after the other, then nothing."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def __call__(self, _message):
        if self.errors:
            raise self.errors.pop(0)


def test_a_message_is_handled_and_acknowledged(start, redis_client):
    event_id = publish(redis_client)
    start(Noting())
    until(lambda: is_finished(redis_client))
    assert effects() == {event_id: 1}


def test_messages_from_before_the_first_start_are_handled(start, redis_client):
    ids = {publish(redis_client) for _ in range(5)}
    start(Noting())
    until(lambda: set(effects()) == ids)


def test_every_group_gets_every_message(start, redis_client):
    event_id = publish(redis_client)
    start(Noting())
    start(AlsoNoting())
    until(lambda: effects("noting") == effects("also-noting") == {event_id: 1})


def test_a_failed_message_comes_again_after_the_claim_time(start, redis_client):
    worker = Noting(Failing(RuntimeError("once")))
    event_id = publish(redis_client)
    start(worker)
    until(lambda: is_finished(redis_client))
    assert len(worker.seen) == 2
    assert effects() == {event_id: 1}


@pytest.mark.parametrize(("deliveries", "claim_times"), [(1, 1), (2, 2), (3, 4), (4, 8)])
def test_each_failure_makes_the_next_delivery_later(settings, deliveries, claim_times):
    settings.BUS_CLAIM_SECONDS = 30
    assert delay_after(deliveries) == 30 * claim_times


def test_a_delay_does_not_grow_without_end(settings):
    settings.BUS_CLAIM_SECONDS = 30
    assert delay_after(1_000) == LONGEST_DELAY_SECONDS
    settings.BUS_CLAIM_SECONDS = 2 * LONGEST_DELAY_SECONDS
    assert delay_after(1) == 2 * LONGEST_DELAY_SECONDS


def test_what_failed_twice_is_not_taken_over_after_the_claim_time_already(start, redis_client, settings):
    """Another worker is there all the time and would take it; neither may, before its time has come."""
    # A lease is kept by extending it: long enough that a busy machine finds the time.
    settings.BUS_CLAIM_SECONDS = claim_seconds = 10 * CLAIM_SECONDS
    seen: list[tuple[float, Any]] = []

    def fail(_message):
        seen.append((time.monotonic(), _in_hand().names()["deliveries"]))
        raise RuntimeError

    publish(redis_client)
    start(Noting(fail))
    start(Noting(fail))
    until(lambda: DeadLetter.objects.exists())
    assert [deliveries for _, deliveries in seen] == [1, 2, 3]
    (first, _), (second, _), (third, _) = seen
    assert second - first >= claim_seconds * 0.9
    assert third - second >= claim_seconds * 1.9


def test_a_failed_handling_is_logged_once_with_its_traceback_and_names(start, redis_client, events):
    event_id = publish(redis_client)
    start(Noting(Failing(RuntimeError("once"))))
    until(lambda: is_finished(redis_client))
    [line] = events("message_failed")
    assert isinstance(line["exc_info"], RuntimeError)
    assert line["event_id"] == event_id
    assert (line["stream"], line["group"], line["deliveries"]) == (STREAM, "noting", 1)


def test_what_a_failed_handler_wrote_is_undone(redis_client):
    publish(redis_client)
    consumer, [entry] = dead_consumer()

    def write_and_fail(message):
        ProcessedEvent.objects.create(group="written by the handler", event_id=message.id)
        raise RuntimeError

    assert not settle(Noting(write_and_fail), consumer, entry)
    assert not ProcessedEvent.objects.exists()


def test_a_second_delivery_of_a_handled_event_is_skipped(start, redis_client):
    event_id = publish(redis_client)
    publish(redis_client, event_id)
    worker = Noting()
    start(worker)
    until(lambda: is_finished(redis_client))
    assert effects() == {event_id: 1}
    assert len(worker.seen) == 1


def test_a_worker_that_minds_its_own_idempotency_gets_every_delivery(start, redis_client):
    event_id = publish(redis_client)
    publish(redis_client, event_id)
    start(NotingTwice())
    until(lambda: is_finished(redis_client))
    assert effects() == {event_id: 2}
    assert not ProcessedEvent.objects.exists()


def test_a_message_that_keeps_failing_is_buried_after_the_last_delivery(start, redis_client):
    poison = publish(redis_client, data='{"is": "poison"}')
    good = publish(redis_client)

    def fail_on_poison(message):
        if message.id == poison:
            raise RuntimeError("indigestible")

    worker = Noting(fail_on_poison)
    start(worker)
    [letter] = until(lambda: list(DeadLetter.objects.all()))
    until(lambda: is_finished(redis_client))
    assert (letter.event_id, letter.group, letter.deliveries) == (poison, "noting", MAX_DELIVERIES)
    assert letter.error == "RuntimeError: indigestible"
    assert letter.data == '{"is": "poison"}'
    assert [message.id for message in worker.seen].count(poison) == MAX_DELIVERIES
    assert effects() == {good: 1}


def test_a_buried_message_stands_among_the_dead_letters_with_its_circumstances(start, redis_client):
    event_id = publish(redis_client, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    start(Noting(Failing(Invalid("never"))))
    [(_, fields)] = until(lambda: redis_client.xrange(streams.DEAD_LETTER))
    assert fields[b"id"].decode() == event_id
    assert fields[b"traceparent"].startswith(b"00-aaaa")
    assert (fields[b"stream"], fields[b"group"], fields[b"deliveries"]) == (STREAM.encode(), b"noting", b"1")
    assert fields[b"error"] == b"Invalid: never"


@pytest.mark.parametrize("error", [Invalid("wrong"), Denied("not you")])
def test_what_stays_wrong_is_buried_at_once(redis_client, error):
    publish(redis_client)
    consumer, [entry] = dead_consumer()
    settle(Noting(Failing(error)), consumer, entry)
    assert DeadLetter.objects.get().deliveries == 1


@pytest.mark.parametrize("error", [Missing(), Conflict(), TypeError("a bug"), Unavailable(retry_after=60)])
def test_what_may_change_is_left_pending(redis_client, error):
    publish(redis_client)
    consumer, [entry] = dead_consumer()
    assert not settle(Noting(Failing(error)), consumer, entry)
    assert redis_client.xpending(STREAM, "noting")["pending"] == 1
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"data": "{not json"},
        {"data": "[1]"},
        {"data": "[" * 100_000},
        {"data": b"\xff\xfe"},
        {"data": "{}\0", "type": "nul\0type"},
        {"type": ""},
        {"id": "not-a-uuid"},
        {"id": "x" * 500, "type": "y" * 500},
        {"version": "2"},
    ],
    ids=["no JSON", "no object", "deep", "no UTF-8", "NUL", "no type", "no UUID", "long names", "later version"],
)
def test_what_cannot_be_read_is_buried_at_once_and_stops_nobody(start, redis_client, fields):
    redis_client.xadd(STREAM, {"id": "0190a6f4-0000-7000-8000-000000000000", "type": "thing.happened"} | fields)
    event_id = publish(redis_client)
    if len(str(fields.get("type", ""))) > 64 or "\0" in str(fields.get("type", "")):
        registry.declare_types(STREAM, ["thing.happened"])
    start(Noting())
    until(lambda: is_finished(redis_client))
    assert DeadLetter.objects.count() == 1
    assert effects() == {event_id: 1}


def test_a_type_of_others_is_acknowledged_and_skipped(start, redis_client):
    publish(redis_client, type="other.thing")
    worker = Noting()
    start(worker)
    until(lambda: is_finished(redis_client))
    assert not worker.seen
    assert not DeadLetter.objects.exists()


def test_a_type_that_no_app_declared_is_buried(start, redis_client):
    registry.declare_types(STREAM, ["other.thing"])
    publish(redis_client, type="other.thing")
    publish(redis_client, type="never.heard.of")
    start(Noting())
    until(lambda: is_finished(redis_client))
    assert [letter.type for letter in DeadLetter.objects.all()] == ["never.heard.of"]


def test_unavailable_comes_again_as_often_as_it_takes_and_is_never_buried(start, redis_client):
    failures = MAX_DELIVERIES * 2
    worker = Noting(Failing(*[Unavailable(retry_after=0) for _ in range(failures)]))
    event_id = publish(redis_client)
    start(worker)
    until(lambda: is_finished(redis_client))
    assert len(worker.seen) == failures + 1
    assert effects() == {event_id: 1}


@pytest.mark.parametrize(
    "loss", ["SELECT pg_terminate_backend(pg_backend_pid())", "DO $$ BEGIN RAISE disk_full; END $$"]
)
def test_while_postgres_is_away_a_message_is_kept_and_not_counted(start, redis_client, events, loss):
    losses = iter(range(MAX_DELIVERIES + 1))

    def lose_the_connection(_message):
        if next(losses, None) is not None:
            with connection.cursor() as cursor:
                cursor.execute(loss)

    event_id = publish(redis_client)
    worker = Noting(lose_the_connection)
    start(worker)
    until(lambda: is_finished(redis_client))
    assert effects() == {event_id: 1}
    assert len(worker.seen) == MAX_DELIVERIES + 2
    assert len(events("neighbour_lost")) == len(events("neighbour_back")) == 1


def test_a_message_whose_handlers_were_all_killed_is_buried_unhandled(start, redis_client):
    publish(redis_client)
    consumer, [entry] = dead_consumer()
    redis_client.xclaim(STREAM, "noting", consumer.name, 0, [entry.entry_id], retrycount=MAX_DELIVERIES)
    worker = Noting()
    start(worker)
    [letter] = until(lambda: list(DeadLetter.objects.all()))
    assert letter.deliveries == MAX_DELIVERIES + 1
    assert not worker.seen


def test_burying_twice_keeps_one_row(redis_client):
    publish(redis_client)
    consumer, [entry] = dead_consumer()
    for _ in range(2):
        settle(Noting(Failing(Invalid())), consumer, entry)
    assert DeadLetter.objects.count() == 1


def test_a_message_addressed_to_one_group_is_handled_by_that_one_only(start, redis_client):
    event_id = publish(redis_client, addressee="also-noting")
    start(Noting())
    start(AlsoNoting())
    until(lambda: is_finished(redis_client, "noting") and is_finished(redis_client, "also-noting"))
    assert not effects("noting")
    assert effects("also-noting") == {event_id: 1}


def test_the_handler_runs_in_the_trace_of_the_event(start, redis_client):
    traces = []
    publish(redis_client, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    start(Noting(lambda _message: traces.append(tracing.current_traceparent())))
    until(lambda: is_finished(redis_client))
    assert traces[0].split("-")[1] == "a" * 32


def test_the_handlers_log_lines_bear_the_names_of_the_message_and_its_trace(start, redis_client, events):
    log = structlog.get_logger("handler")
    event_id = publish(redis_client, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    start(Noting(lambda _message: log.warning("looking", entry_id="its own")))
    until(lambda: is_finished(redis_client))
    [line] = events("looking")
    assert (line["stream"], line["group"], line["event_id"], line["deliveries"]) == (STREAM, "noting", event_id, 1)
    assert line["entry_id"] == "its own"
    assert line["trace_id"] == "a" * 32


def test_a_line_between_messages_bears_no_message(start, redis_client):
    publish(redis_client)
    consumer, [entry] = dead_consumer()
    found: list[work.Work] = []
    settle(Noting(lambda _message: found.append(_in_hand())), consumer, entry)
    assert found[0].names()["entry_id"] == entry.entry_id
    assert work.in_hand.get() is None


def test_messages_without_a_trace_have_one_of_their_own_each(start, redis_client):
    traces = []
    for _ in range(2):
        publish(redis_client)
    start(Noting(lambda _message: traces.append([tracing.current_traceparent(), tracing.current_traceparent()])))
    until(lambda: is_finished(redis_client))
    (first, again), (second, _) = traces
    assert first == again
    assert first.split("-")[1] != second.split("-")[1]


def test_what_is_handled_is_counted_by_the_time_it_is_acknowledged(start, redis_client):
    before = _handled()
    for _ in range(5):
        publish(redis_client)
    start(Noting())
    until(lambda: is_finished(redis_client))
    assert _handled() == before + 5


def test_as_many_handlers_run_at_once_as_the_worker_says(start, redis_client):
    class Four(Noting):
        concurrency = 4

    together = threading.Barrier(4, timeout=10)
    ids = {publish(redis_client) for _ in range(4)}
    start(Four(lambda _message: together.wait()))
    until(lambda: set(effects()) == ids)


def _handled():
    return metrics.HANDLED.labels("noting")._value.get()


def _in_hand() -> work.Work:
    found = work.in_hand.get()
    assert found
    return found
