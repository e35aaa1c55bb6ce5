"""How a request comes from the network to Django's views: which server, which way from ASGI. Behind docs/decisions/0001.

A trivial view (two bytes, no middleware) through Django's own ASGI handler, through its WSGI handler behind a2wsgi, and through our bridge
(`aurora.bridge`), each under uvicorn and under granian; and through granian's own WSGI, which can carry no WebSocket, for reference. Requests a
second, median and 99th percentile at one caller and at 32; memory of the server's processes after that. In rounds, every candidate once a round;
the peer of all is Django's own handler under uvicorn.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from benchmarks import processes
from benchmarks.client import load, request_bytes
from benchmarks.figures import Figure, Target, median, quantile
from benchmarks.installation import Installation, Running
from benchmarks.servers import granian, uvicorn

TARGETS: tuple[Target, ...] = ()
"""None: this table decides, it is not held against anything."""

_PEER = "uvicorn, Django's ASGI"
_CANDIDATES: dict[str, Callable[[], AbstractContextManager[Running]]] = {
    _PEER: partial(uvicorn, "native"),
    "uvicorn, a2wsgi": partial(uvicorn, "a2wsgi"),
    "uvicorn, our bridge": partial(uvicorn, "bridge"),
    "granian, Django's ASGI": partial(granian, "native", "asginl"),
    "granian, a2wsgi": partial(granian, "a2wsgi", "asginl"),
    "granian, our bridge": partial(granian, "bridge", "asginl"),
    "granian, its WSGI (HTTP only)": partial(granian, "wsgi", "wsgi"),
}
_CONCURRENCY = (1, 32)


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures one round of 0.3 s each when quick, else 5 rounds of 0.7 s."""
    rounds, seconds = (1, 0.3) if is_quick else (5, 0.7)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(start()) for name, start in _CANDIDATES.items()}
        found = {name: {callers: _Seen() for callers in _CONCURRENCY} for name in servers}
        for _ in range(rounds + 1):
            for name, running in servers.items():
                for callers in _CONCURRENCY:
                    request = request_bytes(running.port, "GET", "/")
                    found[name][callers].add(*load(running.port, request, connections=callers, seconds=seconds))
        sizes = {name: processes.memory(running.pid).pss for name, running in servers.items()}
    figures = [figure for callers in _CONCURRENCY for figure in _throughput(found, callers)]
    return [*figures, *(Figure(f"{name}: memory", "MB", size, _PEER, sizes[_PEER]) for name, size in sizes.items())]


class _Seen:
    """A candidate's rounds at one concurrency; the first only warmed it up."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.took: list[list[float]] = []

    def add(self, rate: float, took: list[float]) -> None:
        self.rates.append(rate)
        self.took.append(took)

    @property
    def rate(self) -> float:
        return median(self.rates[1:])

    def milliseconds(self, fraction: float) -> float:
        return median(quantile(took, fraction) for took in self.took[1:]) * 1000


def _throughput(found: dict[str, dict[int, _Seen]], callers: int) -> list[Figure]:
    figures = []
    for name, by_callers in found.items():
        seen = by_callers[callers]
        p50, p99 = seen.milliseconds(0.5), seen.milliseconds(0.99)
        what = f"{name}: {callers} at once (p50 {p50:.2f}, p99 {p99:.2f} ms)"
        details = {"p50_ms": p50, "p99_ms": p99}
        figures.append(Figure(what, "req/s", seen.rate, _PEER, found[_PEER][callers].rate, details=details))
    return figures
