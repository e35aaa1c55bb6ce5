"""Where a worker keeps messages whose turn has not come: beside the others, which go on, and looked at again soon."""

from __future__ import annotations

import math
import threading
import time

from aurora.bus.groups import Entry

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 1.0
MOST = 200
"""Each costs a question to PostgreSQL a look. Beyond that they are left to whoever takes them over."""


class Parking:
    """The pause between two looks begins anew when one has come or gone, and is doubled each time while nothing moves. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._seen: set[str] = set()
        """Those that were looked at the last time."""
        self._pause, self._due = FIRST_PAUSE_SECONDS, math.inf

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> bool:
        """False when there is no room."""
        with self._lock:
            if len(self._entries) >= MOST:
                return False
            if entry.entry_id not in self._seen:
                self._pause = FIRST_PAUSE_SECONDS
            self._due = min(self._due, time.monotonic() + self._pause)
            self._entries.append(entry)
            return True

    def take_due(self) -> list[Entry]:
        """All, in the order in which they came, when it is time to look at them again; else none."""
        if not self._entries:
            return []
        with self._lock:
            if time.monotonic() < self._due:
                return []
            waiting = {entry.entry_id for entry in self._entries}
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS) if self._seen <= waiting else FIRST_PAUSE_SECONDS
            self._seen = waiting
            return self._take()

    def take_all(self) -> list[Entry]:
        with self._lock:
            return self._take()

    def _take(self) -> list[Entry]:
        entries, self._entries, self._due = self._entries, [], math.inf
        return entries

    def seconds_left(self) -> float | None:
        """Until the next look; None when nothing is there."""
        return max(0.0, self._due - time.monotonic()) if self._entries else None
