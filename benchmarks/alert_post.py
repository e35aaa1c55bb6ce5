"""One `POST /api/v1/alerts` against a bare Django view that does one INSERT.

Ours: a new alert each time, with authentication (API key; access token), quota, validation, deduplication, IOCs and outbox. The peer: a view
without middleware that reads the same body and stores it by one autocommitted INSERT into a copy of `cases_alert` with all its indexes, under
the same server, the same bridge and the same pool. One caller over keep-alive HTTP, the three in turn; medians and 99th percentiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson

from benchmarks import installation
from benchmarks.figures import Figure, Target, quantile
from benchmarks.installation import Installation
from benchmarks.servers import uvicorn

TARGETS = (Target(3.0, "at most", "ratio"),)
_WARM_UP = 50
_PEER = "bare INSERT"


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 100 turns when quick, else 1500."""
    turns = _WARM_UP + (100 if is_quick else 1500)
    with opened.connect() as database, installation.product() as product, uvicorn("bridge") as bare:
        database.execute("CREATE TABLE bench_alert (LIKE cases_alert INCLUDING ALL)")
        with product.connect() as ours, bare.connect() as peer:
            callers = [
                (peer, "/insert", {}),
                (ours, "/api/v1/alerts", {"X-API-Key": opened.api_key}),
                (ours, "/api/v1/alerts", {"Authorization": f"Bearer {opened.access_token}"}),
            ]
            bodies = _bodies()
            took: list[list[float]] = [[] for _ in callers]
            for _ in range(turns):
                for (connection, path, headers), seconds in zip(callers, took, strict=True):
                    headers = {"Content-Type": "application/json", **headers}
                    seconds.append(connection.timed(connection.request("POST", path, next(bodies), headers), 201))
        database.execute("DROP TABLE bench_alert")
    bare_times, by_key, by_token = (seconds[_WARM_UP:] for seconds in took)
    return [*_figures("with API key", by_key, bare_times), *_figures("with access token", by_token, bare_times)]


def _bodies() -> Iterator[bytes]:
    for number in count():
        body: dict[str, Any] = {
            "title": f"Beacon to command and control, host {number}",
            "severity": ("low", "medium", "high")[number % 3],
            "source": "edr",
            "description": "Periodic HTTPS requests of 312 bytes, every 60 s, by a process without a window.",
            "iocs": [f"203.0.113.{number % 250}", f"node-{number % 400}.example"],
            "mitre_techniques": ["T1071.001"],
            "affected_assets": [f"ws-{number % 90}"],
        }
        yield orjson.dumps(body)


def _figures(how: str, ours: list[float], bare: list[float]) -> list[Figure]:
    pairs = [(name, quantile(ours, at) * 1000, quantile(bare, at) * 1000) for name, at in (("p50", 0.5), ("p99", 0.99))]
    return [
        Figure(f"{how}, {name}", "ms", value, _PEER, peer, TARGETS[0] if name == "p50" else None)
        for name, value, peer in pairs
    ]
