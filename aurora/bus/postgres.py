"""Connections of our own beside Django's pool: for what must keep one session, LISTEN and session locks."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connections

from aurora.resilience import availability
from aurora.resilience.postgresql.watch import WatchedConnection

OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError, availability.DatabaseUnavailable)
"""What a session of ours raises when the server is away (each is followed by a fresh session, so a superfluous one costs nothing)."""

Session = psycopg.Connection[tuple[Any, ...]]


def session(application_name: str) -> Session:
    """A new connection to Django's database, in autocommit, which does not wait for a server that hangs. The caller closes it. Raises one of OUTAGES."""
    parameters = connections["default"].get_connection_params()
    # Django's cursors time their queries for a connection that is not Django's here.
    parameters.pop("cursor_factory", None)
    availability.database.require()
    try:
        return WatchedConnection.connect(**parameters, autocommit=True, application_name=application_name)
    except psycopg.OperationalError as error:
        availability.database.report(error, while_connecting=True)
        raise
