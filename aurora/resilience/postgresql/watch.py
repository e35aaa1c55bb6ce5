"""No thread is held by a server that hangs: who waits long makes us ask the server, and is cut off when it does not answer.

libpq waits for ever for a server that was stopped, or whose network swallows packets; a limit on statements is the server's own and no help. A
slow statement is none of that: as long as the server answers others, it is left to its limit.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
import structlog

from aurora.resilience import availability

T = TypeVar("T")

_LOOK_EVERY = 0.15
_SURE_SECONDS = 5.0
"""How long after an answer of the server a quiet socket is taken for a living one."""

log = structlog.get_logger(__name__)


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waiting is seen. All that psycopg waits for, but for connecting, passes through `wait`."""

    answered_at = float("-inf")
    """When the server last answered here, on the monotonic clock."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        key = _waiting.begin(self)
        try:
            answer = super().wait(gen, *args, **kwargs)
        finally:
            _waiting.end(key)
        self.answered_at = time.monotonic()
        return answer

    @property
    def is_surely_alive(self) -> bool:
        """Whether the server answered a moment ago and has said nothing since: a server that ends says so, and if it cannot, its kernel does."""
        if time.monotonic() - self.answered_at > _SURE_SECONDS:
            return False
        waiting = select.poll()
        waiting.register(self.pgconn.socket, select.POLLIN)
        return not waiting.poll(0)


class _Waiting:
    """What waits in this process, since when; one thread looks at it while anything does."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[float, WatchedConnection]] = {}
        self._wake = threading.Event()
        self._watcher: threading.Thread | None = None
        self._pid = 0
        self._asked_at = 0.0

    def begin(self, session: WatchedConnection) -> int:
        key = id(session)
        self._since[key] = (time.monotonic(), session)
        if self._pid != os.getpid():  # threads do not survive a fork
            self._start()
        if not self._wake.is_set():
            self._wake.set()
        return key

    def end(self, key: int) -> None:
        self._since.pop(key, None)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._watcher = threading.Thread(target=self._look, name="postgresql-watch", daemon=True)
        self._watcher.start()

    def _look(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_LOOK_EVERY)
            if not self._since:
                self._wake.clear()
                # Somebody may have begun between the look and this; the next one who begins sets it again, and who waits long waits for nobody.
                if not self._since:
                    continue
                self._wake.set()
            self._look_once()

    def _look_once(self) -> None:
        late_since = time.monotonic() - availability.PATIENCE_SECONDS
        late = [session for began, session in list(self._since.values()) if began < late_since]
        if not late:
            return
        if availability.database.standing.is_up and time.monotonic() - self._asked_at >= availability.PROBE_SECONDS:
            availability.database.make_certain()
            self._asked_at = time.monotonic()
        if not availability.database.standing.is_up:
            for session in late:
                _cut(session)


def _cut(session: WatchedConnection) -> None:
    """Ends the wait of the thread that uses the session, with an OperationalError; the session is of no use any more."""
    try:
        with socket.socket(fileno=os.dup(session.pgconn.socket)) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        return  # it has ended by itself
    log.warning("database_wait_cut")


_waiting = _Waiting()
