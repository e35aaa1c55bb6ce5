"""What both halves of the limiter's tests use: a client that counts, a clock that stands still."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aurora.resilience.ratelimit import Limiter


class CountingPool(redis.ConnectionPool):
    trips = 0
    """How often the limiter's script was sent for, whether or not the server could be reached."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands: list[Any] = []

    def disconnect(self, inuse_connections: bool = True) -> None:
        for direct in self.commands:
            direct.close()
        super().disconnect(inuse_connections)


def limiter_on(pool: CountingPool, **options: Any) -> Limiter:
    """A limiter whose questions are counted in its pool."""
    made = Limiter(redis.Redis(connection_pool=pool), **options)
    ask: Any = made._ask
    pool.commands.append(ask.__self__)

    def counted(*command: Any) -> Any:
        pool.trips += command[0].startswith("EVAL")
        return ask(*command)

    made._ask = counted
    return made


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
