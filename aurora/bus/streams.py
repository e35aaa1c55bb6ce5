"""The streams of the bus and what an entry looks like on them (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
import redis

from aurora.errors import Invalid

ALERTS = "aurora:alerts"
AGENT_TASKS = "aurora:agent:tasks"
AGENT_RESULTS = "aurora:agent:results"
CASES = "aurora:cases"
SYSTEM = "aurora:system"
AUDIT = "aurora:audit"
DEAD_LETTER = "aurora:dead_letter"

Client = Any
"""A Redis client. redis-py's annotations of the stream commands leave open what the answers hold, so they are no help."""

VERSION = b"1"
"""Of an entry's form. An entry without a `version` is of this one; whoever changes the form, writes another."""

STREAMS = (ALERTS, AGENT_TASKS, AGENT_RESULTS, CASES, SYSTEM, AUDIT, DEAD_LETTER)


class Message(NamedTuple):
    """One entry of a stream. `data` is decoded."""

    stream: str
    entry_id: str
    id: str
    type: str
    timestamp: str
    data: dict[str, Any]
    traceparent: str
    addressee: str = ""
    """The only group that shall handle it (a message put back after burial); empty: everyone. Sockets skip addressed messages."""


def text_of(fields: Mapping[bytes, bytes], name: str) -> str:
    """One field of an entry as text; empty when it is absent. Never raises."""
    value = fields.get(name.encode())
    return value.decode("utf-8", "replace") if value else ""


def decode(stream: str, entry_id: str, fields: Mapping[bytes, bytes]) -> Message:
    """An entry as a Message. Raises Invalid for what no reader could ever make sense of, and for what only a later version could."""
    # Every worker's every message comes through here: no field is looked at twice.
    given = fields.get
    event_id, event_type = given(b"id"), given(b"type")
    if not event_id or not event_type:
        raise Invalid("The entry has no `id` or no `type`")
    if given(b"version", VERSION) != VERSION:
        raise Invalid(f"Of a version that this one does not know: {text_of(fields, 'version')[:20]!r}")
    try:
        data = orjson.loads(given(b"data", b""))
    except orjson.JSONDecodeError as error:
        raise Invalid(f"`data` is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise Invalid("`data` is not a JSON object")
    return Message(
        stream,
        entry_id,
        event_id.decode("utf-8", "replace"),
        event_type.decode("utf-8", "replace"),
        given(b"timestamp", b"").decode("utf-8", "replace"),
        data,
        given(b"traceparent", b"").decode("utf-8", "replace"),
        given(b"addressee", b"").decode("utf-8", "replace"),
    )


def groups_of(client: Client, key: str) -> list[dict[str, Any]]:
    """The groups of the stream under `key` as XINFO GROUPS describes them; none when there is no such stream. Raises RedisError."""
    try:
        groups: list[dict[str, Any]] = client.xinfo_groups(key)
    except redis.ResponseError as error:
        if "no such key" in str(error):
            return []
        raise
    return groups


def place_of(entry_id: bytes | str) -> tuple[int, int]:
    """An entry's id as numbers, which compare as the entries stand on the stream."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence or 0)


def seconds_of(entry_id: bytes | str) -> float:
    """When the entry was added, in seconds of the Redis server's clock."""
    return place_of(entry_id)[0] / 1000
