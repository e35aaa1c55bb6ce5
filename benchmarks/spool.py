"""`POST /api/v1/alerts` while PostgreSQL is away against the same call with PostgreSQL there, and how soon what was spooled is stored.

One caller over keep-alive HTTP, first with PostgreSQL up (201), then with it killed (202, on the disk), the same process and key. Then 200 callers at
once while it is away. Then 10,000 single alerts, spooled before, are drained by one `manage.py work spool` while a caller goes on posting: how long it
takes, and what that caller's calls take meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import orjson

from benchmarks import installation
from benchmarks.client import Connection, load
from benchmarks.figures import Figure, Target, quantile
from benchmarks.installation import Installation, Running

TARGETS = (Target(2.0, "at most", "ratio"), Target(15.0, "at most", "ours", "s"))
SPOOLED = 10_000
_WARM_UP = 50
_STORED, _SPOOLED = 201, 202


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 100 calls of each kind and 500 deliveries when quick, else 1500 and 10,000."""
    calls, spooled = (100, 500) if is_quick else (1500, SPOOLED)
    with installation.product() as product, product.connect() as caller:
        bodies = _bodies(product, opened.api_key)
        up = _timed(caller, bodies, _STORED, _WARM_UP + calls)
        with opened.outage() as server:
            down = _timed(caller, bodies, _SPOOLED, _WARM_UP + calls)
            rate, together = load(product.port, next(bodies), connections=200, seconds=1.0 if is_quick else 5.0)
            server.start()
            drained, beside = _drain(product, bodies, spooled)
    return [
        Figure("spooled, p50", "ms", quantile(down, 0.5) * 1000, "stored", quantile(up, 0.5) * 1000, TARGETS[0]),
        Figure("spooled, p99", "ms", quantile(down, 0.99) * 1000, "stored", quantile(up, 0.99) * 1000),
        Figure("spooled by 200 callers", "calls/s", rate, details={"p99_ms": quantile(together, 0.99) * 1000}),
        Figure(f"draining {spooled:,} deliveries beside live traffic", "s", drained, target=TARGETS[1]),
        Figure("calls meanwhile, p50", "ms", quantile(beside, 0.5) * 1000, "alone", quantile(up, 0.5) * 1000),
    ]


def _timed(caller: Connection, bodies: Iterator[bytes], expected: int, calls: int) -> list[float]:
    return [caller.timed(next(bodies), expected) for _ in range(calls)][_WARM_UP:]


def _drain(product: Running, bodies: Iterator[bytes], spooled: int) -> tuple[float, list[float]]:
    """Seconds from the worker's first look to an empty spool, and the seconds of the calls made meanwhile."""
    from aurora.resilience import spool

    _fill(spooled)
    command = [sys.executable, "manage.py", "work", "spool"]
    beside: list[float] = []
    with product.connect() as caller:
        while caller.exchange(next(bodies))[0] != _STORED:
            time.sleep(0.05)  # until the web process has noticed
    with installation.process("spool", command), product.connect() as caller:
        full = spool.shared().standing().depth
        while spool.shared().standing().depth == full:
            time.sleep(0.01)
        began = time.perf_counter()
        while not beside or spool.shared().standing().depth:
            beside.append(caller.timed(next(bodies), _STORED))
            time.sleep(0.01)
        return time.perf_counter() - began, beside


def _fill(deliveries: int) -> None:
    """Puts single alerts into the spool, as requests would."""
    from aurora.actors import system
    from aurora.resilience import spool
    from cases import spooling
    from cases.schemas import AlertIn
    from cases.submission import alert_of

    def put(number: int) -> None:
        payload = orjson.dumps(_alert(f"spooled {number}"))
        alert = alert_of(AlertIn.model_validate_json(payload))
        entry = spooling.entry_of_alert(alert=alert, payload=payload, actor=system("bench"), claim=None)
        spool.shared().put(entry)

    waiting = spool.shared().standing().depth
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(put, range(max(0, deliveries - waiting))))


def _bodies(product: Running, key: str) -> Iterator[bytes]:
    with product.connect() as connection:
        headers = {"Content-Type": "application/json", "X-API-Key": key}
        for number in count():
            yield connection.request("POST", "/api/v1/alerts", orjson.dumps(_alert(f"host {number}")), headers)


def _alert(what: str) -> dict[str, object]:
    return {
        "title": f"Beacon to command and control, {what}",
        "severity": "low",
        "source": "edr",
        "description": "Periodic HTTPS requests of 312 bytes, every 60 s, by a process without a window.",
        "iocs": ["203.0.113.77", "node-7.example"],
        "mitre_techniques": ["T1071.001"],
        "affected_assets": ["ws-7"],
    }
