"""One built-in analysis at work in a thread of its own, which whoever began it can give up.

A thread cannot be killed. One that is given up has the query cancelled that it waits for, and ends at its next thought; whatever it would
have thought after that reaches nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import copy_context
from typing import Any

import psycopg
import structlog
from django.db import close_old_connections, connections

from agents.builtin.contract import Analysis, Output, Task, Think

CANCEL_SECONDS = 1.0
"""How long giving up may wait for PostgreSQL to take a query's cancellation."""

log = structlog.get_logger(__name__)


class GivenUp(Exception):
    """Nobody waits for this analysis any more. Raised inside it, and seen by nobody else."""


class AnalysisRun:
    """Begins at once. `on_overtime` is called with +1 when it is given up while at work, and with -1 when its thread has ended then."""

    def __init__(
        self, analysis: Analysis, task: Task, think: Think, *, on_overtime: Callable[[int], None] = lambda _change: None
    ) -> None:
        self._analysis, self._task, self._think, self._on_overtime = analysis, task, think, on_overtime
        self._lock = threading.Lock()
        self._is_given_up = self._has_ended = False
        self._database: Any = None
        self.answer: Future[Output] = Future()
        self.answer.set_running_or_notify_cancel()  # from here on it is given up, never cancelled under the thread
        threading.Thread(
            target=copy_context().run, args=(self._work,), name=f"agent-{task.agent_type}", daemon=True
        ).start()

    def result(self, timeout: float) -> Output:
        """The answer, or what the analysis raised. Raises TimeoutError after `timeout` seconds and gives it up, as any interruption does."""
        try:
            return self.answer.result(timeout)
        except FutureTimeout:
            if self.answer.done():
                raise
            raise TimeoutError(f"no answer within {timeout:g} s") from None
        finally:
            if not self.answer.done():
                self.give_up()

    def give_up(self) -> None:
        """Nobody waits any more. Returns at once; the thread ends as soon as it can."""
        with self._lock:
            if self._has_ended or self._is_given_up:
                return
            self._is_given_up = True
            self._on_overtime(1)
            # The lock keeps the thread from handing its connection to somebody else, whose query would be hit.
            running = self._database and self._database.connection
            if running is not None:
                try:
                    running.cancel_safe(timeout=CANCEL_SECONDS)
                except psycopg.Error as error:
                    log.debug("agent_query_not_cancelled", error=type(error).__name__)

    def _work(self) -> None:
        with self._lock:
            self._database = connections["default"]
        try:
            output = self._analysis(self._task, self._think_unless_given_up)
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the one who waits
            self._end()
            self.answer.set_exception(error)
        else:
            self._end()
            self.answer.set_result(output)

    def _end(self) -> None:
        with self._lock:
            self._database, self._has_ended = None, True
        close_old_connections()
        if self._is_given_up:
            self._on_overtime(-1)

    def _think_unless_given_up(self, text: str, data: dict[str, Any] | None = None) -> None:
        if self._is_given_up:
            raise GivenUp
        self._think(text, data or {})
