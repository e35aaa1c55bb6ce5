"""The stand-in stores as Django's database aliases, declared when first needed. A web process makes its showcase before that
(`aurora.warming`); a worker that never loses PostgreSQL never opens one.

They are no part of `DATABASES`: nothing migrates, flushes or checks them.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from django.db import connections

from aurora.standin import demo, snapshot, source, stores

_lock = threading.Lock()
_marks: dict[str, Any] = {}
_seen = threading.local()
"""Per thread: which snapshot its connection has open, kept from one request to the next."""


def require(store: str) -> str:
    """The alias of `store`, fit to be read in this thread."""
    mark = _mark_of(store)
    with _lock:
        if _marks.get(store) != mark:
            name = snapshot.address() if store == source.SNAPSHOT else demo.build()
            connections.settings[store] = stores.declaration(name, is_read_only=True)
            _marks[store] = mark
    if store == source.SNAPSHOT:
        if getattr(_seen, "mark", mark) != mark:
            connections[store].close()  # a file that was replaced stays as it was for who has it open
        _seen.mark = mark
    return store


def edition(store: str) -> tuple[str, Any]:
    """Tells what `store` holds from what it held before and will hold after: no row of one edition changes."""
    return store, _mark_of(store)


def release() -> None:
    """Closes the snapshot that this thread read from: a file that was replaced takes up its place on the disk for as long as somebody has it open."""
    if hasattr(_seen, "mark"):
        connections[source.SNAPSHOT].close()
        del _seen.mark


def prepare() -> None:
    """Makes the showcase, so that nobody waits for it when PostgreSQL is lost."""
    if source.stand_in() == source.DEMO or source.wanted() == source.DEMO:
        require(source.DEMO)


def _mark_of(store: str) -> Any:
    return snapshot.mark() if store == source.SNAPSHOT else os.getpid()
