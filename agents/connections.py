"""A thread that waits for somebody else keeps no connection to PostgreSQL meanwhile: there are fewer of them than threads."""

from __future__ import annotations

from django.db import connection


def let_go() -> None:
    """Gives this thread's connection back to the pool; the next query takes one again. Within a transaction it is kept."""
    if not connection.in_atomic_block:
        connection.close()
