"""Crowds of sockets on a running web process: what they are sent, when it came, and the sick ones among them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from aurora.actors import Actor
from aurora.bus import redis as clients
from aurora.bus import streams
from aurora.errors import Unavailable
from benchmarks.figures import quantile
from benchmarks.installation import Running
from benchmarks.peers import Peer, connect
from realtime import tickets

WATCHER = Actor(name="bench", role="analyst")
PADDING = "x" * 230
EVERYTHING = 60.0
"""Seconds after which frames that have not come are taken for lost."""
NUMBERS = count(1)
"""One for each event of a run."""


def address(last_event_id: str = "") -> str:
    """Where a socket on the alerts begins, with a ticket of its own. On a busy machine Redis may be too slow for it, and then a client asks again."""
    while (ticket := _ticket()) is None:
        time.sleep(0.05)
    return f"/api/v1/ws/alerts?ticket={ticket}" + (f"&last_event_id={last_event_id}" if last_event_id else "")


def _ticket() -> str | None:
    try:
        return tickets.issue(actor=WATCHER)
    except Unavailable:
        return None


async def among_sick(server: Running, scale: int) -> tuple[float, float]:
    """The 99th percentile in milliseconds of 300 sockets, alone and among 200 sick ones; of a part of that with `scale`.

    AssertionError when one of the 300 did not get every event in order.
    """
    figures = []
    for isamong_sick in (False, True):
        clock = Clock()
        async with gathered(server, address, streams.ALERTS, 300 // scale, clock) as peers:
            sick = Sick(server, scale)
            if isamong_sick:
                await sick.join()
            await pace(clock, peers, 1_000 // scale, rate=50, during=sick.turn if isamong_sick else None)
            await sick.leave()
        clock.require_all_in_order()
        figures.append(quantile(clock.took, 0.99))
    return figures[0], figures[1]


class Sick:
    """Peers that die, stall and talk garbage while events are published."""

    def __init__(self, server: Running, scale: int) -> None:
        self.server, self.scale = server, scale
        self.dying: list[Peer] = []
        self.garblers: list[Peer] = []
        self.stalled: list[Peer] = []
        self.all: list[Peer] = []

    async def join(self) -> None:
        self.dying = [await connect(self.server.port, address()) for _ in range(100 // self.scale)]
        for _ in range(50 // self.scale):
            stalled = await connect(self.server.port, address(), buffer=4_096)
            stalled.transport.pause_reading()
            self.stalled.append(stalled)
        self.garblers = [await connect(self.server.port, address()) for _ in range(50 // self.scale)]
        self.all = [*self.dying, *self.stalled, *self.garblers]

    def turn(self, number: int) -> None:
        if number % 10 == 0 and self.dying:
            self.dying.pop().die()
        if number % 20 == 0 and self.garblers:
            self.garblers.pop().say(b"\x00\xff garbage", opcode=2)

    async def leave(self) -> None:
        await dismiss(self.all)


class Clock:
    """When each event was published, and how long each of the peers waited for it."""

    def __init__(self) -> None:
        self.published: dict[int, float] = {}
        self.took: list[float] = []
        self.arrived: list[list[int]] = []

    def listener(self) -> Callable[[bytes, float], None]:
        """What notes the frames of one more peer."""
        numbers: list[int] = []
        self.arrived.append(numbers)

        def note(payload: bytes, now: float) -> None:
            at = payload.rfind(b'"n":')
            number = int(payload[at + 4 : payload.find(b",", at)]) if at > 0 else 0
            if number in self.published:
                numbers.append(number)
                self.took.append((now - self.published[number]) * 1000)

        return note

    def require_all_in_order(self) -> None:
        assert all(numbers == list(self.published) for numbers in self.arrived), "lost, doubled or out of order"


@asynccontextmanager
async def gathered(
    server: Running, address_of: Callable[[], str], stream: str, peers: int, clock: Clock | None = None
) -> AsyncIterator[list[Peer]]:
    """Open sockets that hear what is published."""
    joined = [await connect(server.port, address_of(), clock.listener() if clock else None) for _ in range(peers)]
    # A server that greets nobody, or greets before it listens, is only known to listen by what it sends.
    heard = [peer.seen(peer.count + 1) for peer in joined]
    while not all(future.done() for future in heard):
        publish([0], stream=stream)
        await asyncio.wait(heard, timeout=0.2)
    await asyncio.sleep(0.5)
    yield joined
    await dismiss(joined)


async def dismiss(peers: Sequence[Peer]) -> None:
    """Ends them, if they have not ended, without a word."""
    for peer in peers:
        peer.transport.abort()
    for peer in peers:
        await peer.closed.wait()


async def pace(
    clock: Clock, peers: list[Peer], events: int, *, rate: int, padding: str = PADDING, during: Any = None
) -> None:
    """Publishes at the rate by the clock, and waits until every peer has everything."""
    waiting = [peer.seen(peer.count + events) for peer in peers]
    began = time.perf_counter()
    for place in range(events):
        await asyncio.sleep(max(0.0, began + place / rate - time.perf_counter()))
        number = next(NUMBERS)
        clock.published[number] = time.perf_counter()
        publish([number], padding)
        if during:
            during(place)
    await asyncio.wait_for(asyncio.gather(*waiting), EVERYTHING)


def publish(numbers: Sequence[int], padding: str = PADDING, stream: str = streams.ALERTS) -> str:
    """Adds events to the stream as the relay does; the first one's entry."""
    client: streams.Client = clients.client()
    with client.pipeline(transaction=True) as pipeline:
        for number in numbers:
            data = f'{{"n":{number},"x":"{padding}"}}'
            pipeline.xadd(stream, {"id": "e", "type": "alert.created", "timestamp": "", "data": data})
        return str(pipeline.execute()[0].decode())
