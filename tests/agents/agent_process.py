"""A built-in agent in a process of its own, as `manage.py serve_agent` starts it, on the test's database."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
from django.db import connection
from psycopg.conninfo import make_conninfo

from tests.waiting import until

ROOT = Path(__file__).parents[2]


class AgentProcess:
    """Starts when told, and again at the same address after it was killed."""

    def __init__(self, agent_type: str, *arguments: str, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "manage.py", "serve_agent", agent_type, "--port", str(self.port), *arguments]
        database = make_conninfo(os.environ["DATABASE_URL"], dbname=str(connection.settings_dict["NAME"]))
        self._environment = os.environ | {"DATABASE_URL": database} | environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment)
        until(self._is_well)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """The exit code of a polite end."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(30)

    def _is_well(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False
