"""One process of a fleet that shares a breaker: `python -m benchmarks.breaker_member URL RESET LEASE CALLERS`.

Reads a word a line and writes JSON a line. `storm N` lets the callers loose on the breaker, which has tripped N times, until it has closed; the
first probe of a round fails, the next succeeds. `hang N` is a storm whose first prober says so and never comes back, until `mercy`. Moments are nanoseconds of the
machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings, Permit
from aurora.resilience.breaker_machine import State, Status, View
from aurora.resilience.breaker_store import BreakerStore

WORK_SECONDS = 0.001
PAUSE_SECONDS = 0.001

_lock = threading.Lock()


def say(**fields: object) -> None:
    with _lock:
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()


class Watched(Breaker):
    """A breaker that says when it has learnt of a move that another process made."""

    is_telling = False

    def adopt(self, view: View) -> None:
        before = self._version
        super().adopt(view)
        if self.is_telling and self._version != before:
            say(seen=time.monotonic_ns(), version=view.version, status=view.state.status)


class Member:
    """The breaker and its callers."""

    def __init__(self, url: str, reset: float, lease: float, callers: int) -> None:
        client = redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0))
        settings = BreakerSettings(failure_threshold=1, reset_timeout=reset, probe_lease=lease)
        self.breaker = Watched("fleet", settings, store=BreakerStore(client))
        self.callers = callers
        self.hangs = threading.Event()
        self.breaker.snapshot()

    def obey(self, word: str) -> None:
        if word == "tell":
            self.breaker.is_telling = True
            say(telling=True)
        elif word == "mercy":
            self.hangs.clear()
        else:
            name, trips = word.split()
            if name == "hang":
                self.hangs.set()
            threading.Thread(target=self._storm, args=(int(trips),), daemon=True).start()

    def _storm(self, trips: int) -> None:
        # The news that it is open are on their way; the others may have closed it again by then.
        while self._state().trips < trips:
            time.sleep(PAUSE_SECONDS)
        threads = [threading.Thread(target=self._call_until_closed, daemon=True) for _ in range(self.callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(done=True)

    def _call_until_closed(self) -> None:
        while self._state().status is not Status.CLOSED:
            asked = time.monotonic_ns()
            try:
                permit = self.breaker.admit()
            except BreakerOpen:
                time.sleep(PAUSE_SECONDS)
                continue
            entered, state = time.monotonic_ns(), self._state()
            if state.status is Status.CLOSED:
                permit.cancel()
                return
            if self.hangs.is_set():
                say(holding=entered, asked=asked)
                time.sleep(3600)
            self._probe(permit, entered, state.reopened)

    def _probe(self, permit: Permit, entered: int, reopened: int) -> None:
        time.sleep(WORK_SECONDS)
        say(entered=entered, left=time.monotonic_ns())
        permit.succeed() if reopened else permit.fail("first")

    def _state(self) -> State:
        return self.breaker._state


if __name__ == "__main__":
    member = Member(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
    say(ready=True)
    for line in sys.stdin:
        member.obey(line.strip())
