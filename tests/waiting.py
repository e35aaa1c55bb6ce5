"""Waiting for another process or thread: until a condition holds or a deadline passes, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import connection

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 60.0, every: float = 0.01) -> T:
    """The first true value of `condition`; AssertionError when `seconds` have passed without one.

    The time limit only ends a test that has failed: it is far longer than a busy machine takes.
    """
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every)


def somebody_waits_for_a_lock() -> bool:
    """Whether a session of PostgreSQL waits for what another one has: how a test knows that a race is set up."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])
