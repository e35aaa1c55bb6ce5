"""Connections of our own beside Django's pool: for what must keep one session, LISTEN and session locks."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connections

OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError)
"""What a session of ours raises when the server is away (each is followed by a fresh session, so a superfluous one costs nothing)."""


def session(application_name: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A new connection to Django's database, in autocommit. The caller closes it. Raises one of OUTAGES."""
    parameters = connections["default"].get_connection_params()
    # Django's cursors time their queries for a connection that is not Django's here.
    parameters.pop("cursor_factory", None)
    return psycopg.connect(**parameters, autocommit=True, application_name=application_name)
