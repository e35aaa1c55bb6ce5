"""A Redis of the test's own, to be killed, frozen and flushed, and breakers of several "processes" on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aurora.embedded.servers import Redis
from aurora.resilience.breaker import Breaker, BreakerSettings
from aurora.resilience.breaker_store import BreakerStore

Join = Callable[..., Breaker]


class OwnRedis:
    """A server that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder / 'run' / 'redis.sock'}"
        self._folder = folder
        self._server = Redis(folder / "redis", folder / "run")
        self._server.start()

    def client(self, timeout: float = 2.0) -> redis.Redis:
        return redis.Redis.from_url(
            self.url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
        )

    def kill(self) -> None:
        assert self._server.process is not None
        self._server.process.kill()
        self._server.process.wait()

    def send(self, signal: int) -> None:
        assert self._server.process is not None
        self._server.process.send_signal(signal)

    def start(self) -> None:
        self._server.stop()
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    folder = Path(tempfile.mkdtemp(prefix="aurora-breaker-"))
    server = OwnRedis(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def join() -> Iterator[Join]:
    """Makes a breaker with a store of its own, as another process would have one."""
    stores: list[BreakerStore] = []

    def make(client: redis.Redis, *, name: str = "agent", tick: float = 0.02, retry: float = 0.02, **options):
        store = BreakerStore(client, tick_seconds=tick, retry_seconds=retry)
        stores.append(store)
        settings = BreakerSettings(
            failure_threshold=options.pop("threshold", 3),
            reset_timeout=options.pop("reset", 3600.0),
            probe_lease=options.pop("lease", 3600.0),
        )
        breaker = Breaker(name, settings, store=store, **options)
        breaker.snapshot()
        return breaker

    yield make
    for store in stores:
        store.stop()
