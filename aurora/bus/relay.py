"""The relay: moves events from the outbox to their streams.

A commit wakes it (NOTIFY, migration 0002); a slow sweep finds what a lost notification or a dead relay left behind. Rows leave the outbox in a
transaction that commits only after Redis has confirmed them, so a crash in between publishes them again: consumers skip what they have
handled by the event's id. They are kept elsewhere until every group has finished them (`aurora.bus.keeping`), and before each batch the relay
looks whether Redis has forgotten any.

Any number of relays may run. The order within an aggregate holds because a relay publishes only from lanes (a hash of the aggregate) it
holds the advisory lock of, and always the lane's oldest rows first:

* the lane is asked for once a claim, after the head of the outbox has been read. Asked for row by row, a lane that another relay gives up
  half-way (its transaction failed) would be taken from its second row on;
* a relay whose snapshot is older than another's delete gets the lane, but not the rows: FOR UPDATE looks at the rows as they are now;
* what such a snapshot does not show is younger than all it shows, because writers of one aggregate wait for each other on its row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import redis
import structlog
from psycopg.rows import class_row

from aurora.bus import keeping, metrics, order, postgres, registry
from aurora.bus import redis as clients
from aurora.bus.backoff import Backoff
from aurora.bus.outbox import CHANNEL
from aurora.bus.postgres import Session
from aurora.bus.streams import Client
from aurora.models import OutboxEvent

BATCH = 500
"""Rows a claim, and a round trip to Redis."""
SWEEP_SECONDS = 5.0
CONTENDED_SECONDS = 0.1
"""How soon to look again for rows that another relay holds: it may die before it has moved them."""

log = structlog.get_logger(__name__)


class Relay:
    """One relay; `run` returns when `stop` is set."""

    def __init__(self) -> None:
        self._postgres = Backoff("postgres", "relay")
        self._redis = Backoff("redis", "relay")
        self._run = ""
        """The run of Redis of which all is published that earlier ones have forgotten."""

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with postgres.session("aurora-relay") as session:
                    self._serve(session, stop)
            except postgres.OUTAGES as error:
                stop.wait(self._postgres.failed(error))

    def _serve(self, session: Session, stop: threading.Event) -> None:
        session.execute(f"LISTEN {CHANNEL}")
        while not stop.is_set():
            try:
                pause = self._drain(session, stop)
            except redis.RedisError as error:
                # Notifications do not shorten this wait: every commit of a busy system would try again.
                stop.wait(self._redis.failed(error))
            else:
                _wait_for_notification(session, stop, pause)

    def _drain(self, session: Session, stop: threading.Event) -> float:
        """Moves until nothing is left that can be claimed; the seconds after which to look again if no commit wakes us before."""
        while not stop.is_set():
            run = keeping.present_run(clients.client(clients.Purpose.COMMAND))
            if run != self._run:
                keeping.put_back_lost(session, clients.client(clients.Purpose.COMMAND), run=run)
                self._run = run
            moved = move_batch(session, run=run)
            self._postgres.worked()
            if not moved:
                return CONTENDED_SECONDS if _is_anything_left(session) else SWEEP_SECONDS
            self._redis.worked()
        return 0.0


def move_batch(session: Session, *, run: str = "") -> int:
    """Claims up to BATCH rows, publishes them, takes them out of the outbox; how many. `run` is Redis's, asked for just before, or here.

    Raises RedisError, with those rows left that Redis did not confirm.
    """
    with session.transaction():
        rows = claim(session)
        if not rows:
            return 0
        run = run or keeping.present_run(clients.client(clients.Purpose.COMMAND))
        answers = _publish(rows)
        confirmed = [(row.id, answer) for row, answer in zip(rows, answers, strict=True) if isinstance(answer, bytes)]
        keeping.move(session, confirmed, run=run)
    metrics.published(len(confirmed), seconds=(datetime.now(UTC) - rows[0].created_at).total_seconds())
    if len(confirmed) < len(rows):
        raise next(answer for answer in answers if isinstance(answer, redis.RedisError))
    return len(confirmed)


def claim(session: Session) -> list[Row]:
    """The oldest rows of the lanes that no other relay holds, locked until the transaction ends, in order of id."""
    with session.cursor(row_factory=class_row(Row)) as cursor:
        return cursor.execute(CLAIM, {"batch": BATCH, "lock": _LOCK_CLASS, "lanes": _LANES - 1}).fetchall()


class Row(NamedTuple):
    id: int
    event_id: UUID
    stream: str
    type: str
    data: str
    traceparent: str
    addressee: str
    aggregate: str
    created_at: datetime


def _publish(rows: Sequence[Row]) -> list[Any]:
    """One answer a row: the entry's id, or the error. In MULTI: a connection that breaks half-way has published all or nothing."""
    client: Client = clients.client(clients.Purpose.COMMAND)
    in_order = registry.streams_in_order()
    with client.pipeline(transaction=True) as pipeline:
        for row in rows:
            pipeline.xadd(clients.key(row.stream), _fields(row, is_ordered=row.stream in in_order))
        answers: list[Any] = pipeline.execute(raise_on_error=False)
    return answers


def _fields(row: Row, *, is_ordered: bool) -> dict[str, str]:
    fields = {
        "id": str(row.event_id),
        "type": row.type,
        "timestamp": row.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": row.data,
        "traceparent": row.traceparent,
    }
    if is_ordered:
        fields |= {order.AGGREGATE: row.aggregate, order.NUMBER: str(row.id)}
    return fields | {"addressee": row.addressee} if row.addressee else fields


def _is_anything_left(session: Session) -> bool:
    return session.execute(_ANYTHING_LEFT).fetchone() == (True,)


def _wait_for_notification(session: Session, stop: threading.Event, seconds: float) -> None:
    """Returns when a commit has announced something, after `seconds`, or soon after `stop`."""
    deadline = time.monotonic() + seconds
    while not stop.is_set() and (remaining := deadline - time.monotonic()) > 0:
        # All that came are taken at once: a thousand commits need one look.
        if list(session.notifies(timeout=min(remaining, _STOP_CHECK_SECONDS), stop_after=1)):
            return


_TABLE = OutboxEvent._meta.db_table
_STOP_CHECK_SECONDS = 0.25
_LOCK_CLASS = 0x6F757462
"""The first half of the advisory locks' names ("outb"); the second is the lane."""
_LANES = 64
"""A power of two. Bounds how many entries of PostgreSQL's lock table a claim can take."""

CLAIM = f"""
    WITH head AS MATERIALIZED (
        SELECT id, hashtext(aggregate) & %(lanes)s::int AS lane FROM {_TABLE} ORDER BY id LIMIT %(batch)s::int
    ),
    waiting AS MATERIALIZED (SELECT DISTINCT lane FROM head),
    mine AS MATERIALIZED (SELECT lane FROM waiting WHERE pg_try_advisory_xact_lock(%(lock)s::int, lane))
    SELECT id, event_id, stream, type, data, traceparent, addressee, aggregate, created_at
    FROM {_TABLE}
    WHERE id IN (SELECT id FROM head JOIN mine USING (lane))
    ORDER BY id
    FOR UPDATE SKIP LOCKED
"""
_ANYTHING_LEFT = f"SELECT EXISTS (SELECT FROM {_TABLE})"
