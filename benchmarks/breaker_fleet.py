"""One breaker over eight processes: how fast a move reaches them all, and whether half-open lets one probe through at a time.

Each round 200 callers in 8 processes storm an open breaker; its first probe fails, the second closes it. In every tenth round the prober is
killed with SIGKILL while it holds the probe. Probes are intervals on the machine's clock: two that overlap are two at a time, a killed one lasts
until its lease ends. No library named in `benchmarks.breaker` stands beside it: their half-open lets everybody through, or waits for a dead
prober for ever.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from aurora.bus.redis import Purpose, client
from aurora.embedded import locations
from aurora.resilience.breaker import Breaker, BreakerSettings
from aurora.resilience.breaker_store import BreakerStore
from benchmarks.figures import Figure, Target, quantile
from benchmarks.installation import ROOT, Installation

PUSH = Target(100, "at most", "ours", "ms")
AT_A_TIME = Target(1, "at most", "ours", "probes")
HEALED = Target(1000, "at most", "ours", "ms")
WEDGED = Target(0, "at most", "ours", "rounds")
TARGETS: tuple[Target, ...] = (PUSH, AT_A_TIME, HEALED, WEDGED)
PROCESSES, CALLERS = 8, 25
RESET_SECONDS, LEASE_SECONDS = 0.02, 0.5
WEDGED_SECONDS = 20.0
"""A round that has not closed after so long is taken for one that never will."""


class Wedged(RuntimeError):
    """A round did not end."""


@dataclass
class Rounds:
    """What happened in all rounds."""

    most_at_a_time: int = 0
    probes: int = 0
    wedged: int = 0
    healed_ms: list[float] = field(default_factory=list)
    """From the killed prober's entry to the next one's."""


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """20 rounds when quick, else 1,000."""
    url = locations.redis_url(opened.directory)
    pushed = measure_pushes(url, orders=10 if is_quick else 200)
    rounds = storm(url, rounds=20 if is_quick else 1000, kill_every=10)
    return [
        Figure("a move reaches another process, p50", "ms", quantile(pushed, 0.5) * 1000),
        Figure("a move reaches another process, p99", "ms", quantile(pushed, 0.99) * 1000, target=PUSH),
        Figure("probes at a time in half-open", "probes", rounds.most_at_a_time, target=AT_A_TIME),
        Figure("a killed prober's place is taken, worst", "ms", max(rounds.healed_ms), target=HEALED),
        Figure("wedged rounds", "rounds", rounds.wedged, target=WEDGED, details={"probes": rounds.probes}),
    ]


class Process:
    """A `benchmarks.breaker_member`, its lines in the fleet's queue."""

    def __init__(self, url: str, heard: queue.Queue[tuple[Process, dict[str, Any]]]) -> None:
        command = [sys.executable, "-m", "benchmarks.breaker_member", url]
        self._child = subprocess.Popen(
            [*command, str(RESET_SECONDS), str(LEASE_SECONDS), str(CALLERS)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._heard = heard
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def tell(self, word: str) -> None:
        assert self._child.stdin
        self._child.stdin.write(word + "\n")
        self._child.stdin.flush()

    def kill(self) -> None:
        """With SIGKILL, in the middle of whatever it does."""
        self._child.kill()
        self._listener.join()
        with contextlib.suppress(BrokenPipeError):
            self._child.communicate()

    @property
    def is_dead(self) -> bool:
        return self._child.poll() is not None

    def _listen(self) -> None:
        assert self._child.stdout
        for line in self._child.stdout:
            self._heard.put((self, json.loads(line)))


class Fleet:
    """Eight processes and the breaker by which they are commanded."""

    def __init__(self, url: str) -> None:
        client(Purpose.COMMAND, url).delete("aurora:breaker:fleet")
        self._url = url
        self._store = BreakerStore(client(Purpose.REQUEST, url))
        settings = BreakerSettings(failure_threshold=1, reset_timeout=RESET_SECONDS, probe_lease=LEASE_SECONDS)
        self.breaker = Breaker("fleet", settings, store=self._store)
        self.breaker.snapshot()
        self.heard: queue.Queue[tuple[Process, dict[str, Any]]] = queue.Queue()
        self.processes = [Process(url, self.heard) for _ in range(PROCESSES)]
        self.await_word("ready", PROCESSES)

    def replace(self, dead: Process) -> None:
        self.processes.remove(dead)
        self.processes.append(Process(self._url, self.heard))
        self.await_word("ready", 1)

    def tell(self, word: str) -> None:
        for process in self.processes:
            if not process.is_dead:
                process.tell(word)

    def close(self) -> None:
        self._store.stop()
        for process in self.processes:
            process.kill()

    def await_word(self, word: str, count: int) -> None:
        """Returns when `count` processes have said `word`; other news are passed over. Raises queue.Empty after a minute's silence."""
        while count:
            count -= word in self.heard.get(timeout=60)[1]


def measure_pushes(url: str, *, orders: int) -> list[float]:
    """Seconds from an order to each other process's knowing of it."""
    fleet = Fleet(url)
    took: list[float] = []
    try:
        fleet.tell("tell")
        fleet.await_word("telling", PROCESSES)
        for number in range(orders):
            began = time.monotonic_ns()
            fleet.breaker.reset() if number % 2 else fleet.breaker.force_open()
            seen = [int(fleet.heard.get(timeout=WEDGED_SECONDS)[1]["seen"]) for _ in fleet.processes]
            took += [(moment - began) / 1e9 for moment in seen]
    finally:
        fleet.close()
    return took


def storm(url: str, *, rounds: int, kill_every: int) -> Rounds:
    """Plays the rounds; the prober of every `kill_every`th is killed."""
    fleet, found = Fleet(url), Rounds()
    try:
        for number in range(1, rounds + 1):
            try:
                _play(fleet, found, kills=number % kill_every == 0)
            except Wedged:
                found.wedged += 1
                fleet.close()
                fleet = Fleet(url)
    finally:
        fleet.close()
    return found


def _play(fleet: Fleet, found: Rounds, *, kills: bool) -> None:
    intervals: list[tuple[int, int]] = []
    fleet.breaker.reset()
    fleet.breaker.admit().fail("down")
    fleet.tell(f"{'hang' if kills else 'storm'} {fleet.breaker.snapshot().trips}")
    missing = PROCESSES
    deadline = time.monotonic() + WEDGED_SECONDS
    held: int | None = None
    while missing:
        try:
            process, news = fleet.heard.get(timeout=max(deadline - time.monotonic(), 0.01))
        except queue.Empty:
            raise Wedged from None
        if "holding" in news:
            # On a busy machine a second one may hang before it has heard of mercy: it is killed like the first.
            held = int(news["holding"])
            process.kill()
            missing -= 1
            fleet.tell("mercy")
            # Its lease began with the grant, after it had asked.
            intervals.append((held, int(news["asked"]) + int(LEASE_SECONDS * 1e9)))
        elif "entered" in news:
            intervals.append((int(news["entered"]), int(news["left"])))
        elif "done" in news:
            missing -= 1
    _note(found, intervals, held)
    for process in [each for each in fleet.processes if each.is_dead]:
        fleet.replace(process)


def _note(found: Rounds, intervals: list[tuple[int, int]], held: int | None) -> None:
    found.probes += len(intervals)
    found.most_at_a_time = max(found.most_at_a_time, most_at_a_time(intervals))
    if held is not None:
        found.healed_ms.append(min(entered - held for entered, _ in intervals if entered > held) / 1e6)


def most_at_a_time(intervals: list[tuple[int, int]]) -> int:
    """How many of the intervals overlap at most; touching is not overlapping."""
    moves = sorted([(entered, 1) for entered, _ in intervals] + [(left, -1) for _, left in intervals])
    inside = most = 0
    for _, change in moves:
        inside += change
        most = max(most, inside)
    return most
