"""The few statements that every alert and every request run: planned once a connection, sent together where none waits for another.

Django's own cursor puts parameters into the text on this side, so PostgreSQL parses and plans each statement anew, and it waits for each answer.
Of the time that storing one alert takes, a third was planning. Statements here are constant texts with their parameters apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

PREPARED_AFTER = 3
"""Runs on one connection, after which a statement is prepared there. PgBouncer needs `max_prepared_statements` (1.21) in transaction mode."""


@contextmanager
def cursor() -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    """A cursor on Django's connection and in its transaction. Raises Django's database errors."""
    database = _database()
    session: psycopg.Connection[tuple[Any, ...]] = database.connection
    session.prepare_threshold = PREPARED_AFTER  # Django's cursors never prepare
    with database.wrap_database_errors, psycopg.Cursor(session) as opened:
        yield opened


@contextmanager
def pipeline() -> Iterator[None]:
    """Statements in the block travel together, in their order. One that fails is known at the end of the block at the latest."""
    database = _database()
    with database.wrap_database_errors, database.connection.pipeline():
        yield


def _database() -> Any:
    """This thread's, connected. Looked up once a call: each attribute of Django's `connection` is a look-up of its own."""
    database = connections[DEFAULT_DB_ALIAS]
    if database.connection is None:
        database.ensure_connection()
    return database
