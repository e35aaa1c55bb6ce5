"""Which errors mean that PostgreSQL is away, and not that one statement failed.

SQLSTATE classes as PostgreSQL's appendix A lists them. An OperationalError alone says nothing: deadlocks, time limits and lack of memory are
OperationalErrors too, while a server that became read-only raises an InternalError.
"""

from __future__ import annotations

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

# Connection exceptions; shutdown, crash, not yet accepting; disk full, which no statement brought about and waiting for space cures.
_DOWN = ("08", "57P01", "57P02", "57P03", "53100")


def is_outage(error: BaseException) -> bool:
    """Whether `error`, raised by Django's database layer, means that the server cannot be reached, or can keep nothing."""
    if not isinstance(error, DatabaseError):
        return False
    cause = error.__cause__
    if isinstance(cause, (PoolTimeout, PoolClosed, TooManyRequests)):
        return True
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return str(sqlstate).startswith(_DOWN)
