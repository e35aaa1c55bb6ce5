"""Identifiers of rows and events."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): sorts by the millisecond of its making, so newest-first lists need no index but the primary key's."""
    return uuid_utils.compat.uuid7()


def first_id_of(moment: datetime) -> UUID:
    """The smallest id that could have been made at `moment`: rows from then on are found by their primary key."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def uuid_or_none(value: object) -> UUID | None:
    """`value` as a UUID, or None when it is none."""
    try:
        return UUID(str(value))
    except ValueError:
        return None
