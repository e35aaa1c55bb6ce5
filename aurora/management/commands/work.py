"""`manage.py work [NAME …]`: workers, each in threads of one process. Any number of copies may run on any number of machines."""

from __future__ import annotations

import queue
import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from aurora.bus import registry
from aurora.bus.backoff import LONGEST_SECONDS

STOP_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Runs the named workers, or all of them, until SIGTERM, SIGINT or SIGHUP."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(registry.names())}")

    def handle(self, *args: Any, **options: Any) -> None:
        names = _known(options["names"])
        # Handlers of signals may interrupt anything; SimpleQueue.put is one of the few calls that bear it.
        signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the last: a closed terminal
            signal.signal(number, lambda number, _frame: signals.put(number))
        stop = threading.Event()
        threads = [threading.Thread(target=keep_running, args=(name, stop), name=name, daemon=True) for name in names]
        for thread in threads:
            thread.start()
        log.info("work_started", names=names)
        received = _await_signal(signals)
        stop.set()
        late = _join(threads)
        if late:
            log.error("work_abandoned", names=late)
        log.info("work_stopped", signal=signal.Signals(received).name)


def _await_signal(signals: queue.SimpleQueue[int]) -> int:
    """The first signal. Waits in short turns: the kernel may hand a signal to another thread, and Python runs its handler only when the main
    thread wakes."""
    while True:
        try:
            return signals.get(timeout=0.2)
        except queue.Empty:
            continue


def keep_running(name: str, stop: threading.Event) -> None:
    """Runs the named worker until `stop`; one that dies is logged and, after a pause that grows up to LONGEST_SECONDS, built anew."""
    deaths = 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            registry.build(name).run(stop)
        except Exception:  # no worker may vanish silently
            log.exception("worker_died", worker=name)
        else:
            if stop.is_set():
                return
            log.error("worker_returned", worker=name)
        finally:
            close_old_connections()
        deaths = deaths + 1 if time.monotonic() - began < _LIVED_SECONDS else 1
        stop.wait(min(LONGEST_SECONDS, 0.1 * 2.0 ** min(deaths, 10)))


def _known(wanted: list[str]) -> list[str]:
    known = registry.names()
    if unknown := [name for name in wanted if name not in known]:
        raise CommandError(f"no worker is named {', '.join(unknown)}; there are: {', '.join(known)}")
    return list(dict.fromkeys(wanted)) or known


def _join(threads: list[threading.Thread]) -> list[str]:
    """The names of those that do not end in time."""
    deadline = time.monotonic() + STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in threads if thread.is_alive()]


_LIVED_SECONDS = 60.0
"""A worker that lived this long has recovered: its next death is its first."""
