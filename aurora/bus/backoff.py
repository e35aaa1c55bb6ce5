"""Trying a neighbour that is away again: after a growing pause, with one log line when it goes and one when it is back."""

from __future__ import annotations

import random
import threading
import time

import structlog

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Backoff:
    """What `part` of the product knows about `neighbour` ("redis", "postgres"). Safe to share between threads."""

    def __init__(self, neighbour: str, part: str) -> None:
        self.neighbour, self.part = neighbour, part
        self._lock = threading.Lock()
        self._attempts = 0
        self._since = 0.0

    def failed(self, error: BaseException) -> float:
        """Notes one more failure; the seconds to wait, at most LONGEST_SECONDS, jittered so that not everybody comes back at once."""
        with self._lock:
            self._attempts += 1
            is_first = self._attempts == 1
            if is_first:
                self._since = time.monotonic()
            # 2**20 is far beyond the cap; an outage of days must not grow the power.
            ceiling = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._attempts - 1, 20))
        if is_first:
            log.warning("neighbour_lost", neighbour=self.neighbour, part=self.part, error=str(error))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing

    def worked(self) -> None:
        """Notes that the neighbour answered."""
        if not self._attempts:
            return
        with self._lock:
            attempts, self._attempts = self._attempts, 0
        if attempts:
            seconds = round(time.monotonic() - self._since, 2)
            log.info("neighbour_back", neighbour=self.neighbour, part=self.part, seconds=seconds, attempts=attempts)
