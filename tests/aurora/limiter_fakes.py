"""What both halves of the limiter's tests use: a client that counts, a clock that stands still."""

from __future__ import annotations

from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class CountingPool(redis.ConnectionPool):
    """Counts how often the limiter's script was sent for, whether or not the server could be reached."""

    trips = 0

    def make_connection(self) -> Any:
        connection = cast(Any, super()).make_connection()
        send = connection.send_packed_command

        def counted(command: Any, *args: Any, **options: Any) -> None:
            self.trips += any(b"\r\nEVAL" in part for part in command)
            send(command, *args, **options)

        connection.send_packed_command = counted
        return connection


class Clock:
    """Stands still until it is moved. Sixty-fourths of a second are exact in binary."""

    def __init__(self) -> None:
        self.now = 1024.0

    def __call__(self) -> float:
        return self.now


def counting_pool(url: str) -> CountingPool:
    """A pool as the limiter wants it; `redis.Redis(connection_pool=…)` makes a client of it."""
    options: Any = {"socket_timeout": 0.05, "socket_connect_timeout": 0.05, "retry": Retry(NoBackoff(), 0)}
    return CountingPool.from_url(url, **options)


def patient(pool: CountingPool) -> None:
    """Lets a pool that a limiter accepted wait longer: a busy machine must not look like a dead Redis."""
    pool.connection_kwargs["socket_timeout"] = 10
