"""Where announced events are by now: still before a group, buried, or lost with a Redis that was emptied or died before its file was written.

What Redis forgets is published again by itself (`aurora.bus.keeping`). This is for work whose event is nowhere although it was not done: handled in
vain, or announced by a process that did not keep it. Who can make an event again asks here first: age alone would call lost what merely waits its
turn behind a long backlog.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from aurora.bus import redis as clients
from aurora.bus import streams
from aurora.models import DeadLetter, OutboxEvent

_CHUNK = 1_000
"""Entries a round trip."""


@dataclass(frozen=True, slots=True)
class Sought:
    """The events of one type that one group is to handle, told apart by one field of their data."""

    stream: str
    group: str
    type: str
    field: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Each value asked for is in exactly one of the three."""

    waiting: frozenset[str]
    """In the outbox, or on the stream and not finished by the group."""
    buried: dict[str, str]
    """Among the dead letters and not put back, with the error."""
    lost: frozenset[str]
    """Nowhere. Those that the group has finished are here too: only ask for what it cannot have finished."""


def locate(sought: Sought, values: Iterable[str]) -> Whereabouts:
    """Where the events with these values are. An event that moves on meanwhile is found. Raises redis.RedisError."""
    missing = set(values)
    # In this order, which is an event's way: what moves on while we look is seen where it arrives.
    waiting = _in_outbox(sought, missing)
    waiting |= _on_stream(sought, missing - waiting)
    buried = _among_dead_letters(sought, missing - waiting)
    return Whereabouts(frozenset(waiting), buried, frozenset(missing - waiting - buried.keys()))


def _in_outbox(sought: Sought, values: set[str]) -> set[str]:
    if not values:
        return set()
    rows = OutboxEvent.objects.filter(
        stream=sought.stream, type=sought.type, addressee__in=("", sought.group)
    ).values_list("data", flat=True)
    return {value for data in rows.iterator() if (value := _value(data, sought.field)) in values}


def _on_stream(sought: Sought, values: set[str]) -> set[str]:
    client: streams.Client = clients.client(clients.Purpose.COMMAND)
    found: set[str] = set()
    place = _first_unfinished(client, sought) if values else ""
    while values - found and (entries := client.xrange(clients.key(sought.stream), place, "+", count=_CHUNK)):
        found |= {value for _, fields in entries if (value := _value_of_entry(sought, fields)) in values}
        place = f"({entries[-1][0].decode()}"
    return found


def _first_unfinished(client: streams.Client, sought: Sought) -> str:
    """Where the oldest entry stands that the group has not finished; the beginning when there is no such group, for then it will start there."""
    for group in streams.groups_of(client, clients.key(sought.stream)):
        if group["name"].decode() == sought.group:
            oldest = client.xpending(clients.key(sought.stream), sought.group)["min"] if group["pending"] else None
            return oldest.decode() if oldest else f"({group['last-delivered-id'].decode()}"
    return "-"


def _value_of_entry(sought: Sought, fields: dict[bytes, bytes]) -> str | None:
    is_ours = streams.text_of(fields, "addressee") in ("", sought.group)
    if not is_ours or streams.text_of(fields, "type") != sought.type:
        return None
    return _value(fields.get(b"data", b""), sought.field)


def _among_dead_letters(sought: Sought, values: set[str]) -> dict[str, str]:
    if not values:
        return {}
    letters = DeadLetter.objects.filter(
        stream=sought.stream, group=sought.group, type=sought.type, redriven_at__isnull=True
    )
    rows = letters.order_by("id").values_list("data", "error")
    return {value: error for data, error in rows.iterator() if (value := _value(data, sought.field)) in values}


def _value(data: str | bytes, field: str) -> str | None:
    """The field's text; None for what is no JSON object or has none, which a message put on a stream by hand may be."""
    try:
        decoded = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return str(decoded[field]) if isinstance(decoded, dict) and field in decoded else None
