"""The whole product as a process group, as its users start it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "journey-4Tz8wQpL"


class RunningGroup:
    """`manage.py up` in a data directory of its own, on a free port, with its own embedded servers."""

    def __init__(self, data_dir: Path) -> None:
        self.port = free_port()
        self.data_dir = data_dir
        self.base = f"http://127.0.0.1:{self.port}"
        self.log_path = data_dir.with_suffix(".log")
        ours = ("AURORA_", "OTEL_", "PROMETHEUS_", "DATABASE_URL", "REDIS_URL", "DJANGO_", "COVERAGE")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = clean | {
            "AURORA_DATA_DIR": str(data_dir),
            "AURORA_PORT": str(self.port),
            "AURORA_BOOTSTRAP_PASSWORD": PASSWORD,
            "AURORA_LOG_FORMAT": "json",
            "AURORA_BUS_CLAIM_SECONDS": "2",
            **{
                f"AURORA_RATE_{name}": "100000/60"
                for name in ("GENERAL", "INVESTIGATIONS", "PLAYBOOKS", "LOGIN", "CREDENTIALS", "INGEST", "SOCKETS")
            },
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self.is_ready, 120, every=0.1)

    def stop(self) -> None:
        """Ctrl-C, and the end of it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(30)

    def members(self, needle: str = "") -> list[psutil.Process]:
        """The processes that were started for this data directory and whose command line holds `needle`."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_ours = process.environ().get("AURORA_DATA_DIR") == str(self.data_dir)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE and needle in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def kill(self, needle: str) -> None:
        """SIGKILL for the member whose command line holds `needle`; returns when it is gone."""
        victims = self.members(needle)
        assert victims, f"nothing runs that is called {needle!r}"
        for process in victims:
            process.kill()
        psutil.wait_procs(victims, timeout=10)

    def terminate(self, needle: str) -> None:
        """SIGTERM, as a deployment sends it, for the member whose command line holds `needle`; returns when it has gone by itself."""
        victims = self.members(needle)
        assert victims, f"nothing runs that is called {needle!r}"
        for process in victims:
            process.terminate()
        _, alive = psutil.wait_procs(victims, timeout=30)
        assert not alive, "it did not stop"

    def token(self) -> str:
        answer = httpx.post(f"{self.base}/api/v1/auth/token", json={"username": "admin", "password": PASSWORD})
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def api(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token()}"}
        return httpx.Client(base_url=f"{self.base}/api/v1", headers=headers, timeout=20)

    def console(self) -> httpx.Client:
        """A browser's session, signed in at the console."""
        client = httpx.Client(base_url=self.base, follow_redirects=True, timeout=20)
        page = client.get("/admin/login/").text
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found is not None
        form = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": found[1], "next": "/admin/"}
        client.post("/admin/login/", data=form, headers={"Referer": f"{self.base}/admin/login/"}).raise_for_status()
        return client

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """A management command beside the running group."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def is_ready(self) -> bool:
        """Whether it takes requests; AssertionError when it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.log_path.read_text()[-3000:]
        try:
            return httpx.get(f"{self.base}/health/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def eve(signature: str, **changes: Any) -> dict[str, Any]:
    """An EVE alert as Suricata 7 writes it."""
    return {
        "timestamp": "2026-11-20T08:15:30.123456+0000",
        "flow_id": 1892634012345678,
        "in_iface": "eth0",
        "event_type": "alert",
        "src_ip": "10.20.30.41",
        "src_port": 49812,
        "dest_ip": "203.0.113.77",
        "dest_port": 443,
        "proto": "TCP",
        "alert": {
            "action": "allowed",
            "gid": 1,
            "signature_id": 2027865,
            "rev": 4,
            "signature": signature,
            "category": "Malware Command and Control Activity Detected",
            "severity": 1,
            "metadata": {"mitre_technique_id": ["T1071"], "signature_severity": ["Major"]},
        },
        "http": {"hostname": "evil-updates.example", "url": "/gate.php", "http_method": "POST", "status": 200},
        "app_proto": "http",
        "flow": {"pkts_toserver": 6, "pkts_toclient": 5, "bytes_toserver": 912, "bytes_toclient": 1840},
        "payload_printable": "POST /gate.php HTTP/1.1",
        "host": "sensor-1",
    } | changes
