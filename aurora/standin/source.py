"""Where the reads of a piece of work come from. A request is served from one store to its end: a page never mixes real rows with fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.conf import settings

from aurora.resilience import availability

DATABASE, DEMO, SNAPSHOT, UNAVAILABLE = "database", "demo", "snapshot", "unavailable"
STORES = (DEMO, SNAPSHOT)
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that only read."""

_current: ContextVar[str] = ContextVar("aurora_reads_from", default=DATABASE)


def current() -> str:
    """What this piece of work reads from: `database`, `demo` or `snapshot`."""
    return _current.get()


@contextmanager
def reading_from(store: str) -> Iterator[None]:
    """All that is read in the block comes from `store`."""
    token = _current.set(store)
    try:
        yield
    finally:
        _current.reset(token)


def wanted() -> str:
    """What a request that begins now should read from; `unavailable` when nothing can stand in for PostgreSQL."""
    if settings.MODE == "demo":
        return DEMO
    return DATABASE if availability.database.standing.is_up else stand_in()


def stand_in() -> str:
    """What stands in for PostgreSQL here. A dry run shows no showcase, and a snapshot has to be there."""
    from aurora.standin import snapshot  # it reads this module

    if settings.DEGRADED_READS == SNAPSHOT:
        return SNAPSHOT if snapshot.is_there() else UNAVAILABLE
    if settings.DEGRADED_READS == DEMO and settings.MODE == "real":
        return DEMO
    return UNAVAILABLE


def is_writable() -> bool:
    """Whether changes can be kept now."""
    standing = availability.database.standing
    return standing.is_up and standing.is_writable and settings.MODE != "demo"
