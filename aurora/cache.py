"""Django's cache on the product's own Redis clients: their timeouts, Sentinel and Cluster included."""

from __future__ import annotations

from typing import Any

import redis
from django.core.cache.backends.redis import RedisCache, RedisCacheClient

from aurora.bus import redis as clients


class Cache(RedisCache):
    """`LOCATION` is not read: the place is `REDIS_URL`. In a Cluster, methods for many keys at once are not to be had."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _Client


class _Client(RedisCacheClient):
    def get_client(self, key: Any = None, *, write: bool = False) -> redis.Redis:
        return clients.client(clients.Purpose.REQUEST)
