"""What one read costs the web process, and how long its caller waits: from PostgreSQL, from the showcase, from a snapshot.

The demo story is loaded, so all three have rows to show. One caller asks for each of six lists again and again, on one connection. CPU is that of all
the process's threads; its peer is the same read with PostgreSQL there. "First" is what a list of a stand-in store costs when nobody has asked for
it yet, for each is made once. `/health/live` stands for what any request costs before anything is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import installation
from benchmarks.client import Connection, request_bytes
from benchmarks.figures import Figure, Target, quantile
from benchmarks.installation import Installation, Running

TARGETS: tuple[Target, ...] = ()
READS = ("/alerts", "/alerts?severity=high&status=new&q=powershell", "/cases", "/iocs?type=ip", "/agents", "/stats")
_LIVE = "/health/live"
_WARM, _BLOCKS = 10, 5


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Of each read the cheapest of five blocks: of 4 when quick, else of 40."""
    size = 4 if is_quick else 40
    with _rows(opened):
        with installation.product() as web:
            up = _Costs(web, opened.access_token, size).measure()
            with opened.outage():
                demo = _Costs(web, opened.access_token, size, "demo").measure()
        with installation.product({"AURORA_DEGRADED_READS": "snapshot"}) as web:
            _Costs(web, opened.access_token, 1).measure()  # whose token it is, it learns while PostgreSQL is there
            with opened.outage():
                snapshot = _Costs(web, opened.access_token, size, "snapshot").measure()
    by_store = {"demo": demo, "snapshot": snapshot}
    cpu = [
        Figure(f"CPU of {path}, {store}", "ms", costs.cpu[path], "up", up.cpu[path])
        for path in READS
        for store, costs in by_store.items()
    ]
    first = [
        Figure(f"CPU of a list's first read, {store}", "ms", costs.first, "again", costs.cpu["/alerts"])
        for store, costs in by_store.items()
    ]
    waits = [
        Figure(f"a read from {store}, p{fraction * 100:.0f}", "ms", _wait(costs, fraction), "up", _wait(up, fraction))
        for fraction in (0.5, 0.99)
        for store, costs in by_store.items()
    ]
    return [*cpu, *first, *waits, Figure(f"CPU of {_LIVE}", "ms", up.cpu[_LIVE])]


class _Costs:
    """Milliseconds of CPU by path, and seconds that each caller waited."""

    def __init__(self, web: Running, token: str, size: int, store: str = "database") -> None:
        self.web, self.token, self.size, self.store = web, token, size, store
        self.cpu: dict[str, float] = {}
        self.waits: list[float] = []
        self.first = 0.0

    def measure(self) -> _Costs:
        with self.web.connect() as connection:
            self._until_read(connection)
            pages = [self._request(f"/api/v1/alerts?limit={limit}") for limit in range(49, 39, -1)]
            self.first = self._cpu_of(connection, pages)
            for path in READS:
                self.cpu[path] = self._cheapest(connection, self._request(f"/api/v1{path}"), self.waits)
            self.cpu[_LIVE] = self._cheapest(connection, self._request(_LIVE), [])
        return self

    def _request(self, path: str) -> bytes:
        return request_bytes(self.web.port, "GET", path, headers={"Authorization": f"Bearer {self.token}"})

    def _until_read(self, connection: Connection) -> None:
        """Reads until it is from the store: the first one finds out that PostgreSQL is away."""
        deadline, wanted = time.monotonic() + 30.0, f'"data_source":"{self.store}"'.encode()
        while wanted not in connection.exchange(self._request("/api/v1/cases"))[1]:
            assert time.monotonic() < deadline, f"never read from {self.store}"

    def _cheapest(self, connection: Connection, request: bytes, waits: list[float]) -> float:
        for _ in range(_WARM):
            connection.timed(request, 200)
        return min(self._cpu_of(connection, [request] * self.size, waits) for _ in range(_BLOCKS))

    def _cpu_of(self, connection: Connection, requests: Iterable[bytes], waits: list[float] | None = None) -> float:
        """Milliseconds a request."""
        before = _cpu_seconds(self.web.pid)
        took = [connection.timed(request, 200) for request in requests]
        if waits is not None:
            waits += took
        return (_cpu_seconds(self.web.pid) - before) * 1000 / len(took)


def _wait(costs: _Costs, fraction: float) -> float:
    return quantile(costs.waits, fraction) * 1000


def _cpu_seconds(pid: int) -> float:
    """Of all threads that are alive, to the nanosecond: `/proc/PID/stat` knows hundredths of a second only."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def _rows(opened: Installation) -> Iterator[None]:
    """The demo story in PostgreSQL, and a snapshot of it; what it announced is taken back, for no relay is here to carry it."""
    from django.conf import settings
    from django.core.management import call_command

    from agents import registry
    from aurora.standin import snapshot

    call_command("load_demo", verbosity=0)
    registry.ensure_agents()
    with opened.connect() as database:
        database.execute("TRUNCATE aurora_outboxevent")
    wanted, settings.DEGRADED_READS = settings.DEGRADED_READS, "snapshot"
    try:
        snapshot.refresh()
        yield
    finally:
        settings.DEGRADED_READS = wanted
        for path in opened.directory.glob("snapshot.*"):
            path.unlink()
