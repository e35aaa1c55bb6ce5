"""An agent for a drill to kill: a process of `manage.py serve_agent` to which the installation is pointed, and from which it is turned away again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from django.conf import settings

from aurora.embedded.servers import leash

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


class NoAgent(RuntimeError):
    """No agent of the installation can be drilled, or the process did not start."""


@dataclass(slots=True)
class DrilledAgent:
    """The process that is asked for `agent_type` as long as the drill lasts."""

    agent_type: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Returns when it takes calls. Raises NoAgent."""
        command = [sys.executable, "manage.py", "serve_agent", self.agent_type, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*leash(signal.SIGTERM), *command],
            cwd=settings.BASE_DIR,
            env=os.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.endpoint}health/ready", timeout=2).status_code == 200:
                    return
            time.sleep(0.1)
        raise NoAgent(f"the agent {self.agent_type} did not start on port {self.port}")

    def kill(self) -> None:
        """Ends it as a crash would."""
        assert self.process is not None  # noqa: S101 - it was started
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def drilled_agent(address: str, key: str) -> Iterator[DrilledAgent]:
    """A built-in agent of the installation at `address`, served by a process of its own for the block. Raises NoAgent, httpx.HTTPError."""
    with httpx.Client(base_url=f"{address}/api/v1", headers={"X-API-Key": key}, timeout=10) as client:
        chosen = _chosen(client)
        agent = DrilledAgent(chosen["agent_type"], _free_port())
        try:
            agent.start()
            bearer = {"bearer": settings.AGENT_TOKEN} if settings.AGENT_TOKEN else {}
            _configure(client, agent.agent_type, {"transport": "a2a", "endpoint": agent.endpoint, **bearer})
            yield agent
        finally:
            _configure(client, agent.agent_type, {name: chosen[name] for name in ("transport", "endpoint")})
            breaker = client.post(f"/agents/{agent.agent_type}/breaker", json={"action": "reset"})
            agent.stop()
            breaker.raise_for_status()


def _chosen(client: httpx.Client) -> dict[str, Any]:
    """An agent that answers in process. One with an endpoint keeps it, for its bearer would be lost with it."""
    agents = client.get("/agents").raise_for_status().json()["items"]
    for agent in agents:
        if agent["enabled"] and agent["transport"] == "builtin" and not agent["endpoint"]:
            found: dict[str, Any] = agent
            return found
    raise NoAgent("there is no built-in agent to drill: each has an endpoint of its own")


def _configure(client: httpx.Client, agent_type: str, changes: dict[str, Any]) -> None:
    client.patch(f"/agents/{agent_type}", json=changes).raise_for_status()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
