"""One command at a time, straight on a connection: for what every request asks, where redis-py's way through client and pool takes longer than Redis.

Connections come from the client's pool, with its timeouts and its way of finding the server, and stay here: one for each thread that asks at once.
"""

from __future__ import annotations

import os
import select
from typing import Any

import hiredis
import redis


class DirectCommands:
    """Asks Redis as `client` would, without its retries. Safe for threads, and in a process that was forked. Not for a Cluster."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._idle: list[_Line] = []
        self._pid = os.getpid()

    def ask(self, *command: bytes | str | int) -> Any:
        """The server's answer, texts as bytes. Raises RedisError."""
        line = self._take()
        connection = line.connection
        try:
            packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows one argument only
            connection.send_packed_command((packed,), check_health=False)
            return connection.read_response()
        finally:
            # One that brought no answer has closed itself, and connects again when it is next used.
            self._idle.append(line)

    def close(self) -> None:
        """Ends the idle connections. Who asks afterwards gets new ones."""
        while self._idle:
            self._idle.pop().connection.disconnect()

    def _take(self) -> _Line:
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()
        try:
            line = self._idle.pop()
        except IndexError:
            # Not the pool's to count: who asks at once is bounded by the threads there are.
            return _Line(self._pool.connection_class(**self._pool.connection_kwargs))
        line.drop_if_of_no_use()
        return line


class _Line:
    """A connection, and a way to look whether there is something on it that takes less than redis-py's."""

    __slots__ = ("_poll", "_socket", "connection")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._socket: Any = None
        self._poll = select.poll()

    def drop_if_of_no_use(self) -> None:
        """Ends the connection if the server has ended it, or if there is something on it that nobody asked for."""
        connected = self.connection._sock
        if connected is not self._socket:
            self._socket, self._poll = connected, select.poll()
            if connected is not None:
                self._poll.register(connected, select.POLLIN)
        if connected is not None and self._poll.poll(0):
            self.connection.disconnect()
