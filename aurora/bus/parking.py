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
    """All are looked at together; the pause before that is doubled each time, and begins anew whenever a message comes to an end. Safe for threads."""

    def __init__(self) -> None:
        self.is_used = False
        """Whether there was ever one: most workers have none."""
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._looked_at: set[str] = set()
        """Those that were taken out to be looked at, of which it is not known yet what becomes."""
        self._looks_until = 0.0
        """How long they are waited for: one whose turn has come may be handled for minutes."""
        self._pause, self._due = FIRST_PAUSE_SECONDS, math.inf

    def __len__(self) -> int:
        """Those that are being looked at count: they may have to wait on."""
        return len(self._entries) + len(self._looked_at)

    def add(self, entry: Entry) -> bool:
        """False when there is no room."""
        with self._lock:
            self.is_used = True
            waits_on = entry.entry_id in self._looked_at
            self._looked_at.discard(entry.entry_id)
            if len(self) >= MOST:
                return False
            # However long a look at all takes, the pause follows it.
            due = time.monotonic() + self._pause
            self._due = due if waits_on else min(self._due, due)
            self._entries.append(entry)
            return True

    def note_end(self, entry_id: str) -> None:
        """Some message, parked before or not, was handled: another's turn may have come."""
        with self._lock:
            self._looked_at.discard(entry_id)
            self._pause = FIRST_PAUSE_SECONDS
            if self._entries:
                self._due = min(self._due, time.monotonic() + self._pause)

    def take_due(self) -> list[Entry]:
        """All, in the order in which they came, when it is time to look at them again; else none."""
        if not self._entries:
            return []
        with self._lock:
            if self._seconds_left() > 0:
                return []
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            self._looked_at.update(entry.entry_id for entry in self._entries)
            self._looks_until = time.monotonic() + LONGEST_PAUSE_SECONDS
            return self._take()

    def take_all(self) -> list[Entry]:
        with self._lock:
            return self._take()

    def seconds_left(self) -> float | None:
        """Until the next look; None when nothing is there."""
        return max(0.0, self._seconds_left()) if self._entries else None

    def _seconds_left(self) -> float:
        begins = max(self._due, self._looks_until) if self._looked_at else self._due
        return begins - time.monotonic()

    def _take(self) -> list[Entry]:
        entries, self._entries, self._due = self._entries, [], math.inf
        return entries
