"""One process of a fleet: obeys a word a line and answers with a word. Started by `test_breaker_fleet`."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import redis

from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings, Permit
from aurora.resilience.breaker_store import BreakerStore


class Process:
    def __init__(self, url: str, reset_timeout: str, probe_lease: str) -> None:
        client = redis.Redis.from_url(url, socket_timeout=2.0)
        self.breaker = Breaker(
            "agent",
            BreakerSettings(reset_timeout=float(reset_timeout), probe_lease=float(probe_lease)),
            store=BreakerStore(client, tick_seconds=0.1),
        )
        self.permits: list[Permit] = []

    def state(self) -> str:
        return self.breaker.snapshot().state

    def admit(self) -> str:
        try:
            self.permits.append(self.breaker.admit())
        except BreakerOpen:
            return "refused"
        return "admitted"

    def fail(self) -> str:
        self.permits.pop().fail("down")
        return "failed"

    def succeed(self) -> str:
        self.permits.pop().succeed()
        return "succeeded"

    def storm(self) -> str:
        """25 callers at once; how many were admitted."""
        start = threading.Barrier(25)

        def caller(_: int) -> bool:
            start.wait()
            return self.admit() == "admitted"

        with ThreadPoolExecutor(25) as pool:
            return str(sum(pool.map(caller, range(25))))


if __name__ == "__main__":
    process = Process(*sys.argv[1:])
    for line in sys.stdin:
        sys.stdout.write(getattr(process, line.strip())() + "\n")
        sys.stdout.flush()
