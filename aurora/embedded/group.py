"""The process group of `make run`: embedded servers, web, workers; started in order, restarted when they die, stopped in order.

Web and workers share the supervisor's process group, so Ctrl-C reaches them directly; the servers stand in groups of their own and are
stopped last, when nobody needs them any more.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

from aurora.embedded import drills
from aurora.embedded.servers import Server, ServerFailed, leash

log = structlog.get_logger(__name__)

STOP_SECONDS = 12.0
LONGEST_BACKOFF = 30.0
_STEADY_SECONDS = 60.0
"""Who has run so long is not in a loop of crashes: the next restart is quick again."""


class AlreadyRunning(RuntimeError):
    """Another group has this data directory."""


def lock(data_dir: Path) -> IO[str]:
    """Takes the data directory for this process; the kernel gives it back when the process ends, however it ends. Raises AlreadyRunning."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (data_dir / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "?"
        file.close()
        raise AlreadyRunning(f"process {holder} already runs in {data_dir}") from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def is_running(data_dir: Path) -> bool:
    """Whether a group runs there."""
    try:
        lock(data_dir).close()
    except AlreadyRunning:
        return True
    return False


def process_of(data_dir: Path, child: str) -> int:
    """The process id of a running group's child."""
    return int((data_dir / f"pid.{child}").read_text())


@dataclass(slots=True)
class _Restarts:
    """When a part may be started again: at once the first time, then after 1, 2, 4 … seconds."""

    count: int = 0
    started_at: float = field(default_factory=time.monotonic)
    not_before: float = 0.0

    def died(self, now: float) -> None:
        if now - self.started_at > _STEADY_SECONDS:
            self.count = 0
        delay = 0.0 if self.count == 0 else min(LONGEST_BACKOFF, 2.0 ** (self.count - 1))
        self.count += 1
        self.not_before = now + delay

    def started(self, now: float) -> None:
        self.started_at, self.not_before = now, 0.0


class Child:
    """One `manage.py` process of the group."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name, self.arguments = name, list(arguments)
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Starts the process, tied by the kernel to this one's life."""
        command = [*leash(signal.SIGTERM), sys.executable, *self.arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tell(self, sent: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sent)


class Group:
    """Servers and children of one data directory, watched from one loop. What a drill holds down there is left alone."""

    def __init__(self, servers: Sequence[Server], children: Sequence[Child], data_dir: Path) -> None:
        self.servers, self.children, self.data_dir = servers, children, data_dir
        self._parts: list[Server | Child] = [*servers, *children]
        self._restarts = {part.name: _Restarts() for part in self._parts}
        self.is_stopping = False

    def start_servers(self) -> None:
        """Starts the embedded servers and waits until they answer; no further ones once `stop` is asked for."""
        for server in self.servers:
            if not self.is_stopping:
                server.start()
                self._restarts[server.name].started(time.monotonic())

    def start_children(self) -> None:
        """Starts the children, unless `stop` is asked for."""
        for child in self.children:
            if not self.is_stopping:
                self._spawn(child)
                self._restarts[child.name].started(time.monotonic())

    def watch(self) -> None:
        """Restarts whatever dies, until `stop` is asked for."""
        while not self.is_stopping:
            self.look_after_all()
            time.sleep(0.2)

    def look_after_all(self) -> None:
        """One look at every part."""
        for part in self._parts:
            self._look_after(part)

    def ask_to_stop(self) -> None:
        """For a signal handler: ends `watch`."""
        self.is_stopping = True

    def stop(self) -> None:
        """Ends the children (they finish or hand back what they do), then the servers. Safe to call twice."""
        self.is_stopping = True
        for child in self.children:
            child.tell(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(child.is_running() for child in self.children) and time.monotonic() < deadline:
            time.sleep(0.05)
        for child in self.children:
            if child.is_running():
                log.error("process_killed", process=child.name)
            child.tell(signal.SIGKILL)
        for server in reversed(self.servers):
            server.stop()

    def _spawn(self, child: Child) -> None:
        """Starts a child, and notes its process for `process_of`."""
        child.spawn()
        assert child.process is not None  # noqa: S101 - for the type checker
        (self.data_dir / f"pid.{child.name}").write_text(f"{child.process.pid}\n")

    def _look_after(self, part: Server | Child) -> None:
        if part.is_running() or self.is_stopping:
            return
        if drills.is_held_down(self.data_dir, part.name):
            self._restarts[part.name] = _Restarts()  # it did not crash: the drill's end starts it at once
            return
        restarts, now = self._restarts[part.name], time.monotonic()
        if not restarts.not_before:
            restarts.died(now)
            log.error("process_died", process=part.name, restart_in=round(restarts.not_before - now, 1))
        if now >= restarts.not_before:
            restarts.started(now)
            try:
                if isinstance(part, Server):
                    part.prepare()
                    part.spawn()
                else:
                    self._spawn(part)
            except (OSError, ServerFailed) as error:
                # No memory, no disk, no process to be had: a reason to try again later, none to end all the others.
                log.error("process_not_started", process=part.name, error=str(error))
