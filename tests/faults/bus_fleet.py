"""Workers and relays of the bus killed while they work: `python -m tests.faults.bus_fleet EVENTS [SEED]`. Four workers, two of which
handle in batches, and two relays; a random one that works is killed every second until each event has had its effect. Prints what came of it; ends with 1 when one is
lost, doubled, buried or out of order.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_AGGREGATES = 50
_PATIENCE = 600.0
"""Seconds after which what has had no effect is taken for lost."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `disordered` are aggregates whose events do not stand on the stream in the order they were announced in."""

    events: int
    kills: int
    lost: int
    doubled: int
    buried: int
    disordered: int
    seconds: float

    @property
    def is_well(self) -> bool:
        return self.lost == self.doubled == self.buried == self.disordered == 0


def run(
    events: int,
    environment: dict[str, str],
    *,
    kills: int | None = None,
    workers: int = 4,
    relays: int = 2,
    seed: int = 7,
) -> Result:
    """Kills one a second, or `kills` in all, evenly over the work. Django is set up, the tables and the stream are empty."""
    from aurora.bus import redis as clients
    from aurora.models import DeadLetter
    from tests.aurora.bus.scene import announce_many, effects
    from tests.waiting import until

    announced = announce_many(events, aggregates=_AGGREGATES)
    began, chance, done = time.monotonic(), random.Random(seed), 0
    kinds = ["together"] * (workers // 2) + ["alone"] * (workers - workers // 2) + ["relay"] * relays
    fleet = [_Member(kind, environment) for kind in kinds]
    try:
        for number in count():
            if kills is None:
                time.sleep(1)
            else:
                until(partial(_has_come_to, events * (number + 1) // (kills + 2)), _PATIENCE, every=0.02)
            if number == kills or _has_come_to(events) or time.monotonic() > began + _PATIENCE:
                break
            # One that has not begun yet has nothing to lose; on a busy machine only such would be killed.
            if working := [place for place, member in enumerate(fleet) if member.has_begun.is_set()]:
                victim = chance.choice(working)
                fleet[victim].process.kill()
                fleet[victim].process.wait()
                fleet[victim] = _Member(kinds[victim], environment)
                done += 1
        until(lambda: _is_over(events, clients.client()), _PATIENCE, every=0.1)
    finally:
        _stop(fleet)
    found = effects()
    names = [event_id for aggregate in announced.values() for event_id in aggregate]
    return Result(
        events=events,
        kills=done,
        lost=sum(found[name] == 0 for name in names),
        doubled=sum(found[name] > 1 for name in names),
        buried=DeadLetter.objects.count(),
        disordered=_disordered(announced, clients.client()),
        seconds=round(time.monotonic() - began, 1),
    )


def _has_come_to(wanted: int) -> bool:
    from aurora.models import AuditEntry

    return AuditEntry.objects.filter(action="effect").count() >= wanted


def _is_over(events: int, client: Any) -> bool:
    """Whether nothing is left that could still have an effect: what was published or delivered twice is finished too."""
    from aurora.models import OutboxEvent
    from tests.aurora.bus.scene import is_finished

    return _has_come_to(events) and not OutboxEvent.objects.exists() and is_finished(client)


def _disordered(announced: dict[str, list[str]], client: Any) -> int:
    """An event that was published again, because a relay died, stands there twice: its first place counts."""
    from tests.aurora.bus.scene import STREAM

    places = {fields[b"id"].decode(): place for place, (_, fields) in reversed(list(enumerate(client.xrange(STREAM))))}
    return sum(sorted(events, key=lambda event_id: places.get(event_id, -1)) != events for events in announced.values())


class _Member:
    """One process, and whether it has begun to work."""

    def __init__(self, kind: str, environment: dict[str, str]) -> None:
        self.has_begun = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.aurora.bus.effect_worker", kind],
            cwd=ROOT,
            # What was only read ahead by a worker that died counts as delivered.
            env={**environment, "AURORA_BUS_CLAIM_SECONDS": "1", "AURORA_BUS_MAX_DELIVERIES": "100"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        with self.process.stdout as output:
            if output.readline() == b"started\n":
                self.has_begun.set()


def _stop(fleet: Sequence[_Member]) -> None:
    for member in fleet:
        member.process.send_signal(signal.SIGTERM)
    for member in fleet:
        member.process.wait(60)


def main() -> int:
    """Over an installation of its own, as the benchmarks make one."""
    from benchmarks import installation

    events, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with installation.opened():
        result = run(events, dict(os.environ), seed=seed)
    sys.stdout.write(f"{result}\n")
    return 0 if result.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
