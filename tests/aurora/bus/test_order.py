"""An aggregate's events are handled in the order they were announced in, whoever has them: what waits, for what, and for what not."""

from __future__ import annotations

import logging
import threading

import pytest
from django.db import connection

from aurora.bus import dead_letters, keeping, metrics, parking, postgres, registry
from aurora.bus.groups import Entry
from aurora.bus.pump import DONE, EARLY, Settled
from aurora.bus.relay import Relay, move_batch
from aurora.bus.worker import Worker, _Settler
from aurora.errors import Invalid, Unavailable
from aurora.models import DeadLetter, OutboxEvent, ProcessedEvent, PublishedEvent
from tests.aurora.bus.scene import (
    STREAM,
    AlsoNoting,
    InOrder,
    InOrderTogether,
    Noting,
    announce_things,
    dead_consumer,
    effects,
    effects_in_order,
    is_finished,
    pending,
    publish,
    relay_turn,
    settled,
)
from tests.cast import ADMIN
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _groups(monkeypatch):
    """Another group that never finishes anything, so that all is kept."""
    monkeypatch.setattr(registry, "_factories", {"noting": InOrder, "also-noting": AlsoNoting})


@pytest.fixture
def session(redis_client):
    with postgres.session("relay") as opened:
        yield opened


class Hands:
    """A consumer that was given everything that stands on the stream, and what a handler thread of it does with an entry."""

    def __init__(self) -> None:
        self.consumer, self.entries = dead_consumer(InOrder.group)

    def settle(self, entry: Entry, worker: Worker | None = None) -> Settled:
        return settled(worker or InOrder(), self.consumer, entry)

    def settle_together(self, *entries: Entry, worker: Worker | None = None) -> list[Settled]:
        return _Settler(worker or InOrderTogether(), self.consumer, threading.Event()).settle_together(entries)

    def acknowledge(self, *entries: Entry) -> None:
        self.consumer.acknowledge([entry.entry_id for entry in entries])


@pytest.fixture
def given(session):
    """Announces, publishes and reads an event of each of the things; the hands that hold the entries."""

    def give(*things: str) -> Hands:
        announce_things(*things)
        relay_turn(session)
        return Hands()

    return give


def finding(error):
    def before(_message):
        raise error

    return InOrder(before)


def test_what_was_announced_before_is_waited_for(given):
    hands = given("a", "a")
    first, second = hands.entries
    assert hands.settle(second) is EARLY
    assert not effects()
    assert hands.settle(first) is DONE
    assert hands.settle(second) is DONE
    assert len(effects_in_order("a")) == 2


def test_all_before_it_is_waited_for_and_not_only_the_last(given):
    hands = given("a", "a", "a")
    first, second, third = hands.entries
    ProcessedEvent.objects.create(group="noting", event_id=second.fields[b"id"].decode())
    assert hands.settle(third) is EARLY
    hands.settle(first)
    assert hands.settle(third) is DONE


def test_other_things_other_types_and_what_is_for_another_group_are_not_waited_for(given, session):
    announce_things("a", "b", "b")
    wanted, other, addressed = OutboxEvent.objects.order_by("id")
    OutboxEvent.objects.filter(pk=other.pk).update(type="of.no.concern")
    OutboxEvent.objects.filter(pk=addressed.pk).update(addressee="also-noting")
    hands = given("b")
    assert hands.settle(hands.entries[-1]) is DONE
    assert str(wanted.event_id) not in effects()


def test_what_failed_is_waited_for(given):
    hands = given("a", "a")
    first, second = hands.entries
    assert not hands.settle(first, finding(RuntimeError("not now"))).is_done
    assert hands.settle(second) is EARLY
    assert not hands.settle(first, finding(Unavailable("away", retry_after=0.01))).is_done
    assert hands.settle(second) is EARLY


def test_what_another_process_is_just_handling_is_waited_for(given):
    hands = given("a", "a")
    first, second = hands.entries
    is_in_hand, go_on = threading.Event(), threading.Event()

    def linger(_message):
        is_in_hand.set()
        go_on.wait(60)

    other = threading.Thread(target=hands.settle, args=(first, InOrder(linger)))
    other.start()
    is_in_hand.wait(60)
    assert hands.settle(second) is EARLY
    go_on.set()
    other.join()
    assert hands.settle(second) is DONE


def test_what_stands_on_the_stream_before_the_relay_has_committed_is_waited_for(session):
    announce_things("a", "a")
    with session.transaction():
        move_batch(session)
        hands = Hands()
        first, second = hands.entries
        assert hands.settle(second) is EARLY
        assert hands.settle(first) is DONE
        assert hands.settle(second) is DONE


def test_what_was_published_twice_has_its_effects_once_and_in_order(session):
    ids = announce_things("a", "a")
    with session.transaction(force_rollback=True):
        move_batch(session)
    relay_turn(session)
    hands = Hands()
    first, second, first_again, second_again = hands.entries
    assert hands.settle(second_again) is EARLY
    assert hands.settle(first_again) is DONE
    assert hands.settle(second) is DONE
    assert hands.settle(first) is hands.settle(second_again) is DONE
    assert effects_in_order("a") == ids


def test_what_is_buried_holds_up_nobody_and_comes_after_them_when_it_is_put_back(given, session):
    hands = given("a", "a", "a")
    first, second, third = hands.entries
    assert not hands.settle(first, finding(Invalid("wrong"))).is_done
    assert DeadLetter.objects.count() == 1
    assert hands.settle(second) is DONE
    dead_letters.redrive(dead_letter_id=DeadLetter.objects.get().id, actor=ADMIN)
    assert hands.settle(third) is DONE
    relay_turn(session)
    _, [put_back] = dead_consumer(InOrder.group)
    assert hands.settle(put_back) is DONE
    assert effects_in_order("a") == [entry.fields[b"id"].decode() for entry in (second, third, first)]


def test_what_is_of_no_concern_is_not_waited_for_once_it_is_acknowledged(given):
    class Choosy(InOrder):
        def concerns(self, message):
            return message.id != of_no_concern.fields[b"id"].decode()

    hands = given("a", "a")
    of_no_concern, other = hands.entries
    assert hands.settle(other, Choosy()) is EARLY
    assert hands.settle(of_no_concern, Choosy()) is DONE
    hands.acknowledge(of_no_concern)
    assert hands.settle(other, Choosy()) is DONE


def test_many_without_a_note_are_all_looked_at(given):
    hands = given(*["a"] * 120)
    hands.acknowledge(*hands.entries[:60], *hands.entries[61:119])
    assert hands.settle(hands.entries[-1]) is EARLY
    hands.acknowledge(hands.entries[60])
    assert hands.settle(hands.entries[-1]) is DONE


def test_what_was_finished_so_long_ago_that_its_note_is_forgotten_is_not_waited_for(given):
    """Its row is still kept, for another group."""
    hands = given("a", "a")
    first, second = hands.entries
    hands.settle(first)
    hands.acknowledge(first)
    ProcessedEvent.objects.all().delete()
    assert PublishedEvent.objects.count() == 2
    assert hands.settle(second) is DONE


def test_what_was_let_go_of_is_not_waited_for(given, monkeypatch):
    monkeypatch.setattr(registry, "_factories", {"noting": InOrder})
    hands = given("a", "a")
    first, second = hands.entries
    hands.settle(first)
    hands.acknowledge(first, second)
    keeping.let_go()
    assert not PublishedEvent.objects.exists()
    ProcessedEvent.objects.all().delete()
    assert hands.settle(second) is DONE


def test_what_is_not_delivered_yet_is_waited_for_wherever_it_stands(session):
    """Published again, the earlier one may stand behind the later one."""
    announce_things("a", "a")
    with session.transaction(force_rollback=True):
        move_batch(session)
    hands = Hands()
    first, second = hands.entries
    hands.acknowledge(first)
    relay_turn(session)
    assert hands.settle(second) is EARLY
    [again, _] = Hands().entries
    assert hands.settle(second) is EARLY
    assert hands.settle(again) is DONE
    assert hands.settle(second) is DONE


def test_what_was_trimmed_undelivered_is_not_waited_for(given, session, redis_client):
    announce_things("a", "a")
    relay_turn(session)
    redis_client.xtrim(STREAM, maxlen=1, approximate=False)
    hands = Hands()
    [second] = hands.entries
    assert PublishedEvent.objects.count() == 2
    assert hands.settle(second) is DONE


def test_what_was_trimmed_unfinished_is_waited_for_until_somebody_finds_that_it_is_gone(given, redis_client):
    hands = given("a", "a")
    first, second = hands.entries
    redis_client.xdel(STREAM, first.entry_id)
    assert hands.settle(second) is EARLY

    def is_found():
        hands.consumer.claim(count=10, in_hand=[second.entry_id])
        return len(pending(redis_client)) == 1

    until(is_found)
    assert hands.settle(second) is DONE


def test_after_a_loss_what_is_published_again_is_waited_for(given, session, redis_client):
    """What this one holds was read before the loss. What Redis says of its groups now, it says of others."""
    hands = given("a", "a")
    first, second = hands.entries
    redis_client.flushdb()
    assert hands.settle(second) is EARLY
    relay_turn(session)
    assert hands.settle(second) is EARLY
    again = Hands()
    assert hands.settle(second) is EARLY
    assert again.settle(again.entries[0]) is DONE
    assert hands.settle(second) is DONE
    assert again.settle(again.entries[1]) is DONE
    assert effects_in_order("a") == [entry.fields[b"id"].decode() for entry in (first, second)]


def test_a_group_of_another_run_is_not_believed(given, session, redis_client):
    """Whoever publishes from elsewhere may have brought it further than where the lost ones stood."""
    hands = given("a", "a")
    _, second = hands.entries
    redis_client.flushdb()
    publish(redis_client, data='{"thing": "b"}')
    dead_consumer(InOrder.group)
    assert hands.settle(second) is EARLY


def test_while_redis_is_away_nothing_is_taken_for_finished(own_redis):
    announce_things("a", "a")
    with postgres.session("relay") as session:
        relay_turn(session)
    hands = Hands()
    own_redis.stop()
    assert hands.settle(hands.entries[1]) is EARLY


@pytest.mark.parametrize("number", ["", "not a number", "-1", "9" * 30, "\u0661"])
def test_what_no_relay_has_numbered_waits_for_nothing(given, session, redis_client, number):
    announce_things("a")
    relay_turn(session)
    publish(redis_client, data='{"thing": "a"}', aggregate="thing:a\0", number=number)
    hands = Hands()
    assert hands.settle(hands.entries[-1]) is DONE


def test_the_fields_that_tell_the_turn_are_there_only_where_somebody_asks(session, redis_client, monkeypatch):
    announce_things("a")
    relay_turn(session)
    [(_, fields)] = redis_client.xrange(STREAM)
    assert (fields[b"aggregate"], int(fields[b"number"])) == (b"thing:a", PublishedEvent.objects.get().id)
    assert PublishedEvent.objects.get().is_ordered
    monkeypatch.setattr(registry, "_factories", {"noting": Noting})
    announce_things("a")
    relay_turn(session)
    assert not redis_client.xrange(STREAM)[1][1].keys() & {b"aggregate", b"number"}
    assert list(PublishedEvent.objects.order_by("id").values_list("is_ordered", flat=True)) == [True, False]


def test_together_those_before_it_in_the_same_transaction_count(given):
    hands = given("a", "b", "a", "a")
    ids = [entry.fields[b"id"].decode() for entry in hands.entries]
    assert hands.settle_together(*reversed(hands.entries)) == [DONE] * 4
    assert effects_in_order("a") == [ids[0], ids[2], ids[3]]


def test_together_only_those_are_handled_whose_turn_it_is(given):
    hands = given("a", "a", "a", "b", "b")
    missing, *others = hands.entries
    assert hands.settle_together(*others) == [EARLY, EARLY, DONE, DONE]
    assert hands.settle_together(missing, *others) == [DONE] * 5
    assert len(effects_in_order("a")) == 3


def test_what_was_found_finished_is_not_looked_at_again(given):
    """Else each message of a lively aggregate would look at all that are kept of it."""
    hands = given(*["a"] * 4)
    first, second, third, fourth = hands.entries
    worker = _Settler(InOrder(), hands.consumer, threading.Event())
    for entry in (first, second, third):
        assert worker.settle(entry) is DONE
    ProcessedEvent.objects.filter(event_id__in=[one.fields[b"id"].decode() for one in (first, second)]).delete()
    assert worker.settle(fourth) is DONE, "the notes of the first two are asked for again"


def test_what_failed_together_is_looked_at_again(given):
    """Those in one transaction were in turn, and then it was undone."""
    hands = given("a", "a", "a", "b")
    first, second, third, other = hands.entries
    ids = [entry.fields[b"id"].decode() for entry in hands.entries]

    def fail(message):
        if message.id == ids[1]:
            raise RuntimeError("not now")

    worker = _Settler(InOrderTogether(fail), hands.consumer, threading.Event())
    assert [one.is_done for one in worker.settle_together([first, second, other])] == [True, False, True]
    assert worker.settle_together([third, other]) == [EARLY, DONE]
    assert effects_in_order("a") == ids[:1]


def test_when_one_of_many_fails_those_after_it_wait(given):
    hands = given("a", "a", "b", "b")
    first = hands.entries[0]

    class FailingOnce(InOrderTogether):
        def handle(self, message):
            if message.id == first.fields[b"id"].decode():
                raise RuntimeError("not now")
            super().handle(message)

    ends = hands.settle_together(*hands.entries, worker=FailingOnce())
    assert [one.is_done for one in ends] == [False, False, True, True]
    assert ends[1] is EARLY
    assert not effects_in_order("a")


def test_what_only_waits_is_neither_counted_nor_logged(given, redis_client, caplog):
    """Beside one that kills its handlers it would be buried with it."""
    hands = given("a", "a")
    second = hands.entries[1]
    hands.consumer.hand_back([second])
    [again] = hands.consumer.claim(count=10, in_hand=[])
    before = pending(redis_client)[1]["times_delivered"]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert hands.settle(again._replace(deliveries=99)) is EARLY
    assert pending(redis_client)[1]["times_delivered"] == before
    assert not caplog.records
    assert not DeadLetter.objects.exists()


def test_an_outage_of_postgresql_while_the_turn_is_asked_for_is_waited_out(given, session, events):
    hands = given("a")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        session.execute("SELECT pg_terminate_backend(%s)", cursor.fetchone())
    assert hands.settle(hands.entries[0]) is DONE
    assert not events("message_failed")
    assert not events("message_postponed")


def test_the_later_ones_follow_at_once_when_what_held_them_up_succeeds(start, redis_client, events):
    ids = announce_things(*["a"] * 10, "b")
    lives = iter(range(2))

    def fail_twice(message):
        if message.id == ids[0] and next(lives, None) is not None:
            raise RuntimeError("not now")

    start(Relay())
    workers = [InOrder(fail_twice), InOrder(fail_twice)]
    for worker in workers:
        start(worker)
    until(lambda: sum(effects().values()) == 11)
    assert effects_in_order("a") == ids[:10]
    assert len(events("message_failed")) == 2
    assert not events("message_left_pending")
    assert sum(len(worker.seen) for worker in workers) == 13, "who waits is not handled"
    until(lambda: is_finished(redis_client))


def test_more_than_can_wait_here_is_left_to_others(start, redis_client, monkeypatch):
    monkeypatch.setattr(parking, "MOST", 2)
    monkeypatch.setattr("aurora.bus.pump.PASSED_ON_SECONDS", 0.1)
    ids = announce_things(*["a"] * 20)
    lives = iter(range(1))

    def fail_once(message):
        if message.id == ids[0] and next(lives, None) is not None:
            raise RuntimeError("not now")

    start(Relay())
    start(InOrder(fail_once))
    until(lambda: sum(effects().values()) == 20)
    assert effects_in_order("a") == ids


def test_what_failed_is_taken_over_beside_many_that_wait_for_it(start):
    class ReadsLittle(InOrder):
        prefetch = 3

    ids = announce_things(*["a"] * 60)
    lives = iter(range(1))

    def fail_once(message):
        if message.id == ids[0] and next(lives, None) is not None:
            raise RuntimeError("not now")

    start(Relay())
    start(ReadsLittle(fail_once))
    until(lambda: sum(effects().values()) == 60)
    assert effects_in_order("a") == ids


def test_what_waits_takes_no_room_so_that_what_it_waits_for_can_be_taken_over(given, start):
    class OneAtATime(InOrder):
        prefetch = 0

    hands = given("a", "a", "a")
    hands.consumer.hand_back(hands.entries[1:])
    start(OneAtATime())
    until(lambda: sum(effects().values()) == 3)
    assert effects_in_order("a") == [entry.fields[b"id"].decode() for entry in hands.entries]


def test_what_waits_is_handed_back_at_a_stop(given, start, redis_client, settings):
    settings.BUS_CLAIM_SECONDS = 30
    hands = given("a", "a")
    hands.consumer.hand_back(hands.entries[1:])
    is_looked_at = threading.Event()

    class Looking(InOrder):
        def concerns(self, _message):
            is_looked_at.set()
            return True

    running = start(Looking())
    is_looked_at.wait(60)
    running.stop()
    first, second = pending(redis_client)
    assert first["consumer"].decode() == hands.consumer.name != second["consumer"].decode()
    assert second["times_delivered"] == 0
    assert second["time_since_delivered"] >= 30_000


def test_a_worker_in_order_that_notes_nothing_cannot_be_written():
    with pytest.raises(TypeError, match="Careless is in_order and not exactly_once"):

        class Careless(Noting):
            exactly_once = False
            in_order = True


def entry(number: int) -> Entry:
    return Entry(f"{number}-0", {}, 1)


def looks(place: parking.Parking, *, add: list[Entry]) -> list[Entry]:
    for one in add:
        place.add(one)
    return until(place.take_due, every=0.001)


def test_looks_become_rarer_until_something_comes_to_an_end():
    place, first = parking.Parking(), parking.FIRST_PAUSE_SECONDS
    assert place.seconds_left() is None
    assert place.take_due() == []
    two, pauses = [entry(1), entry(2)], []
    for _ in range(3):
        assert looks(place, add=two) == two
        pauses.append(place._pause)
    assert pauses == [first * 2, first * 4, first * 8]
    place.note_end(two[1].entry_id)
    assert looks(place, add=two[:1]) == two[:1]
    assert place._pause == first * 2
    for _ in range(9):
        place._due = 0.0
        looks(place, add=two[:1])
    assert place._pause == parking.LONGEST_PAUSE_SECONDS


def test_what_waits_and_what_is_looked_at_count_alike():
    """Else a worker would be full whenever it looks, and take over nothing of what they wait for."""
    place = parking.Parking()
    looks(place, add=[entry(1), entry(2)])
    assert len(place) == 2
    place.add(entry(1))
    assert len(place) == 2
    place.note_end(entry(2).entry_id)
    assert len(place) == 1


def test_the_next_look_waits_for_the_last_one_but_not_for_long(monkeypatch):
    """One whose turn has come may be handled for minutes."""
    monkeypatch.setattr(parking, "LONGEST_PAUSE_SECONDS", 3600.0)
    place = parking.Parking()
    looks(place, add=[entry(1), entry(2)])
    place.add(entry(1))
    place._due = 0.0
    assert place.take_due() == []
    assert (place.seconds_left() or 0.0) > 3000
    place._looks_until = 0.0
    assert place.take_due() == [entry(1)]


def test_there_is_no_room_for_any_number(monkeypatch):
    monkeypatch.setattr(parking, "MOST", 2)
    place = parking.Parking()
    assert [place.add(entry(number)) for number in range(3)] == [True, True, False]
    assert place.take_all() == [entry(0), entry(1)]
    assert len(place) == 0


def test_waiting_is_no_failure(given):
    hands = given("a", "a")
    before = metrics.FAILED.labels(InOrder.group)._value.get()
    assert hands.settle(hands.entries[1]) is EARLY
    assert metrics.FAILED.labels(InOrder.group)._value.get() == before
