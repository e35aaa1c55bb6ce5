"""Times as PostgreSQL writes them, read by Python's own C: a page of a list holds two hundred, and psycopg's loader in Python took longer than the query."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any

from psycopg.adapt import AdaptersMap
from psycopg.types.datetime import TimestamptzLoader


@lru_cache(maxsize=4)
def with_quick_moments(adapters: AdaptersMap, zone: tzinfo) -> AdaptersMap:
    """A copy of Django's adapters that reads `timestamptz` quickly, and else as Django does: in `zone`, that of its connection."""

    class Loader(TimestamptzLoader):
        timezone = zone  # by which Django knows that it need not register its own

        def load(self, data: Any) -> datetime:
            try:
                moment = datetime.fromisoformat(bytes(data).decode())
            except ValueError:  # infinite, or before or after what Python can hold
                moment = None
            # A session of another zone than UTC writes its own offset.
            return moment if moment and moment.tzinfo is UTC else super().load(data).replace(tzinfo=zone)

    quick = AdaptersMap(adapters)
    quick.register_loader("timestamptz", Loader)
    return quick
