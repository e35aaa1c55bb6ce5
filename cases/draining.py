"""The `spool` worker: brings what was accepted while PostgreSQL was away into it, oldest first, as soon as it is back.

It runs beside every web process, for each machine has a spool of its own. Between two transactions it rests for a part of the time that they
take, so that live traffic gets its turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import takewhile

import structlog
from django.db import close_old_connections
from prometheus_client import Counter

from aurora.bus.backoff import Backoff
from aurora.errors import Denied, Invalid, Unavailable
from aurora.observability import tracing
from aurora.resilience import availability, spool
from aurora.resilience.availability import is_outage
from aurora.resilience.spool import MOST_ATTEMPTS, Spool, Waiting
from cases import spooling

BATCH = 250
"""Deliveries a transaction."""
BATCH_BYTES = 4 * 1024 * 1024
LOOK_SECONDS = 0.3
"""How often an empty spool is looked at."""
AWAY_SECONDS = 0.1
"""How often to look whether the prober has found PostgreSQL again."""
UNUSABLE_SECONDS = 1.0
"""How soon to try a spool again that cannot be read or written: its disk is full, perhaps."""
REST = 0.5
"""Of the time that a transaction took."""

DRAINED = Counter("aurora_spool_drained_total", "Deliveries that left the spool for PostgreSQL.")

log = structlog.get_logger(__name__)


class Drainer:
    """One copy; `run` returns when `stop` is set and the transaction that ran has ended. Of several in one data directory one works."""

    def __init__(self) -> None:
        self._postgres = Backoff("postgres", "spool")

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with spool.shared().draining() as is_ours:
                while is_ours and not stop.is_set():
                    try:
                        self._drain(spool.shared(), stop)
                    except Unavailable:  # the spool has said why
                        stop.wait(UNUSABLE_SECONDS)
                    stop.wait(LOOK_SECONDS)
            stop.wait(LOOK_SECONDS)

    def _drain(self, spooled: Spool, stop: threading.Event) -> None:
        """Until it is empty."""
        began, total = time.monotonic(), 0
        while not stop.is_set() and (waiting := spooled.oldest(at_most=BATCH, size=BATCH_BYTES)):
            if not availability.database.standing.is_writable:
                stop.wait(AWAY_SECONDS)
                continue
            batch_began = time.monotonic()
            total += self._bring(spooled, _suspects_alone(waiting), stop)
            stop.wait((time.monotonic() - batch_began) * REST)
        if total:
            log.info("spool_drained", deliveries=total, seconds=round(time.monotonic() - began, 2))
            spooled.shrink()

    def _bring(self, spooled: Spool, waiting: Sequence[Waiting], stop: threading.Event) -> int:
        """Stores them and takes them out; how many left the spool for PostgreSQL."""
        if waiting[0].attempts >= MOST_ATTEMPTS:
            spooled.set_aside(waiting[0], "None of its attempts came to an end")
            return 0
        spooled.begin(waiting)
        try:
            with tracing.span("spool drain"):
                spooling.store(waiting)
        except Exception as error:  # noqa: BLE001 - each becomes a verdict, logged where it is made
            close_old_connections()
            if is_outage(error):
                spooled.give_back(waiting)
                pause = self._postgres.failed(error)
                if availability.database.standing.is_writable:  # it is there and has no room, or no connection
                    stop.wait(pause)
            else:
                _blame(spooled, waiting, error)
            return 0
        self._postgres.worked()
        spooled.remove(waiting)
        DRAINED.inc(len(waiting))
        return len(waiting)


def _suspects_alone(waiting: list[Waiting]) -> list[Waiting]:
    """As many of the next as were never begun; one that was, and came to no end, by itself: it shall take no others along."""
    if waiting[0].attempts:
        return waiting[:1]
    return list(takewhile(lambda item: not item.attempts, waiting))


def _blame(spooled: Spool, waiting: Sequence[Waiting], error: Exception) -> None:
    """Of several it is not known whose fault it was: each is tried alone. One that is at fault by itself is set aside."""
    log.warning("spool_batch_failed", deliveries=len(waiting), error=f"{type(error).__name__}: {error}"[:500])
    is_hopeless = isinstance(error, (Invalid, Denied, ValueError)) or waiting[0].attempts + 1 >= MOST_ATTEMPTS
    if len(waiting) == 1 and is_hopeless:
        spooled.set_aside(waiting[0], f"{type(error).__name__}: {error}")
