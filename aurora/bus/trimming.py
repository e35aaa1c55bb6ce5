"""Keeping the streams short: what every group has finished goes, except for a tail that sockets replay from.

A group that is never read any more would keep its stream for ever, and a full Redis refuses everybody. So there is a cap, far beyond any backlog
that is worked off: from four fifths of it on there is an alarm each minute, and beyond it the oldest entries go, finished or not, but never before an
alarm: a burst that fills the rest between two looks is let be until the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from django.conf import settings

from aurora.bus import metrics, streams
from aurora.bus import redis as clients

KEPT_ENTRIES = 10_000
"""A stream's newest entries, kept although finished: sockets that were away replay them."""
FORGOTTEN_SECONDS = 3_600.0
"""After this long without a sign of life a consumer with nothing pending is taken for dead; a live one gives one every few seconds."""

ALARM_FROM = 0.8
"""Of the cap."""

log = structlog.get_logger(__name__)


def trim_all() -> dict[str, int]:
    """Trims every stream and forgets dead consumers; entries removed, by stream. Raises redis.RedisError."""
    client: streams.Client = clients.client(clients.Purpose.COMMAND)
    return {stream: trim(client, stream) for stream in streams.STREAMS}


def trim(client: streams.Client, stream: str, *, kept: int = KEPT_ENTRIES) -> int:
    """Removes entries beyond the newest `kept`, but none that a group has not finished unless the stream is beyond its cap; how many.

    Entries go in Redis's own blocks of 100 or so, so somewhat more than `kept` may stay.
    """
    groups = streams.groups_of(client, clients.key(stream))
    for group in groups:
        _forget_dead_consumers(client, stream, group["name"])
    excess = int(client.xlen(clients.key(stream))) - kept
    removed = _trim_finished(client, stream, groups, excess) if excess > 0 else 0
    return removed + _cap(client, stream, groups)


def _trim_finished(client: streams.Client, stream: str, groups: Sequence[dict[str, Any]], excess: int) -> int:
    # LIMIT bounds what goes, so one command respects both: the groups' progress and the tail. The groups only ever move on, so a floor that
    # is old by now is merely too careful.
    removed = int(
        client.xtrim(clients.key(stream), minid=_floor(client, stream, groups), approximate=True, limit=excess)
    )
    if removed:
        log.info("stream_trimmed", stream=stream, removed=removed)
    return removed


def _cap(client: streams.Client, stream: str, groups: Sequence[dict[str, Any]]) -> int:
    """Alarms, and removes what is beyond the cap; how many."""
    length, cap = int(client.xlen(clients.key(stream))), settings.BUS_STREAM_CAP
    if length <= cap * ALARM_FROM:
        _alarmed.discard(stream)
        return 0
    behind = min(groups, key=lambda group: streams.place_of(group["last-delivered-id"]), default=None)
    told = {"stream": stream, "entries": length, "cap": cap, "slowest_group": behind["name"].decode() if behind else ""}
    if length <= cap or stream not in _alarmed:
        _alarmed.add(stream)
        log.error("stream_nearly_full", **told)
        return 0
    removed = int(client.xtrim(clients.key(stream), maxlen=cap, approximate=False))
    metrics.CUT.labels(stream).inc(removed)
    log.critical("stream_cut", removed=removed, **told)
    return removed


def _floor(client: streams.Client, stream: str, groups: Sequence[dict[str, Any]]) -> str:
    """The first entry that must stay: the oldest that some group has pending, or was given last."""
    unfinished = [group["last-delivered-id"] for group in groups]
    unfinished += [client.xpending(clients.key(stream), group["name"])["min"] for group in groups if group["pending"]]
    places = [streams.place_of(entry_id) for entry_id in unfinished if entry_id]
    milliseconds, sequence = min(places, default=_BEYOND_ALL)
    return f"{milliseconds}-{sequence}"


def _forget_dead_consumers(client: streams.Client, stream: str, group: bytes) -> None:
    for consumer in client.xinfo_consumers(clients.key(stream), group):
        if not consumer["pending"] and consumer["idle"] > FORGOTTEN_SECONDS * 1000:
            client.xgroup_delconsumer(clients.key(stream), group, consumer["name"])


_BEYOND_ALL = (2**64 - 1, 0)
_alarmed: set[str] = set()
"""Streams for which there was an alarm at the last look. Another process that takes over begins with one."""
