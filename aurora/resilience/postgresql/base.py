"""The engine (`DATABASES[…]["ENGINE"]`): ORM, admin, sessions, commands and workers are all guarded here, none of them knows."""

from __future__ import annotations

import time
from functools import cached_property
from types import TracebackType
from typing import Any

import psycopg
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from psycopg_pool import ConnectionPool, PoolTimeout

from aurora.resilience import availability
from aurora.resilience.availability import Standing
from aurora.resilience.postgresql.moments import with_quick_moments
from aurora.resilience.postgresql.watch import WatchedConnection

# Django's dictionary of pools by alias, and its name for "no database"; its stubs know neither.
_pools: dict[str, Any] = vars(base.DatabaseWrapper)["_connection_pools"]
_SLICE_SECONDS = 0.25
"""How long a caller waits for a connection before somebody asks whether there is a server to give one."""


class Pool(ConnectionPool[WatchedConnection]):
    """psycopg's pool. It hides from those who wait that the server refuses; ours asks after a moment."""

    def getconn(self, timeout: float | None = None) -> WatchedConnection:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            left = deadline - time.monotonic()
            try:
                return super().getconn(max(0.001, min(left, _SLICE_SECONDS)))
            except PoolTimeout:
                availability.database.make_certain()
                availability.database.require()
                if left <= _SLICE_SECONDS:
                    raise


class ErrorWrapper(DatabaseErrorWrapper):
    """Every error of the driver passes here on its way to becoming Django's."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, psycopg.Error):
            availability.database.report(error)
        super().__exit__(kind, error, trace)


class DatabaseWrapper(base.DatabaseWrapper):
    """Raises DatabaseUnavailable, at once, while the server is known to be away."""

    @cached_property
    def wrap_database_errors(self) -> ErrorWrapper:
        return ErrorWrapper(self)

    @property
    def pool(self) -> Pool | None:
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not options:
            return None
        pool: Pool | None = _pools.get(self.alias)
        if pool is None:
            made = Pool(
                kwargs={**self.get_connection_params(), "autocommit": True},
                connection_class=WatchedConnection,
                open=False,
                configure=self._configure_connection,  # type: ignore[attr-defined]
                check=_check,
                **options,
            )
            pool = _pools.setdefault(self.alias, made)  # several threads may come to be the first
        return pool

    def close_pool(self) -> None:
        if pool := _pools.pop(self.alias, None):
            pool.close(timeout=0.0)

    def get_connection_params(self) -> dict[str, Any]:
        parameters = super().get_connection_params()
        return parameters | {"context": with_quick_moments(parameters["context"], self.timezone)}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        availability.database.require()
        try:
            return super().get_new_connection(conn_params)
        except psycopg.Error as error:
            availability.database.report(error, while_connecting=True)
            availability.database.require()
            raise


def _check(session: WatchedConnection) -> None:
    """Raises psycopg.Error for a kept connection that leads nowhere any more. Asking the server costs each request a round trip, so only doubt asks.

    Where one has ended the server may have, too. The pool would look for another, and wait for one while the server refuses: so it is found out here.
    """
    if session.is_surely_alive:
        return
    try:
        ConnectionPool.check_connection(session)
    except psycopg.Error as error:
        availability.database.report(error)
        raise


def _forget_pools(standing: Standing) -> None:
    """The pool of a server that is gone holds dead connections, and backs off the longer the longer it was gone: the next one is new."""
    if not standing.is_up:
        while _pools:
            _, pool = _pools.popitem()
            pool.close(timeout=0.0)


availability.database.on_change(_forget_pools)
