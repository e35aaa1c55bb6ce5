"""Fixtures every test may lean on: the embedded servers, the whole product as a process group."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import hypothesis
import pytest
import redis
from django.db import connection
from opentelemetry import context
from opentelemetry.context import Context

from aurora.bus import redis as clients
from aurora.embedded.servers import Redis
from aurora.resilience import breakers
from tests.group import RunningGroup

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("aurora", deadline=None)
hypothesis.settings.load_profile("aurora")


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The address of a real Redis database that only this xdist worker uses."""
    return os.environ["REDIS_URL"]


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of that database, which is empty before the test."""
    client = clients.client(clients.Purpose.COMMAND, redis_url)
    client.flushdb()
    yield client
    client.flushdb()


@pytest.fixture
def own_redis(settings: Any) -> Iterator[Redis]:
    """A Redis of this test alone, which it may stop and start."""
    with tempfile.TemporaryDirectory(prefix="aurora-redis-") as folder:
        server = Redis(Path(folder, "redis"), Path(folder, "run"))
        server.start()
        settings.REDIS_URL = f"unix://{quote(str(server.socket))}"
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def _no_trace_of_another_test() -> None:
    """A handler's thread carries the trace of its last message until the next; a test that is such a thread would hand it to the tests after it."""
    context.attach(Context())


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """Password hashing is slow on purpose; tests of other things need not pay for it."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def _no_listener_outlives_the_session() -> Iterator[None]:
    """The breakers' listener would log that the embedded Redis is gone into a stream that pytest has closed."""
    yield
    if breakers._store is not None:
        breakers._store.stop()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """pytest-django's, and at the end the sessions of threads that were given up on purpose (an agent that hangs) are ended with the database."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(scope="session")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGroup]:
    """One running group for all journeys and browsers."""
    running = RunningGroup(tmp_path_factory.mktemp("group") / "data")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def api(group: RunningGroup) -> Iterator[httpx.Client]:
    """A client of the running group's API, signed in as its administrator."""
    with group.api() as client:
        yield client
