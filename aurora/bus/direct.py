"""One command at a time, straight on a connection: for what every request asks, where redis-py's way through client and pool takes longer than Redis.

Connections come from the client's pool, with its timeouts and its way of finding the server, and stay here: one for each thread that asks at once.
"""

from __future__ import annotations

import os
from typing import Any

import hiredis
import redis
from redis.exceptions import RedisError


class DirectCommands:
    """Asks Redis as `client` would, without its retries. Safe for threads, and in a process that was forked. Not for a Cluster."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._idle: list[Any] = []
        self._pid = os.getpid()

    def ask(self, *command: bytes | str | int) -> Any:
        """The server's answer, texts as bytes. Raises RedisError."""
        connection = self._take()
        try:
            packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows one argument only
            connection.send_packed_command((packed,), check_health=False)
            return connection.read_response()
        finally:
            # One that brought no answer has closed itself, and connects again when it is next used.
            self._idle.append(connection)

    def _take(self) -> Any:
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._pool.make_connection()
        if connection.is_connected and _is_of_no_use(connection):
            connection.disconnect()
        return connection


def _is_of_no_use(connection: Any) -> bool:
    """Whether the server has ended the connection, or there is something on it that nobody asked for."""
    try:
        return bool(connection.can_read())
    except (RedisError, OSError):
        return True
