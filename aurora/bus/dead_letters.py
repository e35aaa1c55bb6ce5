"""Messages that no delivery could handle: kept as rows for people and as entries on `aurora:dead_letter` for programs, and put back on demand."""

from __future__ import annotations

import structlog
from django.db import transaction
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor
from aurora.bus import redis as clients
from aurora.bus import streams
from aurora.bus.groups import Entry
from aurora.errors import Conflict, Invalid, Missing
from aurora.ids import uuid_or_none
from aurora.models import DeadLetter, OutboxEvent
from aurora.texts import storable

LONGEST_ERROR = 2_000
"""Characters; an error may repeat the whole payload."""

log = structlog.get_logger(__name__)


def bury(*, stream: str, group: str, entry: Entry, error: str) -> DeadLetter:
    """Keeps the entry and acknowledges it for `group`. Raises Django's DatabaseError or RedisError: then the entry is still pending.

    The row comes first: after a crash between the two the entry is delivered again and buried again, which finds the row.
    """
    letter, _ = DeadLetter.objects.get_or_create(
        stream=stream,
        group=group,
        entry_id=entry.entry_id,
        defaults={
            "event_id": storable(streams.text_of(entry.fields, "id"), 64),
            "type": storable(streams.text_of(entry.fields, "type"), 64),
            "data": storable(streams.text_of(entry.fields, "data")),
            "traceparent": storable(streams.text_of(entry.fields, "traceparent"), 64),
            "error": storable(error, LONGEST_ERROR),
            "deliveries": entry.deliveries,
        },
    )
    client: streams.Client = clients.client(clients.Purpose.COMMAND)
    with client.pipeline(transaction=True) as pipeline:
        pipeline.xadd(clients.key(streams.DEAD_LETTER), {**entry.fields, **_circumstances(letter)})
        pipeline.xack(clients.key(stream), group, entry.entry_id)
        pipeline.execute()
    return letter


@transaction.atomic
def redrive(*, dead_letter_id: object, actor: Actor) -> DeadLetter:
    """Puts the message back on its stream, once, for the group that could not handle it.

    It goes through the outbox, so that it is put back exactly when `redriven_at` is set. The event keeps its id, under which the group has
    noted nothing (its transactions were undone), and is addressed to the group, so that the others and the sockets do not see it twice.
    Raises Denied, Missing; Conflict when it was put back before; Invalid when it is too broken to be announced.
    """
    actor.require("agents:manage")
    letter_id = uuid_or_none(dead_letter_id)
    letter = letter_id and DeadLetter.objects.select_for_update().filter(pk=letter_id).first()
    if not letter:
        raise Missing
    if letter.redriven_at:
        raise Conflict(f"Put back already at {letter.redriven_at:%Y-%m-%d %H:%M:%S} UTC")
    event_id = uuid_or_none(letter.event_id)
    if event_id is None or not letter.type:
        raise Invalid("The message has no readable id or type: it cannot be put back")
    letter.redriven_at = timezone.now()
    letter.save(update_fields=["redriven_at"])
    # An event published twice (a relay died) may have been buried twice: one announcement serves both letters.
    OutboxEvent.objects.get_or_create(
        event_id=event_id,
        addressee=letter.group,
        defaults={
            "stream": letter.stream,
            "type": letter.type,
            "aggregate": f"{letter.group}:{event_id}"[:100],
            "data": letter.data,
            "traceparent": letter.traceparent,
        },
    )
    audit.record(actor, "dead_letter.redriven", letter, after={"stream": letter.stream, "group": letter.group})
    log.info("dead_letter_redriven", dead_letter_id=str(letter.id), group=letter.group, event_id=str(event_id))
    return letter


def _circumstances(letter: DeadLetter) -> dict[bytes, str | int]:
    """What an entry on `aurora:dead_letter` holds beside the fields of the message."""
    return {
        b"stream": letter.stream,
        b"group": letter.group,
        b"entry_id": letter.entry_id,
        b"error": letter.error,
        b"deliveries": letter.deliveries,
        b"dead_letter_id": str(letter.id),
    }
