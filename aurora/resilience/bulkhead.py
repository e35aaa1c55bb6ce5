"""A bound on how much of this process one dependency may take, so that a slow one never takes what the others need."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aurora.errors import Unavailable

RETRY_SECONDS = 1.0


class BulkheadFull(Unavailable):
    """No place, and none became free in time. Nothing was tried, so nothing was learnt about the callee."""


class Bulkhead:
    """Places for calls. One per dependency and process; the limits come with each call, for they may be changed at any time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._inside = self._waiting = 0

    @contextmanager
    def place(self, *, limit: int, queue: int = 0, wait: float = 0.0) -> Iterator[None]:
        """Holds one of `limit` places. While all are taken at most `queue` callers wait, each at most `wait` seconds. Raises BulkheadFull."""
        with self._changed:
            if self._inside >= limit:
                self._queue(limit, queue, wait)
            self._inside += 1
        try:
            yield
        finally:
            self.overstay(-1)

    def overstay(self, change: int) -> None:
        """Counts what goes on after its caller has gone (+1), until it ends (-1): it takes a place like any other."""
        with self._changed:
            self._inside += change
            self._changed.notify()

    def _queue(self, limit: int, queue: int, wait: float) -> None:
        is_free = False
        if self._waiting < queue:
            self._waiting += 1
            try:
                is_free = self._changed.wait_for(lambda: self._inside < limit, wait)
            finally:
                self._waiting -= 1
        if not is_free:
            raise BulkheadFull(f"{self._name} is busy", retry_after=RETRY_SECONDS)


class Bulkheads:
    """One per name in this process; names come from configuration, so they are few."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Bulkhead] = {}

    def of(self, name: str) -> Bulkhead:
        with self._lock:
            return self._known.setdefault(name, Bulkhead(name))
