"""The channels, what each may carry, and the frames that travel on them (contract, section 6).

A frame is `{"type": …, "id": …, "data": {…}}`. An event is encoded once, when it is read; every client is handed the same ready message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from aurora.actors import Actor
from aurora.bus import streams
from realtime.positions import EntryId, Position, format_position
from realtime.protocol import frame_of

MODE_CHANGED = "mode.changed"

WireMessage = dict[str, Any]
"""A `websocket.send` message as ASGI wants it, with the bytes that our server writes (`realtime.protocol`). Shared by all receivers: never changed."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One live view. `types` maps each event type it carries to the permission that the API asks for the same data; "" = none beyond
    `permission`, which opens the channel."""

    name: str
    permission: str
    streams: tuple[str, ...]
    types: Mapping[str, str]

    def types_for(self, actor: Actor) -> frozenset[str]:
        """The types that the API would show `actor`."""
        return frozenset(kind for kind, needed in self.types.items() if not needed or actor.may(needed))


CHANNELS = {
    channel.name: channel
    for channel in (
        Channel(
            "alerts",
            "ws:alerts",
            (streams.ALERTS, streams.CASES),
            {"alert.created": "alerts:read", "alert.updated": "alerts:read", "case.updated": "cases:read"},
        ),
        Channel(
            "agent-thoughts",
            "ws:agent-thoughts",
            (streams.AGENT_RESULTS,),
            {"agent.thought": "investigations:read", "investigation.updated": "investigations:read"},
        ),
        Channel(
            "system",
            "ws:system",
            (streams.SYSTEM,),
            {
                MODE_CHANGED: "",
                "breaker.changed": "agents:read",
                "approval.requested": "approvals:read",
                "approval.decided": "approvals:read",
                "execution.updated": "playbooks:read",
            },
        ),
    )
}


class Gap(StrEnum):
    """Why a client cannot be given what it missed and has to fetch the present state over REST."""

    MALFORMED = "malformed"  # its `last_event_id` is none of ours
    TRIMMED = "trimmed"  # the entries after it are no longer kept, or Redis lost them
    TOO_FAR = "too_far"  # more was missed than a replay sends
    UNAVAILABLE = "unavailable"  # nobody could tell: Redis did not answer when the client joined


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, encoded. `stream` is the index of its stream within its channel."""

    type: str
    stream: int
    entry_id: EntryId
    data: str

    def message(self, position: Position) -> WireMessage:
        """Ready to send; `position` is where a receiver stands once it has this frame."""
        # The type is one of CHANNELS' and the id is digits: neither needs escaping.
        text = f'{{"type":"{self.type}","id":"{format_position(position)}","data":{self.data}}}'
        return _wire(text)


def encode(channel: Channel, stream: int, message: streams.Message) -> Frame:
    """The frame of an event of one of the channel's types. Raises TypeError when orjson cannot write its data (nested too deep)."""
    entry_id = message.entry_id.partition("-")
    return Frame(
        message.type,
        stream,
        (int(entry_id[0]), int(entry_id[2])),
        orjson.dumps(message.data, option=orjson.OPT_UTC_Z).decode(),
    )


def hello(channel: Channel, position: Position | None) -> WireMessage:
    """The first frame. `position` is where the client's view begins; None while Redis has not told."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _control("hello", position, {"channel": channel.name, "server_time": now})


def gap(position: Position | None, reason: Gap) -> WireMessage:
    """Something was missed for good; what follows continues from `position`."""
    return _control("gap", position, {"reason": reason.value})


def word(kind: str, position: Position | None, data: Mapping[str, Any]) -> WireMessage:
    """What has no place on a stream: the receiver stands after it where it stood before. Raises TypeError for data that orjson cannot write."""
    return _control(kind, position, data)


def _control(kind: str, position: Position | None, data: Mapping[str, Any]) -> WireMessage:
    frame = {"type": kind, "id": format_position(position) if position else "", "data": dict(data)}
    return _wire(orjson.dumps(frame).decode())


def _wire(text: str) -> WireMessage:
    return {"type": "websocket.send", "text": text, "frame": frame_of(text)}
