"""A running group whose PostgreSQL and Redis can be taken away, and callers that were let in before."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.group import RunningGroup
from tests.waiting import until


class Outage:
    """A running group with callers that were let in before, and a hand on its PostgreSQL."""

    def __init__(self, group: RunningGroup, opened: ExitStack) -> None:
        self.group = group
        self.api, self.console = _closed_with(opened, group.api()), _closed_with(opened, group.console())
        self.stranger = _closed_with(opened, httpx.Client(base_url=group.base, timeout=20))
        self.title = "Kept in PostgreSQL alone"
        self.api.post("/cases", json={"title": self.title, "severity": "low"}).raise_for_status()
        key = self.api.post("/auth/api-keys", json={"name": "sensor", "role": "api_service"}).json()
        known = {"X-API-Key": key["key"]}
        self.sensor = _closed_with(opened, httpx.Client(base_url=f"{group.base}/api/v1", headers=known, timeout=20))
        self.sensor.get("/alerts").raise_for_status()

    def postgres(self) -> list[psutil.Process]:
        pid = int(next((self.group.data_dir / "postgres").rglob("postmaster.pid")).read_text().split()[0])
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def redis(self) -> list[psutil.Process]:
        return self.group.members("redis-server")

    def send(self, number: signal.Signals) -> None:
        """To PostgreSQL."""
        self.send_to(self.postgres(), number)

    def send_to(self, processes: list[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # the server's helpers come and go
                process.send_signal(number)

    def is_over(self) -> bool:
        return bool(self.api.get("/system/mode").json()["is_mutations_allowed"])

    def end(self) -> None:
        self.send(signal.SIGCONT)
        until(self.is_over)


def _closed_with(opened: ExitStack, client: httpx.Client) -> httpx.Client:
    opened.callback(client.close)
    return client


@contextmanager
def outage_of_a_group(data_dir: Path) -> Iterator[Outage]:
    group = RunningGroup(data_dir)
    group.start()
    try:
        with ExitStack() as opened:
            yield Outage(group, opened)
    finally:
        group.stop()
