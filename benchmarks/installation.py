"""An installation of its own to measure: embedded PostgreSQL and Redis with the product's durable settings, in a temporary directory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import psycopg

from aurora.embedded import locations
from aurora.embedded.servers import Postgres, Redis, leash
from benchmarks.client import Connection

ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
# High enough never to refuse, but counted like any other.
_LIMITS = {f"AURORA_RATE_{name}": "1000000/60" for name in ("GENERAL", "INVESTIGATIONS", "INGEST", "SOCKETS")}


class ServerDied(RuntimeError):
    """A server under test ended or never answered; the message ends with what it wrote."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where it lives, and the credentials that were made in it."""

    directory: Path
    api_key: str
    access_token: str
    postgres: Postgres

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A bare connection to its database, in autocommit."""
        return psycopg.connect(locations.database_url(self.directory), autocommit=True)

    @contextmanager
    def outage(self) -> Iterator[Postgres]:
        """PostgreSQL is killed, as by a crash; the block may start it, and when it ends the server is there again, as the next benchmark expects."""
        server = self.postgres
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        try:
            yield server
        finally:
            if not server.is_running():
                server.start()


@dataclass(frozen=True, slots=True)
class Running:
    """A server under test."""

    port: int
    pid: int

    def connect(self) -> Connection:
        """A new keep-alive connection to it."""
        return Connection(self.port)


@contextmanager
def opened() -> Iterator[Installation]:
    """Starts the servers, migrates, makes an account and an API key. Everything is gone at the end.

    Sets this process's environment and Django up: import nothing that needs settings before it.
    """
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="aurora-bench-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        sockets = locations.socket_dir(directory)
        stack.callback(shutil.rmtree, sockets, ignore_errors=True)
        postgres, redis = Postgres(directory / "postgres", sockets), Redis(directory / "redis", sockets)
        for server in (postgres, redis):
            stack.callback(server.stop)
            server.start()
        set_environment(directory)
        django.setup()
        stack.callback(_disconnect)
        key, token = _credentials()
        yield Installation(directory, key, token, postgres)


def set_environment(directory: Path) -> None:
    """Makes this process's environment, which children inherit, that of the installation in `directory`."""
    for name in list(os.environ):
        if name.startswith(("AURORA_", "OTEL_")) or name in {"DATABASE_URL", "REDIS_URL", "PROMETHEUS_MULTIPROC_DIR"}:
            del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "aurora.settings",
        "AURORA_DATA_DIR": str(directory),
        "AURORA_LOG_FORMAT": "json",
        **_LIMITS,
    }


@contextmanager
def process(
    name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child of ours, its output in a file. Ended with SIGTERM, by force if it does not follow."""
    with tempfile.NamedTemporaryFile(prefix=f"aurora-bench-{name}-", suffix=".log") as output:
        child = subprocess.Popen(
            [*leash(signal.SIGTERM), *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield child
        except BaseException:
            print(Path(output.name).read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            child.terminate()
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def serving(
    name: str, command: Sequence[str], port: int, environment: Mapping[str, str] | None = None, *, path: str = "/"
) -> Iterator[Running]:
    """As `process`, for a server on `port`: waits until `path` answers. Raises ServerDied."""
    with process(name, command, environment) as child:
        wait_until_answers(port, path, child)
        yield Running(port, child.pid)


@contextmanager
def product(environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`manage.py serve`."""
    port = free_port()
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    with serving("serve", command, port, environment, path="/health/live") as running:
        yield running


def wait_until_answers(port: int, path: str, child: subprocess.Popen[bytes], seconds: float = _START_SECONDS) -> None:
    """Returns once `path` answers with 200. Raises ServerDied when the process ends or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with Connection(port) as connection:
                if connection.exchange(connection.request("GET", path))[0] == 200:
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise ServerDied(f"nothing answered on port {port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _credentials() -> tuple[str, str]:
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command

    from aurora.actors import system
    from aurora.identity import api_keys, credentials

    call_command("migrate", verbosity=0, interactive=False)
    user = User.objects.create_user(username="bench", password="bench-password-1")
    user.groups.set([Group.objects.get_or_create(name="analyst")[0]])
    token = credentials.sign_in(username="bench", password="bench-password-1").access_token
    _, key = api_keys.create(name="bench", role="api_service", expires_at=None, actor=system("bench"))
    return key, token


def _disconnect() -> None:
    from django.db import connection

    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
