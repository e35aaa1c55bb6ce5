"""The fault bench: the whole product on servers of its own, seeded callers, seeded faults at random moments, and an account of it all.

`python -m tests.faults.bench --rounds 20 --seed 7` (`make faults`) prints a line a round and fails with what was wrong and the seed that showed it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import redis

from aurora.embedded import locations
from aurora.embedded.servers import Postgres, Redis, Server
from tests.faults.callers import Callers, Record
from tests.group import RunningGroup
from tests.proxy import Proxy, Wire
from tests.waiting import until

HOLD_SECONDS = 0.5, 3.0
CALM_SECONDS = 0.3, 1.5
RECOVERY_SECONDS = 150.0
HEARING_SECONDS = 20.0

_ANSWERED = range(200, 300)


class Bench:
    """One running product with everything that can be taken from it."""

    def __init__(self, folder: Path) -> None:
        sockets = folder / "run"
        self.postgres, self.redis = Postgres(folder / "postgres", sockets), Redis(folder / "redis", sockets)
        self.postgres_wire, self.redis_wire = Proxy(sockets / ".s.PGSQL.5432"), Proxy(self.redis.socket)
        self.group = RunningGroup(folder / "data")
        self.spool = self.group.data_dir / "spool"
        self.without_postgres: list[tuple[float, float]] = []
        """When it was certainly away."""
        self._opened = ExitStack()

    def __enter__(self) -> Bench:
        with ExitStack() as opened:
            for server in (self.postgres, self.redis):
                opened.callback(server.stop)
                server.start()
            for wire in (self.postgres_wire, self.redis_wire):
                opened.callback(wire.start().stop)
            opened.enter_context(_small_disk(self.spool))
            self.group.environment |= {
                "DATABASE_URL": f"postgresql://{locations.SUPERUSER}@127.0.0.1:{self.postgres_wire.port}/{locations.DATABASE}",
                "REDIS_URL": f"redis://127.0.0.1:{self.redis_wire.port}/0",
            }
            opened.callback(self.group.stop)
            self.group.start()
            with self.group.api() as api:
                body = {"name": "faults", "role": "api_service"}
                self.key = str(api.post("/auth/api-keys", json=body).raise_for_status().json()["key"])
            self.token, self.console = self.group.token(), self.group.console()
            opened.callback(self.console.close)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._opened.close()

    def settle(self) -> None:
        """Waits until the demo data's own investigations are over: the first round would be held to their account."""
        until(self._is_well, RECOVERY_SECONDS, every=0.2)

    def round(self, seed: int, faults: int) -> tuple[list[str], str]:
        """Runs one; what was wrong, and a line that sums it up."""
        dice = random.Random(seed)
        self.without_postgres.clear()
        callers = Callers(self.group, self.key, self.token, self.console, seed)
        callers.start()
        chosen = dice.sample(sorted(FAULTS), faults)
        for name in chosen:
            time.sleep(dice.uniform(*CALM_SECONDS))
            with FAULTS[name](self, dice):
                time.sleep(dice.uniform(*HOLD_SECONDS))
        time.sleep(dice.uniform(*CALM_SECONDS))
        began = time.monotonic()
        until(self._is_well, RECOVERY_SECONDS, every=0.2)
        record = callers.stop()
        until(self._is_well, RECOVERY_SECONDS, every=0.2)
        seconds = time.monotonic() - began
        with contextlib.suppress(AssertionError):  # what was not heard by then is told among what is wrong
            until(lambda: record.gaps or not self._unheard(record, seed), HEARING_SECONDS, every=0.2)
        callers.stop_listening()
        wrong = self._wrong_with(record, seed)
        slowest = max((answer.seconds for answer in record.answers), default=0.0)
        statuses = Counter(answer.status for answer in record.answers)
        told = ", ".join(f"{count} × {status or 'none'}" for status, count in sorted(statuses.items()))
        return wrong, (
            f"seed {seed}: {', '.join(chosen)}; well again after {seconds:.1f} s; {told}; "
            f"slowest {slowest:.1f} s; {'WRONG' if wrong else 'nothing lost'}"
        )

    @contextmanager
    def away(self) -> Iterator[None]:
        """PostgreSQL is certainly away from here to the end of the block."""
        began = time.monotonic()
        yield
        self.without_postgres.append((began, time.monotonic()))

    def _wrong_with(self, record: Record, seed: int) -> list[str]:
        counts = {title: count for title, count, _ in self._stored(seed)}
        accepted = _accepted(record)
        refused = {title for answer in record.answers if 400 <= answer.status < 500 for title in answer.titles}
        unfit = [answer for answer in record.answers if _is_unfit(answer.kind, answer.status)]
        return [
            *(f"lost: {title}" for title in sorted(accepted - set(counts))),
            *(f"stored {count} times: {title}" for title, count in counts.items() if count != 1),
            *(f"refused and stored: {title}" for title in sorted(refused & set(counts))),
            *(answer.fault for answer in record.answers if answer.fault),
            *(f"{answer.kind}: answered {answer.status}" for answer in unfit),
            *("signed in while PostgreSQL was away" for answer in record.answers if self._is_minted(answer)),
            *(
                f"buried: {stream}: {error}"
                for stream, error in self._ask("SELECT stream, error FROM aurora_deadletter")
            ),
            *([] if record.gaps else [f"no socket heard of {alert}" for alert in sorted(self._unheard(record, seed))]),
        ]

    def _unheard(self, record: Record, seed: int) -> set[str]:
        accepted = _accepted(record)
        return {alert for title, _, alert in self._stored(seed) if title in accepted} - record.heard

    def _stored(self, seed: int) -> list[tuple[Any, ...]]:
        statement = "SELECT title, count, id::text FROM cases_alert WHERE title LIKE %s"
        return self._ask(statement, f"Fault {seed}.%")

    def _ask(self, statement: str, *arguments: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.postgres.conninfo(), autocommit=True) as database:
            return database.execute(statement.encode(), arguments).fetchall()

    def _is_minted(self, answer: Any) -> bool:
        is_within = any(
            began <= answer.began and answer.began + answer.seconds <= ended for began, ended in self.without_postgres
        )
        return answer.kind == "sign-in" and answer.status in _ANSWERED and is_within

    def _is_well(self) -> bool:
        """All is there, and nothing waits on disk, in the outbox or on a stream."""
        try:
            answer = httpx.get(f"{self.group.base}/api/v1/system/mode", headers={"X-API-Key": self.key}, timeout=5)
            mode = answer.json()
            is_there = answer.status_code == 200 and mode["is_database_available"] and mode["is_bus_available"]
            return bool(is_there and not mode["spool_depth"] and not mode["outbox_depth"] and self._groups_are_done())
        except (httpx.HTTPError, KeyError, ValueError, redis.RedisError):
            return False

    def _groups_are_done(self) -> bool:
        with redis.Redis(unix_socket_path=str(self.redis.socket), socket_timeout=5) as client:
            streams: list[bytes] = list(client.scan_iter("aurora:*", _type="stream"))
            return all(
                not group["pending"] and group["last-delivered-id"] == client.xinfo_stream(stream)["last-generated-id"]
                for stream in streams
                for group in client.xinfo_groups(stream)
            )


def _accepted(record: Record) -> set[str]:
    """Titles of alerts that somebody was told are taken."""
    brought = [answer for answer in record.answers if answer.kind in ("alert", "bulk")]
    return {title for answer in brought if answer.status in _ANSWERED for title in answer.titles}


def _is_unfit(kind: str, status: int) -> bool:
    """An answer that no fault excuses."""
    if status >= 500:
        return status != 503
    return 400 <= status < 500 and kind != "refused"


@contextmanager
def _killed(bench: Bench, *servers: Server) -> Iterator[None]:
    for server in servers:
        assert server.process is not None
        server.process.kill()
    for server in servers:
        assert server.process is not None
        server.process.wait()
    with bench.away() if bench.postgres in servers else contextlib.nullcontext():
        yield
    for server in servers:
        server.start()


@contextmanager
def _restarted(bench: Bench, server: Server) -> Iterator[None]:
    server.stop()
    server.start()
    yield


@contextmanager
def _stopped(bench: Bench, server: Server) -> Iterator[None]:
    """Hung: SIGSTOP for all of its processes, then SIGCONT."""
    assert server.process is not None
    top = psutil.Process(server.process.pid)
    processes = [top, *top.children(recursive=True)]
    for process in processes:
        _signal(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            _signal(process, signal.SIGCONT)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


@contextmanager
def _wired(bench: Bench, wire: Wire, *proxies: Proxy) -> Iterator[None]:
    for proxy in proxies:
        proxy.set(wire)
    is_away = wire is Wire.REFUSED and bench.postgres_wire in proxies
    try:
        with bench.away() if is_away else contextlib.nullcontext():
            yield
    finally:
        for proxy in proxies:
            proxy.set(Wire.WHOLE)


@contextmanager
def _reset(bench: Bench, dice: random.Random, proxy: Proxy) -> Iterator[None]:
    for _ in range(dice.randint(1, 5)):
        proxy.reset()
        time.sleep(dice.uniform(0.0, 0.3))
    yield


@contextmanager
def _process_killed(bench: Bench, needle: str) -> Iterator[None]:
    bench.group.kill(needle)
    yield


@contextmanager
def _spool_full(bench: Bench) -> Iterator[None]:
    """PostgreSQL away, and no room on the spool's disk either."""
    filler = bench.spool / "filler"
    with _wired(bench, Wire.REFUSED, bench.postgres_wire):
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        try:
            yield
        finally:
            filler.unlink()


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A disk of 8 MB for the spool. Only root may mount one; for others the fault `spool full` is not among the faults."""
    if os.geteuid() != 0:
        FAULTS.pop("spool full", None)
        yield
        return
    folder.mkdir(parents=True, mode=0o700)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


Fault = Callable[[Bench, random.Random], AbstractContextManager[None]]

FAULTS: dict[str, Fault] = {
    "postgres killed": lambda bench, _: _killed(bench, bench.postgres),
    "postgres restarted": lambda bench, _: _restarted(bench, bench.postgres),
    "postgres stopped": lambda bench, _: _stopped(bench, bench.postgres),
    "postgres refused": lambda bench, _: _wired(bench, Wire.REFUSED, bench.postgres_wire),
    "postgres reset": lambda bench, dice: _reset(bench, dice, bench.postgres_wire),
    "postgres in a black hole": lambda bench, _: _wired(bench, Wire.BLACK_HOLE, bench.postgres_wire),
    "postgres dripping": lambda bench, _: _wired(bench, Wire.DRIP, bench.postgres_wire),
    "redis killed": lambda bench, _: _killed(bench, bench.redis),
    "redis restarted": lambda bench, _: _restarted(bench, bench.redis),
    "redis stopped": lambda bench, _: _stopped(bench, bench.redis),
    "redis reset": lambda bench, dice: _reset(bench, dice, bench.redis_wire),
    "redis in a black hole": lambda bench, _: _wired(bench, Wire.BLACK_HOLE, bench.redis_wire),
    "redis dripping": lambda bench, _: _wired(bench, Wire.DRIP, bench.redis_wire),
    "both killed": lambda bench, _: _killed(bench, bench.postgres, bench.redis),
    "both in a black hole": lambda bench, _: _wired(bench, Wire.BLACK_HOLE, bench.postgres_wire, bench.redis_wire),
    "web killed": lambda bench, _: _process_killed(bench, "manage.py serve"),
    "work killed": lambda bench, _: _process_killed(bench, "manage.py work"),
    "spool full": lambda bench, _: _spool_full(bench),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="faults", description="Takes the product's parts away and holds it to account."
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", type=int, default=3, help="of a round")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="aurora-faults-") as folder, Bench(Path(folder)) as bench:
        bench.settle()
        for number in range(options.rounds):
            wrong, line = bench.round(options.seed + number, options.faults)
            failed += bool(wrong)
            _say(line)
            for complaint, count in Counter(wrong).most_common(20):
                _say(f"    {count} × {complaint}")
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
