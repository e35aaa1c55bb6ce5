"""One command at a time, straight on a connection: for what every request asks, where redis-py's way through client and pool takes longer than Redis.

Connections come from the client's pool, with its timeouts and its way of finding the server, and stay here: one for each thread that asks at once.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Any

import hiredis
import redis
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError

from aurora.bus.silence import HeedingRedis


class DirectCommands:
    """Asks Redis as `client` would, without its retries. Safe for threads, and in a process that was forked. Not for a Cluster."""

    def __init__(self, client: redis.Redis) -> None:
        self._idle: list[_Line] = []
        self._pool: Any = client.connection_pool
        self._silence = client.silence if isinstance(client, HeedingRedis) else None
        self._pid = os.getpid()

    def ask(self, *command: bytes | str | int) -> Any:
        """The server's answer, texts as bytes. Raises RedisError."""
        return self._ask(command) if self._silence is None else self._silence.heeding(self._ask, command)

    def ask_all(self, commands: Sequence[tuple[bytes | str | int, ...]]) -> list[Any]:
        """The answers to several commands, in one round trip; what the server refuses is among them as an error. Raises RedisError."""
        if not commands:
            return []
        return self._ask_all(commands) if self._silence is None else self._silence.heeding(self._ask_all, commands)

    def _ask(self, command: tuple[bytes | str | int, ...]) -> Any:
        answer = self._exchange(hiredis.pack_command(command), 1)[0]  # type: ignore[arg-type]  # its stub knows one argument only
        if isinstance(answer, ResponseError):
            try:
                raise answer
            finally:
                del answer  # else it, its traceback and this frame would keep each other, and the connection
        return answer

    def _ask_all(self, commands: Sequence[tuple[bytes | str | int, ...]]) -> list[Any]:
        packed = b"".join([hiredis.pack_command(each) for each in commands])  # type: ignore[arg-type]  # as above
        return self._exchange(packed, len(commands))

    def _exchange(self, packed: bytes, number: int) -> list[Any]:
        line = self._take()
        try:
            return line.ask(packed, number)
        finally:
            # One that brought no answer has closed itself, and connects again when it is next used.
            self._idle.append(line)

    def close(self) -> None:
        """Ends the idle connections. Who asks afterwards gets new ones."""
        while self._idle:
            self._idle.pop().connection.disconnect()

    def __del__(self) -> None:
        self.close()  # redis-py's connections are parts of cycles: their sockets would stay open until somebody looks for those

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
    """A connection of redis-py's, which it opens and closes; what goes over it in between goes by the shortest way."""

    __slots__ = ("_poll", "_reader", "_socket", "connection")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._socket: Any = None

    def ask(self, packed: bytes, number: int) -> list[Any]:
        """The answers to so many commands. Raises RedisError; then the connection is closed."""
        if self._socket is None or self.connection._sock is not self._socket:
            self._connect()
        try:
            self._socket.sendall(packed)
            return [self._next() for _ in range(number)]
        except TimeoutError:
            self.connection.disconnect()
            raise redis.TimeoutError("no answer in time") from None
        except OSError as error:
            self.connection.disconnect()
            raise redis.ConnectionError(str(error)) from error
        except BaseException:
            self.connection.disconnect()  # its answer would be taken for that to the next command
            raise

    def _next(self) -> Any:
        while (answer := self._reader.gets()) is _NOT_YET:
            received = self._socket.recv(_CHUNK)
            if not received:
                raise ConnectionResetError("closed by the server")
            self._reader.feed(received)
        return answer

    def drop_if_of_no_use(self) -> None:
        """Ends the connection if the server has ended it, or if there is something on it that nobody asked for."""
        if self._socket is not None and self.connection._sock is self._socket and self._poll.poll(0):
            self.connection.disconnect()

    def _connect(self) -> None:
        self.connection.connect()
        self._socket, self._poll = self.connection._sock, select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=_error_of, notEnoughData=_NOT_YET)


def _error_of(text: str) -> ResponseError:
    return (NoScriptError if text.startswith("NOSCRIPT") else ResponseError)(text)


_NOT_YET = object()
_CHUNK = 65_536
