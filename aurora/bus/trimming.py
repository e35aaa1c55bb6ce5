"""Keeping the streams short: what every group has finished goes, except for a tail that sockets replay from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from aurora.bus import redis as clients
from aurora.bus import streams

KEPT_ENTRIES = 10_000
"""A stream's newest entries, kept although finished: sockets that were away replay them."""
FORGOTTEN_SECONDS = 3_600.0
"""After this long without a sign of life a consumer with nothing pending is taken for dead; a live one gives one every few seconds."""

log = structlog.get_logger(__name__)


def trim_all() -> dict[str, int]:
    """Trims every stream and forgets dead consumers; entries removed, by stream. Raises redis.RedisError."""
    client: streams.Client = clients.client(clients.Purpose.COMMAND)
    return {stream: trim(client, stream) for stream in streams.STREAMS}


def trim(client: streams.Client, stream: str, *, kept: int = KEPT_ENTRIES) -> int:
    """Removes entries beyond the newest `kept`, but none that a group has not finished; how many.

    Entries go in Redis's own blocks of 100 or so, so somewhat more than `kept` may stay.
    """
    groups = streams.groups_of(client, stream)
    for group in groups:
        _forget_dead_consumers(client, stream, group["name"])
    excess = int(client.xlen(stream)) - kept
    if excess <= 0:
        return 0
    # LIMIT bounds what goes, so one command respects both: the groups' progress and the tail. The groups only ever move on, so a floor that
    # is old by now is merely too careful.
    removed = int(client.xtrim(stream, minid=_floor(client, stream, groups), approximate=True, limit=excess))
    if removed:
        log.info("stream_trimmed", stream=stream, removed=removed)
    return removed


def _floor(client: streams.Client, stream: str, groups: Sequence[dict[str, Any]]) -> str:
    """The first entry that must stay: the oldest that some group has pending, or was given last."""
    unfinished = [group["last-delivered-id"] for group in groups]
    unfinished += [client.xpending(stream, group["name"])["min"] for group in groups if group["pending"]]
    places = [streams.place_of(entry_id) for entry_id in unfinished if entry_id]
    milliseconds, sequence = min(places, default=_BEYOND_ALL)
    return f"{milliseconds}-{sequence}"


def _forget_dead_consumers(client: streams.Client, stream: str, group: bytes) -> None:
    for consumer in client.xinfo_consumers(stream, group):
        if not consumer["pending"] and consumer["idle"] > FORGOTTEN_SECONDS * 1000:
            client.xgroup_delconsumer(stream, group, consumer["name"])


_BEYOND_ALL = (2**64 - 1, 0)
