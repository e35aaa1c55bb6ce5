"""A message's turn: whether its group has finished what was announced of the same aggregate before it. For workers that are `in_order`.

An event is a row of the outbox until the relay has published it, and is then kept until every group has finished it (`aurora.bus.keeping`), with the
number it had. So one statement, which sees both tables as of one moment, finds all that comes before a message. Nothing is locked: what was
finished stays finished, and nothing is announced before what has been announced, for writers of one aggregate wait for each other on its row.

What the group has noted is finished. What it has not noted may be finished too: buried, of no concern to the worker, or handled so long ago that the
note is forgotten. Then Redis knows: the group was given it and has it no longer. So a buried event holds up nobody, and comes after the others when
it is put back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import redis
import structlog
from django.db import connection

from aurora.bus import keeping, streams
from aurora.bus import redis as clients
from aurora.bus.groups import Entry
from aurora.models import OutboxEvent, ProcessedEvent, PublishedEvent
from aurora.texts import storable

AGGREGATE, NUMBER = "aggregate", "number"
"""The fields by which an entry's turn is told, on a stream that some worker reads in order."""

log = structlog.get_logger(__name__)


class Order:
    """Of the events of `types` before one group."""

    def __init__(self, stream: str, group: str, types: Collection[str]) -> None:
        self._stream, self._group = stream, group
        self._turns: dict[str, int] = {}
        """By aggregate a number whose turn has come: what is before it is finished for good, and need not be looked at again."""
        self._scope: dict[str, Any] = {"stream": stream, "group": group, "types": sorted(types)}

    def has_turn(self, entry: Entry) -> bool:
        """Whether nothing that comes before it is unfinished. Raises Django's DatabaseError."""
        aggregate, number = _place_in_aggregate(entry)
        finished: list[int] = []
        while number and (rows := self._unnoted_before(aggregate, number, finished)):
            if not self._has_finished(rows):
                log.debug("message_waits_its_turn", aggregate=aggregate, number=number)
                return False
            finished += [row.id for row in rows]
        self._note_turn(aggregate, number)
        return True

    def of_those_together(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that can be handled one after the other in one transaction, in their order; told by notes alone. Raises Django's DatabaseError."""
        placed = sorted(((*_place_in_aggregate(entry), entry) for entry in entries), key=lambda one: one[1])
        first = {aggregate: number for aggregate, number, _ in reversed(placed) if number}
        last = {aggregate: number for aggregate, number, _ in placed if number}
        parameters = self._scope | {
            "ids": [UUID(streams.text_of(entry.fields, "id")) for *_, entry in placed],
            "aggregates": list(last),
            "froms": [self._turns.get(aggregate, 0) for aggregate in last],
            "numbers": list(last.values()),
        }
        with connection.cursor() as cursor:
            cursor.execute(_FIRST_UNNOTED_OF_OTHERS, parameters)
            unnoted: dict[str, int] = dict(cursor.fetchall())
        for aggregate, number in first.items():
            if number < unnoted.get(aggregate, number + 1):
                self._note_turn(aggregate, number)
        return [entry for aggregate, number, entry in placed if number <= unnoted.get(aggregate, number)]

    def _note_turn(self, aggregate: str, number: int) -> None:
        if len(self._turns) >= _MOST_TURNS:
            self._turns.clear()
        if number:
            self._turns[aggregate] = max(number, self._turns.get(aggregate, 0))

    def _unnoted_before(self, aggregate: str, number: int, finished: Sequence[int]) -> list[_Row]:
        known = {"from": self._turns.get(aggregate, 0), "finished": list(finished)}
        parameters = self._scope | known | {"aggregate": aggregate, "number": number}
        with connection.cursor() as cursor:
            cursor.execute(_UNNOTED_BEFORE, parameters)
            return [_Row(*row) for row in cursor.fetchall()]

    def _has_finished(self, rows: Sequence[_Row]) -> bool:
        """Whether the group was given all of these and has none of them any more. False in doubt, as while Redis is away."""
        if any(not row.run for row in rows):
            return False
        client: streams.Client = clients.client(clients.Purpose.COMMAND)
        key, places = clients.key(self._stream), [(row.milliseconds, row.sequence) for row in rows]
        try:
            # In this order: what is delivered in between would else be on neither side.
            if max(places) > self._last_delivered(client, key):
                return False
            with client.pipeline(transaction=False) as pipeline:
                for milliseconds, sequence in places:
                    entry_id = f"{milliseconds}-{sequence}"
                    pipeline.xpending_range(key, self._group, min=entry_id, max=entry_id, count=1)
                if any(pipeline.execute()):
                    return False
            # What another run confirmed may have been forgotten, and then all this says nothing.
            return {row.run for row in rows} == {keeping.present_run(client)}
        except redis.RedisError as error:
            log.debug("order_unknown", error=str(error))
            return False

    def _last_delivered(self, client: streams.Client, key: str) -> tuple[int, int]:
        ours = [group for group in streams.groups_of(client, key) if group["name"].decode() == self._group]
        return streams.place_of(ours[0]["last-delivered-id"]) if ours else (-1, -1)


class _Row(NamedTuple):
    """An event without a note; without a run it is in the outbox."""

    id: int
    milliseconds: int
    sequence: int
    run: str


def _place_in_aggregate(entry: Entry) -> tuple[str, int]:
    """The event's aggregate and number; 0 for what was not announced by a relay that knew that its stream is read in order: it waits for nothing."""
    number = streams.text_of(entry.fields, NUMBER)
    is_number = number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS
    return storable(streams.text_of(entry.fields, AGGREGATE), 100), int(number) if is_number else 0


_MOST_DIGITS = 18
_PAGE = 50
_MOST_TURNS = 10_000
_OURS = f"""
    stream = %(stream)s AND type = ANY(%(types)s) AND addressee IN ('', %(group)s)
    AND NOT EXISTS (
        SELECT FROM {ProcessedEvent._meta.db_table} AS note
        WHERE note."group" = %(group)s AND note.event_id = event.event_id
    )
"""
_UNNOTED_BEFORE = f"""
    SELECT id, milliseconds, sequence, run FROM {PublishedEvent._meta.db_table} AS event
    WHERE is_ordered AND aggregate = %(aggregate)s AND id >= %(from)s AND id < %(number)s
        AND id <> ALL(%(finished)s::bigint[]) AND {_OURS}
    UNION ALL
    SELECT id, 0, 0, '' FROM {OutboxEvent._meta.db_table} AS event
    WHERE aggregate = %(aggregate)s AND id < %(number)s AND {_OURS}
    LIMIT {_PAGE}
"""
_OF_OTHERS = f"""
    aggregate = asked.whose AND id >= asked.since AND id < asked.number AND event_id <> ALL(%(ids)s::uuid[]) AND {_OURS}
"""
_FIRST_UNNOTED_OF_OTHERS = f"""
    WITH asked AS (
        SELECT * FROM unnest(%(aggregates)s::text[], %(froms)s::bigint[], %(numbers)s::bigint[])
            AS asked (whose, since, number)
    )
    SELECT aggregate, min(id) FROM (
        SELECT aggregate, id FROM asked, {PublishedEvent._meta.db_table} AS event WHERE is_ordered AND {_OF_OTHERS}
        UNION ALL
        SELECT aggregate, id FROM asked, {OutboxEvent._meta.db_table} AS event WHERE {_OF_OTHERS}
    ) AS unnoted GROUP BY aggregate
"""
