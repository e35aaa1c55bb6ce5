"""What the bus's tests act with: a worker whose effect is a row, and ways to put messages before it."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any
from uuid import uuid4

import orjson
import redis
from django.conf import settings
from django.db import transaction

from aurora.bus import keeping, outbox, postgres, relay, streams
from aurora.bus import redis as clients
from aurora.bus.groups import Entry, GroupConsumer, consumer_name
from aurora.bus.pump import Settled
from aurora.bus.streams import Message
from aurora.bus.worker import Worker, _Settler
from aurora.models import AuditEntry

STREAM = streams.ALERTS
TYPE = "thing.happened"


class Noting(Worker):
    """Writes one row a message; `before` may be replaced to fail, to wait, to look."""

    name = "noting"
    stream = STREAM
    group = "noting"
    types = frozenset({TYPE})

    def __init__(self, before: Any = None) -> None:
        self.before = before or (lambda message: None)
        self.seen: list[Message] = []

    def handle(self, message: Message) -> None:
        self.seen.append(message)
        self.before(message)
        AuditEntry.objects.create(actor=self.group, action="effect", target_type="event", target_id=message.id)


class NotingTwice(Noting):
    """Looks after itself, badly: every delivery has its effect."""

    exactly_once = False


class NotingTogether(Noting):
    """Writes the rows of up to ten messages in one transaction."""

    batch = 10


class InOrder(Noting):
    """Each aggregate's events in their order. Its rows say how many of the aggregate's there were before."""

    in_order = True

    def handle(self, message: Message) -> None:
        self.seen.append(message)
        self.before(message)
        aggregate = str(message.data["thing"])
        rows = AuditEntry.objects.filter(actor=self.group, action="effect", target_type=aggregate)
        AuditEntry.objects.create(
            actor=self.group,
            action="effect",
            target_type=aggregate,
            target_id=message.id,
            after={"earlier": rows.count()},
        )


class InOrderTogether(InOrder):
    batch = 10


class Stumbling(InOrder):
    """Fails now and then, and reads little ahead, so that every process has some of each thing's events."""

    prefetch = 3

    def handle(self, message: Message) -> None:
        super().handle(message)
        if random.random() < 0.04:
            raise RuntimeError("for once")


class AlsoNoting(Noting):
    group = "also-noting"


def effects(group: str = Noting.group) -> Counter[str]:
    """How often each event had its effect."""
    return Counter(AuditEntry.objects.filter(action="effect", actor=group).values_list("target_id", flat=True))


def effects_in_order(thing: str) -> list[str]:
    """The events of the thing in the order in which InOrder handled them."""
    rows = AuditEntry.objects.filter(action="effect", actor=InOrder.group, target_type=thing)
    earlier = {row.after["earlier"]: row.target_id for row in rows}
    assert sorted(earlier) == list(range(len(rows))), "two were handled at once"
    return [event_id for _, event_id in sorted(earlier.items())]


def publish(client: streams.Client, event_id: str | None = None, **fields: str) -> str:
    """Puts a message on the stream; its event's id."""
    event_id = event_id or str(uuid4())
    client.xadd(STREAM, {"id": event_id, "type": TYPE, "data": "{}", **fields})
    return event_id


def announce(aggregate: str = "thing:1", **data: Any) -> outbox.Event:
    event = outbox.Event(STREAM, TYPE, aggregate, data)
    with transaction.atomic():
        outbox.announce(event)
    return event


def announce_things(*things: str) -> list[str]:
    """An event of each of the things in one transaction, for InOrder; their ids."""
    events = [outbox.Event(STREAM, TYPE, f"thing:{thing}", {"thing": thing}) for thing in things]
    with transaction.atomic():
        outbox.announce_all(events)
    return [str(event.id) for event in events]


def announce_many(count: int, *, aggregates: int) -> dict[str, list[str]]:
    """As many events in one transaction, dealt round; their ids by aggregate, in order."""
    events = [outbox.Event(STREAM, TYPE, f"thing:{number % aggregates}", {}) for number in range(count)]
    with transaction.atomic():
        outbox.announce_all(events)
    announced: dict[str, list[str]] = {}
    for event in events:
        announced.setdefault(event.aggregate, []).append(str(event.id))
    return announced


def relay_turn(session: postgres.Session) -> int:
    """What a relay does each time it wakes: first what Redis has forgotten, then what waits; how many it moved."""
    client = clients.client()
    run = keeping.present_run(client)
    keeping.put_back_lost(session, client, run=run)
    return relay.move_batch(session, run=run)


def published(client: streams.Client) -> list[dict[str, Any]]:
    """The data of what stands on the stream, in its order."""
    return [orjson.loads(fields[b"data"]) for _, fields in client.xrange(STREAM)]


def is_finished(client: streams.Client, group: str = Noting.group) -> bool:
    """Whether the group has been given everything and has finished it."""
    last = client.xinfo_stream(STREAM)["last-generated-id"]
    return any(
        found["name"].decode() == group and found["last-delivered-id"] == last and not found["pending"]
        for found in client.xinfo_groups(STREAM)
    )


def pending(client: streams.Client, group: str = Noting.group) -> list[dict[str, Any]]:
    """The group's pending entries; none before there is a group."""
    try:
        entries: list[dict[str, Any]] = client.xpending_range(STREAM, group, "-", "+", 1_000)
    except redis.ResponseError:
        return []
    return entries


def dead_consumer(
    group: str = Noting.group, *, pid: int | None = None, name: str = ""
) -> tuple[GroupConsumer, list[Entry]]:
    """A consumer that was given everything and then died; with `pid`, of that process and not of ours."""
    consumer = GroupConsumer(stream=STREAM, group=group, claim_seconds=settings.BUS_CLAIM_SECONDS)
    consumer.name = name or (consumer.name if pid is None else consumer_name(pid))
    return consumer, consumer.read(count=1_000, block_ms=1)


def settle(worker: Worker, consumer: GroupConsumer, entry: Entry) -> bool:
    """What a handler thread does with one entry, without the acknowledgement that follows; whether it is done."""
    return settled(worker, consumer, entry).is_done


def settled(worker: Worker, consumer: GroupConsumer, entry: Entry) -> Settled:
    """As `settle`; what is to become of the entry."""
    return _Settler(worker, consumer, threading.Event()).settle(entry)
