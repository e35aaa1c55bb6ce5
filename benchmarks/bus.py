"""The workers of the bus: how fast beside a bare redis-py loop, FastStream, taskiq-redis and Celery, and how soon.

* Empty handler: a full stream, batches, one process each; a run of each in turn, medians. The bare loop reads and acknowledges, and does nothing else:
  it decodes no JSON, keeps no lease, counts, traces and logs nothing.
* With an effect: one row in PostgreSQL a message, exactly once, two worker processes; Celery with two processes and the same row, at least once.
* From commit to the handler's start, on an idle system: outbox, NOTIFY, relay, stream, worker, each a process of its own.
* A worker killed in the middle of a message: until another has handled it, claim time 3 s.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.bare.filling import DATA, fill
from benchmarks.figures import Figure, Target, median, quantile
from benchmarks.installation import Installation, process

BESIDE_BARE = Target(0.6, "at least", "ratio")
BESIDE_FRAMEWORKS = Target(5, "at least", "ratio")
EFFECTS = Target(1_500, "at least", "ours", "events/s")
BESIDE_CELERY = Target(1, "at least", "ratio")
START_P50 = Target(10, "at most", "ours", "ms")
START_P99 = Target(50, "at most", "ours", "ms")
_CLAIM_SECONDS = 3.0
TAKEN_OVER = Target(_CLAIM_SECONDS + 2, "at most", "ours", "s")
TARGETS = (BESIDE_BARE, BESIDE_FRAMEWORKS, EFFECTS, BESIDE_CELERY, START_P50, START_P99, TAKEN_OVER)

_MESSAGES = {"ours": 40_000, "bare": 80_000, "bare_async": 80_000, "faststream": 5_000, "taskiq": 5_000}
_WAIT_SECONDS = 120.0
RATED_SECONDS = 30.0
_WORKER = [sys.executable, "-m", "benchmarks.bare.effects"]
_CELERY = [sys.executable, "-m", "celery", "-A", "benchmarks.bare.celery_app", "worker", "-c", "2", "-l", "error"]
_CELERY += ["--without-gossip", "--without-mingle", "--without-heartbeat"]


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures each consumer once on a tenth when quick, else three times on the whole."""
    rates = _consumer_rates(rounds=1 if is_quick else 3, scale=10 if is_quick else 1)
    bare = max(rates["bare"], rates["bare_async"])
    effects = _effects(opened, 500 if is_quick else 10_000)
    celery = _celery(opened, 500 if is_quick else 5_000)
    delays = _start_delays(opened, 30 if is_quick else 300)
    taken_over = _taken_over(opened)
    return [
        Figure("empty handler", "msg/s", rates["ours"], "bare redis-py", bare, BESIDE_BARE),
        Figure("empty handler", "msg/s", rates["ours"], "FastStream", rates["faststream"], BESIDE_FRAMEWORKS),
        Figure("empty handler", "msg/s", rates["ours"], "taskiq-redis", rates["taskiq"], BESIDE_FRAMEWORKS),
        Figure("a row a message, once", "events/s", effects, target=EFFECTS),
        Figure("a row a message", "events/s", effects, "Celery", celery, BESIDE_CELERY),
        Figure("commit to handler, p50", "ms", quantile(delays, 0.5), target=START_P50),
        Figure("commit to handler, p99", "ms", quantile(delays, 0.99), target=START_P99),
        Figure("killed worker to handled elsewhere", "s", taken_over, target=TAKEN_OVER),
    ]


def _consumer_rates(*, rounds: int, scale: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in _MESSAGES}
    for _ in range(rounds):
        for name, rates in found.items():
            command = [sys.executable, "-m", "benchmarks.bare.consumers", name, str(_MESSAGES[name] // scale)]
            done = subprocess.run(
                command, env=_environment(), capture_output=True, text=True, timeout=_WAIT_SECONDS, check=True
            )
            rates.append(float(done.stdout.split()[-1]))
    return {name: median(rates) for name, rates in found.items()}


def _effects(opened: Installation, count: int) -> float:
    """Rows a second by two workers, from the first on."""
    from aurora.bus import redis as clients
    from benchmarks.bare.effects import STREAM

    _forget(opened)
    fill(clients.client(), STREAM, count)
    with process("effects", _WORKER), process("effects", _WORKER):
        return _rate(opened, count)


def _celery(opened: Installation, count: int) -> float:
    _forget(opened)
    environment = _environment()
    sending = "import sys; from uuid import uuid4; from benchmarks.bare.celery_app import effect; from benchmarks.bare.filling import DATA\n"
    sending += "for _ in range(int(sys.argv[1])): effect.delay(str(uuid4()), DATA)"
    subprocess.run([sys.executable, "-c", sending, str(count)], env=environment, check=True, timeout=_WAIT_SECONDS)
    with process("celery", _CELERY, environment):
        return _rate(opened, count)


def _start_delays(opened: Installation, count: int) -> list[float]:
    """Milliseconds from each commit to the start of its handler."""
    from django.db import transaction

    from aurora.bus import outbox
    from benchmarks.bare.effects import STREAM, TYPE

    _forget(opened)
    committed: dict[str, float] = {}
    with process("relay", [sys.executable, "manage.py", "work", "relay"]), process("effects", _WORKER):
        for number in range(count + 10):
            event = outbox.Event(STREAM, TYPE, f"bench:{number}", {"data": DATA})
            with transaction.atomic():
                outbox.announce(event)
            committed[str(event.id)] = time.time()
            # The first ones find nobody yet.
            _until(lambda: number >= 10 or len(_rows(opened)) > number)  # noqa: B023 - called at once
            time.sleep(0.03)
        rows = _until(lambda: found if len(found := _rows(opened)) == count + 10 else None)
    return [(rows[event_id] - at) * 1000 for event_id, at in list(committed.items())[10:]]


def _taken_over(opened: Installation) -> float:
    """Seconds from the death of a worker to the row of the message it had in hand."""
    from aurora.bus import redis as clients
    from benchmarks.bare.effects import STREAM, TYPE

    _forget(opened)
    client: Any = clients.client()
    environment = {"AURORA_BUS_CLAIM_SECONDS": str(_CLAIM_SECONDS)}
    client.xadd(STREAM, {"id": "0198c1de-7aa1-7bb0-8c2f-000000000001", "type": TYPE, "data": '{"hangs":true}'})
    with ExitStack() as stack:
        victim = stack.enter_context(process("victim", _WORKER, environment))
        _until(
            lambda: (
                client.exists(STREAM) and client.xinfo_groups(STREAM) and client.xpending(STREAM, "bench")["pending"]
            )
        )
        connections = len(client.client_list())
        stack.enter_context(process("heir", [sys.executable, "-m", "benchmarks.bare.heir"], environment))
        _until(lambda: len(client.client_list()) >= connections + 2)
        time.sleep(2 * _CLAIM_SECONDS)  # the lease is extended meanwhile
        assert not _rows(opened), "a message in hand was taken away"
        victim.kill()
        began = time.perf_counter()
        _until(lambda: _rows(opened))
        return time.perf_counter() - began


def _forget(opened: Installation) -> None:
    """Begins with nothing to do."""
    from aurora.bus import redis as clients
    from benchmarks.bare.effects import ACTION, STREAM

    clients.client().delete(STREAM)
    with opened.connect() as database:
        database.execute("TRUNCATE aurora_outboxevent, aurora_processedevent")
        # The trail refuses to forget; here it is only a table that effects go to.
        database.execute("ALTER TABLE aurora_auditentry DISABLE TRIGGER USER")
        database.execute("DELETE FROM aurora_auditentry WHERE action = %s", [ACTION])
        database.execute("ALTER TABLE aurora_auditentry ENABLE TRIGGER USER")


def _rows(opened: Installation) -> dict[str, float]:
    """When the handling of each event began."""
    with opened.connect() as database:
        rows = database.execute(
            "SELECT target_id, (after->>'began')::float8 FROM aurora_auditentry WHERE action = 'bench'"
        ).fetchall()
    assert len(dict(rows)) == len(rows), "an effect was doubled"
    return dict(rows)


def _rate(opened: Installation, count: int) -> float:
    """Rows a second from the first on, until all are there or for RATED_SECONDS: who is slow on a busy machine is measured nevertheless."""
    first, last, began, ended = 0, 0, 0.0, 0.0
    with opened.connect() as database:

        def is_done() -> bool:
            nonlocal first, last, began, ended
            row = database.execute("SELECT count(*) FROM aurora_auditentry WHERE action = 'bench'").fetchone()
            last, ended = row[0] if row else 0, time.perf_counter()
            if last and not first:
                first, began = last, ended
            return last >= count or bool(first and ended - began > RATED_SECONDS)

        _until(is_done, every=0.1)
    assert first < last <= count, "no effect after the first, or one was doubled"
    return (last - first) / (ended - began)


def _until(condition: Callable[[], Any], *, every: float = 0.005) -> Any:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(every)
    return value


def _environment() -> dict[str, str]:
    import os

    from django.conf import settings

    from aurora.embedded import locations

    celery = (
        locations.redis_url(settings.DATA_DIR, database=2)
        .replace("unix://", "redis+socket://")
        .replace("?db=", "?virtual_host=")
    )
    return {**os.environ, "BENCH_REDIS_URL": settings.REDIS_URL, "BENCH_CELERY_URL": celery}
