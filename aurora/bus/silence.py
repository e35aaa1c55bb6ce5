"""A Redis that hangs is waited for once, by one caller for all: else a request that asks it for several things waits several times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import redis

P = ParamSpec("P")
T = TypeVar("T")

SECONDS = 0.25
"""How long nobody asks a Redis that gave no answer in time: as long as a request takes, so that each waits once at most. No longer, for on a busy
machine a Redis that is well may miss its time, and what cannot do without it (a socket's ticket) fails meanwhile."""


class Silence:
    """Whether one server was silent a moment ago. Safe for threads."""

    def __init__(self) -> None:
        self._until = 0.0

    def heeding(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `ask` returns. Raises redis.TimeoutError, during a silence at once, and whatever else `ask` raises."""
        if time.monotonic() < self._until:
            raise redis.TimeoutError("Redis gave no answer a moment ago")
        try:
            return ask(*args, **kwargs)
        except redis.TimeoutError:
            self._until = time.monotonic() + SECONDS
            raise


class HeedingRedis(redis.Redis):
    """A client all of whose callers keep one silence. Subscriptions do not: each has a connection of its own, and nobody waits for it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.silence = Silence()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        ask: Any = super().execute_command
        return self.silence.heeding(ask, *args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        made = _HeedingPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.silence = self.silence
        return made


class _HeedingPipeline(redis.client.Pipeline):
    silence: Silence

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        ask: Any = super().execute
        found: list[Any] = self.silence.heeding(ask, raise_on_error)
        return found
