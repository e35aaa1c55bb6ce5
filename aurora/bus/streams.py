"""The streams of the bus and what an entry looks like on them (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from aurora.errors import Invalid

ALERTS = "aurora:alerts"
AGENT_TASKS = "aurora:agent:tasks"
AGENT_RESULTS = "aurora:agent:results"
CASES = "aurora:cases"
SYSTEM = "aurora:system"
AUDIT = "aurora:audit"
DEAD_LETTER = "aurora:dead_letter"

STREAMS = (ALERTS, AGENT_TASKS, AGENT_RESULTS, CASES, SYSTEM, AUDIT, DEAD_LETTER)


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a stream. `data` is decoded; `fields` are as they stood, for the dead letter."""

    stream: str
    entry_id: str
    id: str
    type: str
    timestamp: str
    data: dict[str, Any]
    traceparent: str


def text_of(fields: Mapping[bytes, bytes], name: str) -> str:
    """One field of an entry as text; empty when it is absent. Never raises."""
    return fields.get(name.encode(), b"").decode("utf-8", "replace")


def decode(stream: str, entry_id: str, fields: Mapping[bytes, bytes]) -> Message:
    """An entry as a Message. Raises Invalid for what no reader could ever make sense of."""
    event_id, event_type = text_of(fields, "id"), text_of(fields, "type")
    if not event_id or not event_type:
        raise Invalid("The entry has no `id` or no `type`")
    try:
        data = orjson.loads(fields.get(b"data", b""))
    except orjson.JSONDecodeError as error:
        raise Invalid(f"`data` is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise Invalid("`data` is not a JSON object")
    return Message(
        stream,
        entry_id,
        event_id,
        event_type,
        text_of(fields, "timestamp"),
        data,
        text_of(fields, "traceparent"),
    )
