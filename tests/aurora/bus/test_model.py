"""The bus as a model: whatever order of publishing, handling, dying, taking over, failing, putting back and restarting, each event has its effect
once, none is lost, and each aggregate's events stand on the stream, and are handled, in the order they were announced in. Redis restarts, with and
without its data."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from aurora.bus import dead_letters, keeping, outbox, postgres, registry
from aurora.bus import redis as clients
from aurora.bus.groups import Entry, GroupConsumer
from aurora.embedded.servers import Redis
from aurora.errors import Invalid
from aurora.models import DeadLetter, OutboxEvent, ProcessedEvent, PublishedEvent
from tests.aurora.bus.scene import (
    STREAM,
    TYPE,
    InOrder,
    effects,
    effects_in_order,
    is_finished,
    relay_turn,
    settle,
    settled,
)
from tests.cast import ADMIN
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

CLAIM_SECONDS = 0.001
"""So short that whoever asks, takes over: leases that run out are part of the game."""

consumers = st.integers(0, 1)
aggregates = st.integers(0, 2)


class _Died(BaseException):
    """The process ends here."""


class Bus(RuleBasedStateMachine):
    server: Redis

    @initialize()
    def begin(self) -> None:
        for model in (OutboxEvent, PublishedEvent, ProcessedEvent, DeadLetter):
            model.objects.all().delete()
        clients.client().flushdb()
        self.announced: dict[int, list[str]] = defaultdict(list)
        self.example = uuid4().hex[:8]
        self.session = postgres.session("model")
        self.consumers = [self._consumer(), self._consumer()]
        self.hands: list[list[Entry]] = [[], []]
        self.is_history_whole = True

    @rule(aggregate=aggregates, count=st.integers(1, 3))
    def announce(self, aggregate: int, count: int) -> None:
        thing = self._thing(aggregate)
        events = [outbox.Event(STREAM, TYPE, f"thing:{thing}", {"thing": thing}) for _ in range(count)]
        with transaction.atomic():
            outbox.announce_all(events)
        self.announced[aggregate] += [str(event.id) for event in events]

    @rule(aggregate=aggregates)
    def announce_and_undo(self, aggregate: int) -> None:
        with transaction.atomic():
            outbox.announce(outbox.Event(STREAM, TYPE, f"thing:{self._thing(aggregate)}", {}))
            transaction.set_rollback(True)

    @rule()
    def relay_moves(self) -> None:
        relay_turn(self.session)

    @rule()
    def relay_dies_between_redis_and_its_commit(self) -> None:
        with self.session.transaction(force_rollback=True):
            relay_turn(self.session)

    @rule(who=consumers, count=st.integers(1, 4))
    def read(self, who: int, count: int) -> None:
        self.hands[who] += self.consumers[who].read(count=count, block_ms=1)

    @rule(who=consumers)
    def take_over(self, who: int) -> None:
        self.hands[who] += self.consumers[who].claim(count=10, in_hand=[entry.entry_id for entry in self.hands[who]])

    @precondition(lambda self: any(self.hands))
    @rule(who=consumers)
    def handle(self, who: int) -> None:
        self._settle(who, InOrder())

    @precondition(lambda self: any(self.hands))
    @rule(who=consumers)
    def fail(self, who: int) -> None:
        self._settle(who, InOrder(_raise(RuntimeError("for once"))))

    @precondition(lambda self: any(self.hands))
    @rule(who=consumers)
    def find_it_wrong(self, who: int) -> None:
        self._settle(who, InOrder(_raise(Invalid("as it seems"))))

    @precondition(lambda self: any(self.hands))
    @rule(who=consumers)
    def die_while_handling(self, who: int) -> None:
        for entry in self.hands[who][:1]:
            with contextlib.suppress(_Died):  # what waits its turn is not handled, nor what has had its effect
                settle(InOrder(_raise(_Died())), self.consumers[who], entry)
        self.die(who)

    @precondition(lambda self: any(self.hands))
    @rule(who=consumers)
    def die_between_effect_and_acknowledgement(self, who: int) -> None:
        for entry in self.hands[who][:1]:
            settle(InOrder(), self.consumers[who], entry)
        self.die(who)

    @rule(who=consumers)
    def die(self, who: int) -> None:
        self.consumers[who], self.hands[who] = self._consumer(), []

    @rule(who=consumers)
    def stop(self, who: int) -> None:
        with contextlib.suppress(redis.ResponseError):  # before the first read there is no group to leave
            self.consumers[who].hand_back(self.hands[who])
            self.consumers[who].leave()
        self.hands[who] = []

    @rule()
    def put_back(self) -> None:
        for letter in DeadLetter.objects.filter(redriven_at=None):
            dead_letters.redrive(dead_letter_id=letter.id, actor=ADMIN)

    @rule()
    def what_is_finished_is_let_go(self) -> None:
        keeping.let_go()

    @rule()
    def redis_is_emptied(self) -> None:
        clients.client().flushall()
        self.is_history_whole = False

    @rule()
    def redis_restarts(self) -> None:
        self.server.stop()
        self.server.start()

    def teardown(self) -> None:
        if not hasattr(self, "announced"):
            return
        try:
            until(self._is_drained)
            announced = {event_id for events in self.announced.values() for event_id in events}
            # Effects of earlier examples stay: nothing is removed from the audit trail.
            assert {event_id: count for event_id, count in effects().items() if event_id in announced} == dict.fromkeys(
                announced, 1
            )
            self._require_order_on_stream()
            self._require_order_of_effects()
        finally:
            self.session.close()

    def _is_drained(self) -> bool:
        """What time alone brings about: relays and workers go on until nothing is left."""
        self.put_back()
        relay_turn(self.session)
        self.read(0, 50)
        self.take_over(0)
        for _ in range(len(self.hands[0])):
            self.handle(0)
        is_announced = DeadLetter.objects.filter(redriven_at=None).exists() or OutboxEvent.objects.exists()
        return not is_announced and (not clients.client().exists(STREAM) or is_finished(clients.client()))

    def _require_order_on_stream(self) -> None:
        """An event that is published again, or was put back, stands there twice: its first place counts, if Redis still has it."""
        on_stream = list(dict.fromkeys(fields[b"id"].decode() for _, fields in _entries()))
        buried = set() if self.is_history_whole else set(DeadLetter.objects.values_list("event_id", flat=True))
        for announced in self.announced.values():
            events = [event_id for event_id in announced if event_id not in buried]
            found = [event_id for event_id in on_stream if event_id in set(events)]
            assert found == [event_id for event_id in events if self.is_history_whole or event_id in set(found)]

    def _require_order_of_effects(self) -> None:
        """What was buried once has lost its turn."""
        buried = set(DeadLetter.objects.values_list("event_id", flat=True))
        for aggregate, announced in self.announced.items():
            handled = [event_id for event_id in effects_in_order(self._thing(aggregate)) if event_id not in buried]
            assert handled == [event_id for event_id in announced if event_id not in buried]

    def _settle(self, who: int, worker: InOrder) -> None:
        if self.hands[who]:
            entry = self.hands[who].pop(0)
            end = settled(worker, self.consumers[who], entry)
            if end.is_done:
                self.consumers[who].acknowledge([entry.entry_id])
            if end.is_early:
                self.hands[who].append(entry)

    def _consumer(self) -> GroupConsumer:
        return GroupConsumer(stream=STREAM, group=InOrder.group, claim_seconds=CLAIM_SECONDS)

    def _thing(self, aggregate: int) -> str:
        """Its own in each example: effects of earlier ones stay."""
        return f"{self.example}-{aggregate}"


def test_whatever_happens_each_event_has_its_effect_once(
    own_redis: Redis, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_factories", {"noting": InOrder})
    settings.BUS_CLAIM_SECONDS = CLAIM_SECONDS
    Bus.server = own_redis
    _what_had_its_effect_is_taken_over_by_one_that_dies()
    run_state_machine_as_test(Bus, settings=_settings)


def _what_had_its_effect_is_taken_over_by_one_that_dies() -> None:
    """A history that chance found once in some hundred examples."""
    bus = Bus()
    bus.begin()
    bus.announce(aggregate=0, count=1)
    bus.relay_dies_between_redis_and_its_commit()
    bus.read(who=0, count=1)
    bus.die_between_effect_and_acknowledgement(who=0)
    until(lambda: bus.take_over(who=0) or bus.hands[0])
    bus.die_while_handling(who=0)
    bus.teardown()


def _raise(error: BaseException) -> Any:
    def before(_message: Any) -> None:
        raise error

    return before


def _entries() -> list[Any]:
    client: Any = clients.client()
    entries: list[Any] = client.xrange(STREAM)
    return entries


_settings = settings(max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
