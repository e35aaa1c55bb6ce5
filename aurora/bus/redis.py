"""Every Redis client of the product is built here.

redis-py's own defaults (5 s timeouts, ten retries) turn a dead Redis into seconds a command, a frozen one into a minute. Here nothing is
retried behind the caller's back, and each purpose states how long it is ready to wait.
"""

from __future__ import annotations

import functools
from enum import Enum

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

BLOCK_MS = 2_000
"""How long a reader blocks in XREAD and XREADGROUP; below the stream clients' socket timeout, or an idle stream would look like a dead server."""


class Purpose(Enum):
    """What a client is for, which decides how long it waits for an answer (seconds)."""

    REQUEST = 0.045  # limiter and breaker, in the middle of a request: a dead Redis must not be felt
    COMMAND = 2.0  # the relay, admin pages, commands
    STREAM = BLOCK_MS / 1000 + 3.0  # blocking readers


def client(purpose: Purpose = Purpose.COMMAND, url: str | None = None) -> redis.Redis:
    """The process's shared, thread-safe client for `purpose`. Replies are bytes."""
    return _client(purpose, url or settings.REDIS_URL)


def async_client(purpose: Purpose = Purpose.STREAM, url: str | None = None) -> redis.asyncio.Redis:
    """A new client for the running event loop; the caller closes it."""
    return redis.asyncio.Redis.from_url(
        url or settings.REDIS_URL,
        socket_timeout=purpose.value,
        socket_connect_timeout=min(purpose.value, 2.0),
        retry=AsyncRetry(NoBackoff(), 0),
        health_check_interval=0,
    )


@functools.cache
def _client(purpose: Purpose, url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=purpose.value,
        socket_connect_timeout=min(purpose.value, 2.0),
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        max_connections=64,
    )
