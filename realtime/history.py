"""Reading the streams: what is new, what a client missed, and whether Redis still is where it was.

Replies are followed entry by entry in the order of their ids across all streams of a channel, so an alert and its case come as they happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis.asyncio

from aurora.bus import redis as clients
from realtime.messages import Gap
from realtime.positions import START, EntryId, Position, advance, format_entry_id

REPLAY_LIMIT = 5_000
"""More entries than this are not replayed. The relay's trimming must leave at least as many on a stream (see `missed`)."""
PAGE = 500

Fields = Mapping[bytes, bytes]
Entry = tuple[EntryId, str, Fields]
"""An entry's id, its stream's name, its fields."""


class Missed(Exception):
    """What lies between a position and now cannot be told in full; `reason` says why."""

    def __init__(self, reason: Gap) -> None:
        self.reason = reason
        super().__init__(reason.value)


async def new_entries(client: redis.asyncio.Redis, heads: Mapping[str, EntryId], *, block_ms: int) -> list[Entry]:
    """What came after `heads`, oldest first; waits up to `block_ms` for the first. Empty when nothing came. Raises RedisError."""
    after: dict[Any, Any] = {clients.key(name): format_entry_id(entry_id) for name, entry_id in heads.items()}
    replies: Any = await client.xread(after, count=PAGE, block=block_ms)
    pages = replies.items() if isinstance(replies, dict) else replies
    return _merged((clients.name(key), page) for key, page in pages)


async def heads_of(client: redis.asyncio.Redis, names: Sequence[str]) -> dict[str, EntryId]:
    """The last entry of each stream, `START` for an empty one. Raises RedisError."""
    async with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.xrevrange(clients.key(name), count=1)
        replies = await pipeline.execute()
    return {name: _id(reply[0]) if reply else START for name, reply in zip(names, replies, strict=True)}


async def lost(
    client: redis.asyncio.Redis, heads: Mapping[str, EntryId], witnesses: Mapping[str, EntryId]
) -> dict[str, EntryId]:
    """Which streams no longer hold their witness, an entry that was read a moment ago, and from where to go on in each.

    The witness is not the head: of a Redis that came back empty, or without the tail of its append-only file, that may be an entry of after the loss.
    No trimming takes what is so young, save of a stream that grows by REPLAY_LIMIT entries in that moment; then readers are told of a gap where
    there is none. Raises RedisError.
    """
    async with client.pipeline(transaction=False) as pipeline:
        for name, entry_id in witnesses.items():
            pipeline.xrange(clients.key(name), format_entry_id(entry_id), format_entry_id(entry_id), count=1)
        replies = await pipeline.execute()
    gone = [name for name, reply in zip(witnesses, replies, strict=True) if not reply]
    if not gone:
        return {}
    return {name: min(head, heads[name]) for name, head in (await heads_of(client, gone)).items()}


async def missed(
    client: redis.asyncio.Redis, names: Sequence[str], position: Position, *, limit: int = REPLAY_LIMIT
) -> tuple[list[Entry], Position]:
    """Everything after `position` in the streams `names`, oldest first, and where that leads to. Raises Missed, RedisError.

    Whether a stream was trimmed in between is seen by the entry at `position`: as long as it is kept, everything after it is. A position before
    the first entry has no such witness; there the trimming's promise to leave REPLAY_LIMIT entries serves, for what is longer is too far anyway.
    """
    found: list[Entry] = []
    for index, name in enumerate(names):
        entries = await _after(client, name, position[index], limit - len(found))
        if entries:
            position = advance(position, index, entries[-1][0])
        found += entries
    return sorted(found, key=_by_id), position


async def _after(client: redis.asyncio.Redis, name: str, after: EntryId, limit: int) -> list[Entry]:
    start = format_entry_id(after)
    if after != START and not await client.xrange(clients.key(name), start, start, count=1):
        raise Missed(Gap.TRIMMED)
    found: list[Entry] = []
    while True:
        page: Any = await client.xrange(clients.key(name), f"({start}", count=PAGE)
        found += _merged([(name, page)])
        if len(found) > limit:
            raise Missed(Gap.TOO_FAR)
        if len(page) < PAGE:
            return found
        start = format_entry_id(found[-1][0])


def _merged(pages: Iterable[tuple[str, Any]]) -> list[Entry]:
    return sorted(((_id(entry), name, entry[1]) for name, page in pages for entry in _flat(page)), key=_by_id)


def _flat(page: Any) -> Any:
    """RESP3 wraps each stream's page in a list of its own."""
    return page[0] if page and isinstance(page[0], list) else page


def _by_id(entry: Entry) -> EntryId:
    return entry[0]


def _id(entry: Any) -> EntryId:
    milliseconds, _, sequence = entry[0].partition(b"-")
    return int(milliseconds), int(sequence)
