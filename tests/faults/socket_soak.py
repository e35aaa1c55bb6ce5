"""Sockets that come and go for a long time: `python -m tests.faults.socket_soak SECONDS`. Fifty watch all the time; in each round twenty join and leave: some say
goodbye, some die, some have stopped reading, some talk garbage. Prints the server's memory as it goes; ends with 1 when a watcher missed an event or
the memory has grown.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile

from aurora.bus import streams
from benchmarks import crowd, processes
from benchmarks.installation import Running
from benchmarks.peers import Peer, connect

WATCHERS = 50
CHURN = 20
EVENTS = 50
"""A round."""
WARM_UP = 10
"""Rounds after which the memory is what it shall stay: caches are full, threads are there."""
GROWTH_MEGABYTES = 8.0
"""A megabyte more or less is the allocator's mood; a leak of a frame a client would be hundreds."""


@dataclass(frozen=True, slots=True)
class Result:
    rounds: int
    events: int
    warm: float
    """Megabytes after the warm-up."""
    last: float

    @property
    def is_flat(self) -> bool:
        return self.last - self.warm <= GROWTH_MEGABYTES


async def soak(server: Running, go_on: Callable[[int], bool], tell: Callable[[str], object] = len) -> Result:
    """Rounds for as long as `go_on` of the round's number says. AssertionError when a watcher did not get every event in order."""
    clock, warm, rounds = crowd.Clock(), 0.0, 0
    async with crowd.gathered(server, crowd.address, streams.ALERTS, WATCHERS, clock) as watchers:
        for number in takewhile(go_on, count()):
            guests = await _join(server)
            await crowd.pace(clock, watchers, EVENTS, rate=200)
            _leave(guests)
            await asyncio.gather(*(asyncio.wait_for(guest.closed.wait(), crowd.EVERYTHING) for guest in guests))
            clock.took.clear()
            rounds = number + 1
            if rounds == WARM_UP:
                warm = processes.memory(server.pid).pss
            if rounds % WARM_UP == 0:
                tell(f"round {rounds}: {processes.memory(server.pid).pss:.1f} MB\n")
        clock.require_all_in_order()
    return Result(rounds, rounds * EVENTS, warm, processes.memory(server.pid).pss)


async def _join(server: Running) -> list[Peer]:
    guests = [await connect(server.port, crowd.address(), buffer=4_096 if at % 4 == 2 else 0) for at in range(CHURN)]
    for guest in guests[2::4]:
        guest.transport.pause_reading()
    return guests


def _leave(guests: list[Peer]) -> None:
    for guest in guests[::4]:
        guest.say(b"\x03\xe8", opcode=8)
    for guest in guests[1::4] + guests[2::4]:
        guest.die()
    for guest in guests[3::4]:
        guest.say(b"\x00\xff garbage", opcode=2)


def main() -> int:
    """Over an installation of its own, as the benchmarks make one."""
    from benchmarks import installation

    until = time.monotonic() + float(sys.argv[1])
    with installation.opened(), installation.product() as server:
        result = asyncio.run(soak(server, lambda _number: time.monotonic() < until, sys.stdout.write))
    sys.stdout.write(f"{result}\n")
    return 0 if result.is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
