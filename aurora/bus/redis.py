# mypy: disable-error-code="no-untyped-call"
"""Every Redis client of the product is built here, for one server, for a master that Sentinels name, and for a Cluster (`aurora.redis_url`).

redis-py's own defaults (5 s timeouts, ten retries) turn a dead Redis into seconds a command, a frozen one into a minute. Here nothing is
retried behind the caller's back, and each purpose states how long it is ready to wait.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import Enum
from typing import Any, cast

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from aurora import redis_url
from aurora.bus.silence import HeedingRedis
from aurora.redis_url import Kind, Location

BLOCK_MS = 2_000
"""How long a reader blocks in XREAD and XREADGROUP; below the stream clients' socket timeout, or an idle stream would look like a dead server."""


class Purpose(Enum):
    """What a client is for, which decides how long it waits for an answer (seconds)."""

    REQUEST = 0.045  # in the middle of a request: a dead Redis must not be felt, and only once (`aurora.bus.silence`)
    COMMAND = 2.0  # the relay, admin pages, commands
    STREAM = BLOCK_MS / 1000 + 3.0  # blocking readers


def client(purpose: Purpose = Purpose.COMMAND, url: str | None = None) -> redis.Redis:
    """The process's shared, thread-safe client for `purpose`. Replies are bytes. Raises redis.ConnectionError when a Cluster is away."""
    return _client(purpose, url or settings.REDIS_URL)


def async_client(purpose: Purpose = Purpose.STREAM, url: str | None = None) -> redis.asyncio.Redis:
    """A new client for the running event loop; the caller closes it."""
    location = _location(url or settings.REDIS_URL)
    options = _waits(purpose) | {"retry": AsyncRetry(NoBackoff(), 0)}
    match location.kind:
        case Kind.SERVER:
            return redis.asyncio.Redis.from_url(location.url, **options)
        case Kind.SENTINEL:
            sentinel: Any = redis.asyncio.sentinel.Sentinel(
                location.nodes, sentinel_kwargs=_asking(location, options), **_access(location), **options
            )
            return cast("redis.asyncio.Redis", sentinel.master_for(location.master, db=location.database))
        case Kind.CLUSTER:
            host, port = location.nodes[0]
            return cast("redis.asyncio.Redis", _AsyncCluster(host=host, port=port, **_access(location), **options))


def server_run(client: Any, key: str) -> str:
    """What the server with `key` calls its present run: another one after each start and failover. Raises redis.RedisError."""
    is_cluster = isinstance(client, redis.cluster.RedisCluster)
    where = {"target_nodes": client.get_node_from_key(key)} if is_cluster else {}
    return str(client.info("server", **where)["run_id"])


def key(stream: str) -> str:
    """Where a stream stands (`Location.key`)."""
    return _location(settings.REDIS_URL).key(stream)


def name(stream_key: bytes) -> str:
    """The stream of a key: `key` backwards."""
    text = stream_key.decode()
    return "aurora" + text.removeprefix("{aurora}") if text.startswith("{aurora}") else text


@functools.cache
def _location(url: str) -> Location:
    return redis_url.parse(url)


@functools.cache
def _client(purpose: Purpose, url: str) -> redis.Redis:
    location = _location(url)
    options = _waits(purpose) | {"retry": Retry(NoBackoff(), 0), "max_connections": 64}
    kind = HeedingRedis if purpose is Purpose.REQUEST else redis.Redis
    match location.kind:
        case Kind.SERVER:
            return kind.from_url(url, **options)
        case Kind.SENTINEL:
            sentinel: Any = redis.sentinel.Sentinel(
                location.nodes, sentinel_kwargs=_asking(location, options), **_access(location), **options
            )
            return cast("redis.Redis", sentinel.master_for(location.master, redis_class=kind, db=location.database))
        case Kind.CLUSTER:
            nodes = [redis.cluster.ClusterNode(host, port) for host, port in location.nodes]
            return cast("redis.Redis", _as_outage(_Cluster, startup_nodes=nodes, **_access(location), **options))


def _waits(purpose: Purpose) -> dict[str, Any]:
    return {
        "socket_timeout": purpose.value,
        "socket_connect_timeout": min(purpose.value, 2.0),
        "health_check_interval": 0,
    }


def _access(location: Location) -> dict[str, Any]:
    """How to come in at the servers that hold the data."""
    given = {"username": location.username, "password": location.password, "ssl": location.is_tls or None}
    return {option: value for option, value in given.items() if value is not None}


def _asking(location: Location, options: dict[str, Any]) -> dict[str, Any]:
    """How to ask the Sentinels: with the same patience."""
    shared = {option: options[option] for option in ("socket_timeout", "socket_connect_timeout", "retry")}
    return shared | ({"password": location.sentinel_password} if location.sentinel_password else {})


def _as_outage(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Raises redis.ConnectionError for what a Cluster's client raises when it reaches no node: an error outside of redis-py's own family."""
    try:
        return call(*arguments, **options)
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from error


class _Cluster(redis.cluster.RedisCluster):
    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        return _as_outage(super().execute_command, *arguments, **options)

    def pipeline(self, transaction: bool | None = None, shard_hint: Any = None) -> Any:
        pipeline: Any = super().pipeline(transaction, shard_hint)
        pipeline.execute = functools.partial(_as_outage, pipeline.execute)
        return pipeline


class _AsyncCluster(redis.asyncio.cluster.RedisCluster):
    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().execute_command(*arguments, **options)
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error
