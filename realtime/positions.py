"""Where a reader stands in the streams of a channel, and how a client hands that back as `last_event_id`.

A position is one entry id per stream of the channel, in the channel's order. As text the ids are joined by `_`
(`1763880000000-0_1763880000123-4`), so one frame's `id` covers every stream the channel reads, whatever order another process happened to
send them in. To clients it is opaque.
"""

from __future__ import annotations

import re

from aurora.errors import Invalid

EntryId = tuple[int, int]
"""A stream entry's id `<milliseconds>-<sequence>`; compares as Redis orders it."""
Position = tuple[EntryId, ...]

START: EntryId = (0, 0)
"""Before the first entry of any stream."""

_ENTRY_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_LARGEST = 2**64 - 1


def parse_entry_id(text: str) -> EntryId:
    """`<milliseconds>-<sequence>`, both unsigned 64-bit. Raises Invalid."""
    match = _ENTRY_ID.fullmatch(text)
    entry_id = (int(match[1]), int(match[2])) if match else None
    if entry_id is None or max(entry_id) > _LARGEST:
        raise Invalid("Not the id of a stream entry")
    return entry_id


def format_entry_id(entry_id: EntryId) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"


def parse_position(text: str, *, streams: int) -> Position:
    """A client's `last_event_id` for a channel of `streams` streams. Raises Invalid."""
    parts = text.split("_", streams)
    if len(parts) != streams:
        raise Invalid("Not the id of a frame of this channel")
    return tuple(parse_entry_id(part) for part in parts)


def format_position(position: Position) -> str:
    return "_".join(f"{milliseconds}-{sequence}" for milliseconds, sequence in position)


def advance(position: Position, stream: int, entry_id: EntryId) -> Position:
    """`position` moved to `entry_id` in one stream."""
    return (*position[:stream], entry_id, *position[stream + 1 :])


def is_at_or_after(position: Position, other: Position) -> bool:
    """Whether `position` is behind `other` in no stream."""
    return all(mine >= theirs for mine, theirs in zip(position, other, strict=True))


def furthest(position: Position, other: Position) -> Position:
    """The later of the two in each stream."""
    return tuple(max(pair) for pair in zip(position, other, strict=True))
