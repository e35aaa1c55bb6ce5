"""What has left the outbox is kept until every group has finished it, so that what Redis forgets is published again.

Redis forgets in two ways: all of it (emptied, restarted without its file), or the last moments (its file is written once a second; a replica that
became master lagged behind). Neither tells anybody. So each row is kept under the *run* of the server that confirmed it: the server's run id, new
with each start and each failover, with a token that lies in Redis itself and is gone with everything else. Rows of another run than the present
one are looked up on their streams: those that stand there are taken on, the others go back into the outbox, under the number they had, and so
before whatever waits there.

A row is let go of when all groups of its stream have finished the entry, or when the entry was trimmed. What a group had finished already is
published again too, if its row was still kept: its note (`ProcessedEvent`) says so, as with every second delivery.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Q

from aurora.bus import redis as clients
from aurora.bus import registry, streams
from aurora.bus.postgres import Session
from aurora.models import OutboxEvent, PublishedEvent

RUN = "aurora:bus:run"
_CHUNK = 1_000
"""Entries a round trip."""

Place = tuple[int, int]
log = structlog.get_logger(__name__)


def present_run(client: streams.Client) -> str:
    """Another one as soon as Redis may have forgotten something. Raises redis.RedisError."""
    key = clients.key(RUN)
    token = client.get(key)
    if token is None:
        client.set(key, secrets.token_hex(8), nx=True)
        token = client.get(key) or b""
    return f"{clients.server_run(client, key)[:16]}-{token.decode()}"


def move(session: Session, confirmed: Sequence[tuple[int, bytes]], *, run: str) -> None:
    """Takes rows of the outbox out of it, given the entries they became; those of streams that some worker reads are kept."""
    places = [streams.place_of(entry_id) for _, entry_id in confirmed]
    session.execute(
        _MOVE,
        {
            "ids": [row_id for row_id, _ in confirmed],
            "milliseconds": [place[0] for place in places],
            "sequences": [place[1] for place in places],
            "run": run,
            "streams": [stream for stream in streams.STREAMS if registry.groups_on(stream)],
            "ordered": sorted(registry.streams_in_order()),
        },
    )


def put_back_lost(session: Session, client: streams.Client, *, run: str) -> int:
    """Looks up the rows of other runs than `run`, the present one; how many went back into the outbox. Raises redis.RedisError."""
    if session.execute(_ANY_OF_OTHER_RUNS, [run]).fetchone() == (False,):
        return 0
    with session.transaction():
        lost = sum(_put_back_lost_of(stream, session, client, run) for stream in streams.STREAMS)
    if lost:
        log.warning("events_put_back", events=lost, reason="Redis has forgotten them")
    return lost


def let_go() -> int:
    """Forgets what every group has finished; rows removed. Raises redis.RedisError."""
    client: streams.Client = clients.client(clients.Purpose.COMMAND)
    run = present_run(client)
    with transaction.atomic(), connection.cursor() as cursor:
        put_back_lost(cursor.connection, client, run=run)
    bounds = {stream: _bounds(client, stream) for stream in streams.STREAMS}
    if present_run(client) != run:
        return 0  # what was just seen of the groups may be of a server that has forgotten
    return sum(_let_go(stream, run, *bounds[stream]) for stream in streams.STREAMS)


def _put_back_lost_of(stream: str, session: Session, client: streams.Client, run: str) -> int:
    # FOR UPDATE: whoever looks at the same rows waits, and then finds them dealt with.
    rows = session.execute(_OF_OTHER_RUNS, [stream, run]).fetchall()
    standing = _standing(client, stream, [(row[1], row[2]) for row in rows])
    session.execute(_TAKE_ON, [run, [row[0] for row in rows if (row[1], row[2]) in standing]])
    lost = [row[0] for row in rows if (row[1], row[2]) not in standing]
    session.execute(_PUT_BACK, [lost])
    return len(lost)


def _let_go(stream: str, run: str, finished: Place, first: Place) -> int:
    rows = PublishedEvent.objects.filter(stream=stream, run=run)
    is_finished = Q(milliseconds__lt=finished[0]) | Q(milliseconds=finished[0], sequence__lte=finished[1])
    is_trimmed = Q(milliseconds__lt=first[0]) | Q(milliseconds=first[0], sequence__lt=first[1])
    return rows.filter(is_finished | is_trimmed).delete()[0]


def _bounds(client: streams.Client, stream: str) -> tuple[Place, Place]:
    """The last entry up to which all groups have finished, and the first that the stream has."""
    key = clients.key(stream)
    groups = {group["name"].decode(): group for group in streams.groups_of(client, key)}
    places = [_finished(client, key, group) for group in groups.values()]
    if registry.groups_on(stream) - groups.keys():
        places.append(_NOWHERE)  # it will be made at the stream's beginning
    first = client.xrange(key, "-", "+", count=1)
    return min(places, default=_NOWHERE), streams.place_of(first[0][0]) if first else _NOWHERE


def _finished(client: streams.Client, key: str, group: dict[str, Any]) -> Place:
    oldest = client.xpending(key, group["name"])["min"] if group["pending"] else None
    if oldest is None:
        return streams.place_of(group["last-delivered-id"])
    milliseconds, sequence = streams.place_of(oldest)
    return (milliseconds, sequence - 1) if sequence else (milliseconds - 1, _LAST_SEQUENCE)


def _standing(client: streams.Client, stream: str, places: Sequence[Place]) -> set[Place]:
    """Which of the places, in their order, have an entry."""
    wanted, found = set(places), set()
    at, last = (_text(places[0]), _text(places[-1])) if places else ("", "")
    while places and (entries := client.xrange(clients.key(stream), at, last, count=_CHUNK)):
        found |= wanted & {streams.place_of(entry_id) for entry_id, _ in entries}
        at = f"({entries[-1][0].decode()}"
    return found


def _text(place: Place) -> str:
    return f"{place[0]}-{place[1]}"


_NOWHERE: Place = (0, 0)
_LAST_SEQUENCE = 2**63 - 1
_OUTBOX, _KEPT = OutboxEvent._meta.db_table, PublishedEvent._meta.db_table
_COLUMNS = "id, event_id, stream, type, addressee, aggregate, data, traceparent, created_at"
_MOVE = f"""
    WITH confirmed AS (
        SELECT * FROM unnest(%(ids)s::bigint[], %(milliseconds)s::bigint[], %(sequences)s::bigint[])
            AS confirmed (row_id, milliseconds, sequence)
    ),
    gone AS (DELETE FROM {_OUTBOX} USING confirmed WHERE id = row_id RETURNING {_COLUMNS}, milliseconds, sequence)
    INSERT INTO {_KEPT} ({_COLUMNS}, milliseconds, sequence, run, is_ordered)
    SELECT {_COLUMNS}, milliseconds, sequence, %(run)s, stream = ANY(%(ordered)s::text[])
    FROM gone WHERE stream = ANY(%(streams)s)
"""
_ANY_OF_OTHER_RUNS = f"SELECT EXISTS (SELECT FROM {_KEPT} WHERE run <> %s)"
_OF_OTHER_RUNS = f"""
    SELECT id, milliseconds, sequence FROM {_KEPT} WHERE stream = %s AND run <> %s
    ORDER BY milliseconds, sequence FOR UPDATE
"""
_PUT_BACK = f"""
    WITH lost AS (DELETE FROM {_KEPT} WHERE id = ANY(%s::bigint[]) RETURNING {_COLUMNS})
    INSERT INTO {_OUTBOX} ({_COLUMNS}) SELECT {_COLUMNS} FROM lost ON CONFLICT DO NOTHING
"""
_TAKE_ON = f"UPDATE {_KEPT} SET run = %s WHERE id = ANY(%s::bigint[])"
