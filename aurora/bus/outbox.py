"""Announcing a change: the event is a row of the change's own transaction, so both are kept or neither.

A trigger on the table (migration 0002) wakes the relay by NOTIFY when the transaction commits; see `aurora.bus.relay`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from django.utils import timezone

from aurora import statements
from aurora.ids import new_id
from aurora.models import OutboxEvent
from aurora.observability.tracing import current_traceparent

CHANNEL = "aurora_outbox"
"""The NOTIFY channel."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `aggregate` names what it is about: events of one aggregate reach the stream in order."""

    stream: str
    type: str
    aggregate: str
    data: dict[str, Any]
    id: UUID = field(default_factory=new_id)


def announce(*events: Event) -> None:
    """Writes the events into the outbox of the current transaction. Must be called inside one: RuntimeError otherwise."""
    announce_all(events)


def announce_all(events: Iterable[Event]) -> None:
    """As `announce`, for any number in one statement."""
    if not connection.in_atomic_block:
        raise RuntimeError("an event must be announced in the transaction of its change")
    rows = list(events)
    if not rows:
        return
    with statements.cursor() as cursor:
        cursor.execute(
            _INSERT, [orjson.dumps([_row(event) for event in rows]).decode(), current_traceparent(), timezone.now()]
        )


def _row(event: Event) -> dict[str, Any]:
    data = orjson.dumps(event.data, default=str, option=orjson.OPT_UTC_Z).decode()
    return {
        "event_id": event.id,
        "stream": event.stream,
        "type": event.type,
        "aggregate": event.aggregate,
        "data": data,
    }


# One JSON text instead of an array a column: see `cases.upserts`.
_INSERT = f"""
    INSERT INTO {OutboxEvent._meta.db_table} (event_id, stream, type, aggregate, data, traceparent, created_at)
    SELECT event_id, stream, type, aggregate, data, traceparent, created_at
    FROM ROWS FROM (json_to_recordset(%s::json) AS (event_id uuid, stream text, type text, aggregate text, data text))
         WITH ORDINALITY AS row (event_id, stream, type, aggregate, data, place),
         (SELECT %s::text AS traceparent, %s::timestamptz AS created_at) AS common
    ORDER BY place
"""
