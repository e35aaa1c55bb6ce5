"""PostgreSQL is killed, stopped, cut off and swallowed: how soon a read is answered well, how quick answers are meanwhile, how soon all is back.

One web process behind a wire (`tests.proxy`), one spool worker. "First good read": from the signal to the first 200 of a caller who asks again and
again; the worst of some rounds. Meanwhile four callers together ask forty times a second, one in four of them for a change, which gets its 503.
200 requests, three reads and a change in turn, are sent at the moment in which the wire is cut or begins to swallow; beside them the same 200 with
PostgreSQL there, and the same 200 connections asking for the cheapest answer that there is (`/health/live`): so long takes one Python process for so
many, whatever it does for them. The list that all of them ask for is made once while a store stands in (`benchmarks.reads` tells the first from the
next). The peer of the return is psycopg's pool alone, used once a second
during the same outage. What is spooled and how fast it drains: `benchmarks.spool`.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

import orjson
import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from aurora.embedded import locations
from aurora.embedded.servers import Postgres
from benchmarks import installation, processes
from benchmarks.client import Connection, burst, request_bytes
from benchmarks.figures import Figure, Target, quantile
from benchmarks.installation import Installation, Running
from benchmarks.reads import READS
from tests.proxy import Proxy, Wire

KILLED = Target(1, "at most", "ours", "s")
STOPPED = Target(3, "at most", "ours", "s")
BACK, DRAINING = Target(1, "at most", "ours", "s"), Target(1, "at most", "ours", "s")
READ, REFUSAL = Target(20, "at most", "ours", "ms"), Target(20, "at most", "ours", "ms")
CUT = Target(50, "at most", "ours", "ms")
SWALLOWED = Target(2500, "at most", "ours", "ms")
TARGETS: tuple[Target, ...] = (KILLED, STOPPED, BACK, DRAINING, READ, REFUSAL, CUT, SWALLOWED)
OUTAGE_SECONDS = 40.0
AT_ONCE = 200
_CALLERS, _EVERY = 4, 0.1
_PATIENCE = 60.0
_SOCKET = ".s.PGSQL.5432"


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Two rounds and an outage of 5 s when quick, else five rounds and one of 40 s."""
    rounds, outage, meanwhile = (2, 5.0, 2.0) if is_quick else (5, OUTAGE_SECONDS, 20.0)
    with _behind_a_wire(opened) as (wire, web):
        calls = _Calls(web, opened.access_token)
        killed = [_first_good_read(calls, _kill(opened)) for _ in range(rounds)]
        stopped = [_first_good_read(calls, _stop(opened)) for _ in range(rounds)]
        floor = max(took for _, took in burst(web.port, [calls.live] * AT_ONCE, lambda: None))
        up, cut, swallowed = (_at_once(calls, wire, what) for what in (Wire.WHOLE, Wire.REFUSED, Wire.BLACK_HOLE))
        back = _Return(opened, calls, outage, meanwhile)
        back.measure()
    reads, refusals = back.meanwhile[200], back.meanwhile[503]
    return [
        Figure("SIGKILL to the first good read, worst", "s", max(killed), target=KILLED),
        Figure("SIGSTOP to the first good read, worst", "s", max(stopped), target=STOPPED),
        Figure("accepts again to mode `database`", "s", back.mode, "psycopg's pool", back.pool, BACK),
        Figure("accepts again to the spool draining", "s", back.spool, target=DRAINING),
        Figure("reads while down, p50", "ms", quantile(reads, 0.5) * 1000),
        Figure("reads while down, p99", "ms", quantile(reads, 0.99) * 1000, target=READ),
        Figure("503s while down, p99", "ms", quantile(refusals, 0.99) * 1000, target=REFUSAL),
        Figure(f"{AT_ONCE} at once, `/health/live`: the last answer", "ms", floor * 1000, "up", up * 1000),
        Figure(f"{AT_ONCE} at the loss, refused: the last answer", "ms", cut * 1000, "up", up * 1000, CUT),
        Figure(
            f"{AT_ONCE} at the loss, swallowed: the last answer", "ms", swallowed * 1000, "up", up * 1000, SWALLOWED
        ),
    ]


class _Calls:
    """Requests made ready, and what is asked of the web process."""

    def __init__(self, web: Running, token: str) -> None:
        self.web = web
        known = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.reads = [request_bytes(web.port, "GET", f"/api/v1{path}", headers=known) for path in READS]
        case = {"title": "Kept where PostgreSQL is there", "severity": "low"}
        self.change = request_bytes(web.port, "POST", "/api/v1/cases", orjson.dumps(case), known)
        self.live = request_bytes(web.port, "GET", "/health/live")
        self.mode = request_bytes(web.port, "GET", "/api/v1/system/mode", headers=known)
        alert = orjson.dumps({"title": "Spooled", "severity": "low", "source": "edr"})
        self.alert = request_bytes(web.port, "POST", "/api/v1/alerts", alert, known)

    def source(self, connection: Connection) -> str:
        status, body = connection.exchange(self.mode)
        assert status == 200, (status, body[:500])
        return str(orjson.loads(body)["read_data_source"])

    def until_source(self, wanted: str) -> None:
        with self.web.connect() as connection:
            _until(lambda: self.source(connection) == wanted)


@contextmanager
def _behind_a_wire(opened: Installation) -> Iterator[tuple[Proxy, Running]]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aurora-wire-"))
        wire = Proxy(opened.postgres.sockets / _SOCKET, Path(folder, _SOCKET)).start()
        stack.callback(wire.stop)
        url = f"postgresql://{locations.SUPERUSER}@/{locations.DATABASE}?host={quote(folder, safe='')}"
        environment = {"DATABASE_URL": url}
        web = stack.enter_context(installation.product(environment))
        stack.enter_context(installation.process("spool", [sys.executable, "manage.py", "work", "spool"], environment))
        yield wire, web


@contextmanager
def _kill(opened: Installation) -> Iterator[None]:
    with opened.outage():
        yield


@contextmanager
def _stop(opened: Installation) -> Iterator[None]:
    assert opened.postgres.process is not None
    members = processes.tree(opened.postgres.process.pid)
    _signal_all(members, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal_all(members, signal.SIGCONT)


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # the server's helpers come and go


def _first_good_read(calls: _Calls, outage: AbstractContextManager[None]) -> float:
    """Seconds from the loss to the first read that is answered, by whatever stands in; returns when PostgreSQL is read again."""
    calls.until_source("database")
    with calls.web.connect() as connection:
        began = time.perf_counter()
        with outage:
            _until(lambda: connection.exchange(calls.reads[0])[0] == 200, pause=0.0)
            took = time.perf_counter() - began
    calls.until_source("database")
    return took


def _at_once(calls: _Calls, wire: Proxy, what: Wire) -> float:
    """Seconds from the loss to the last answer of all the callers who were there. Raises AssertionError for an answer out of the contract."""
    calls.until_source("database")
    three_reads_to_a_change = [calls.change if number % 4 == 3 else calls.reads[0] for number in range(AT_ONCE)]
    answers = burst(calls.web.port, three_reads_to_a_change, lambda: wire.set(what))
    wire.set(Wire.WHOLE)
    expected = {200, 201} if what is Wire.WHOLE else {200, 503}
    assert {status for status, _ in answers} <= expected, sorted(answers)[-1]
    calls.until_source("database")
    return max(took for _, took in answers)


class _Return:
    """One long outage: answers meanwhile, and who is back when."""

    def __init__(self, opened: Installation, calls: _Calls, outage: float, meanwhile: float) -> None:
        self.opened, self.calls, self.outage, self.asking = opened, calls, outage, meanwhile
        self.meanwhile: dict[int, list[float]] = {200: [], 503: []}
        self.mode = self.spool = self.pool = 0.0

    def measure(self) -> None:
        from aurora.resilience import spool

        pool = ConnectionPool(locations.database_url(self.opened.directory), min_size=1, max_size=4, open=True)
        pool.wait(_PATIENCE)
        with pool, ThreadPoolExecutor(3) as watchers, self.opened.outage() as server:
            self.calls.until_source("demo")
            began = time.monotonic()
            using = watchers.submit(_when, lambda: _serves(pool), 1.0)
            for _ in range(AT_ONCE):
                self._ask(self.calls.alert, 202)
            self._ask_meanwhile()
            time.sleep(max(0.0, began + self.outage - time.monotonic()))
            waiting = spool.shared().standing().depth
            assert waiting >= AT_ONCE, waiting
            draining = watchers.submit(_when, lambda: spool.shared().standing().depth < waiting)
            reading = watchers.submit(_when, self._reads_database)
            accepts = self._start(server)
            self.mode, self.spool, self.pool = (
                max(0.0, each.result() - accepts) for each in (reading, draining, using)
            )

    def _start(self, server: Postgres) -> float:
        """When the server took its first session."""
        watcher = ThreadPoolExecutor(1).submit(_when, lambda: _accepts(server))
        server.start()
        return watcher.result()

    def _ask(self, request: bytes, expected: int) -> None:
        with self.calls.web.connect() as connection:
            connection.timed(request, expected)

    def _reads_database(self) -> bool:
        with self.calls.web.connect() as connection:
            return self.calls.source(connection) == "database"

    def _ask_meanwhile(self) -> None:
        with ThreadPoolExecutor(_CALLERS) as callers:
            for each in [callers.submit(self._call, number) for number in range(_CALLERS)]:
                each.result()

    def _call(self, caller: int) -> None:
        """By the clock: an answer that took long does not put the next question off."""
        began = time.perf_counter() + caller * _EVERY / _CALLERS
        reads = cycle(self.calls.reads)
        with self.calls.web.connect() as connection:
            for number in range(int(self.asking / _EVERY)):
                time.sleep(max(0.0, began + number * _EVERY - time.perf_counter()))
                request, expected = (self.calls.change, 503) if number % 4 == caller else (next(reads), 200)
                self.meanwhile[expected].append(connection.timed(request, expected))


def _serves(pool: ConnectionPool) -> bool:
    try:
        with pool.connection(timeout=1.0) as session:
            session.execute("SELECT 1")
    except (PoolTimeout, psycopg.OperationalError):
        return False
    return True


def _accepts(server: Postgres) -> bool:
    try:
        psycopg.connect(server.conninfo("postgres")).close()
    except psycopg.OperationalError:
        return False
    return True


def _when(is_so: Callable[[], bool], pause: float = 0.01) -> float:
    """The moment in which it became so."""
    _until(is_so, pause)
    return time.perf_counter()


def _until(is_so: Callable[[], bool], pause: float = 0.01) -> None:
    deadline = time.monotonic() + _PATIENCE + OUTAGE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(pause)
