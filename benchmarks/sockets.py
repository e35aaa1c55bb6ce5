"""From an entry on a stream to the sockets: the product's web process beside a bare ASGI loop and Channels' `group_send`.

All three run under uvicorn on this machine and read the same stream; the clients are ours (`benchmarks.peers`) and share the cores with them.

* Fan-out: one event of 330 bytes to 300 sockets, until the last has it; median.
* Flood: 500 events to 200 sockets at once.
* A peer that reads no more beside 20 that do: what it costs their 99th percentile.
* Resume: a socket that missed 1 000 events, from its connect to the last of them, none lost and none doubled.
* The sick: 500 sockets of which 100 die without a word, 50 read no more and 50 talk garbage during 1 000 events; the other 300 get all, in order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import orjson

from aurora.actors import Actor
from aurora.bus import redis as clients
from aurora.bus import streams
from benchmarks import installation
from benchmarks.figures import Figure, Target, median, quantile
from benchmarks.installation import Installation, Running
from benchmarks.peers import Peer, connect
from benchmarks.servers import sockets as serving
from realtime import tickets

FAN_OUT_BESIDE_BARE = Target(1.5, "at most", "ratio")
FAN_OUT_BESIDE_CHANNELS = Target(0.2, "at most", "ratio")
FLOOD = Target(40_000, "at least", "ours", "deliveries/s")
STALLED = Target(5, "at most", "ours", "ms")
RESUME = Target(100, "at most", "ours", "ms")
SICK = Target(2, "at most", "ratio")
TARGETS = (FAN_OUT_BESIDE_BARE, FAN_OUT_BESIDE_CHANNELS, FLOOD, STALLED, RESUME, SICK)

_WATCHER = Actor(name="bench", role="analyst")
_PADDING = "x" * 230
_EVERYTHING = 60.0
"""Seconds after which frames that have not come are taken for lost."""
_numbers = count(1)


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 10 fan-outs and a tenth of the storm when quick, else 100 and the whole."""
    events = 10 if is_quick else 100
    with installation.product() as web, _peers("bare") as bare, _peers("channels") as channels:
        ours, beside_bare, beside_channels = asyncio.run(_fan_outs([web, bare, channels], events))
    with installation.product() as web:
        flood = asyncio.run(_flood(web))
        quiet, beside_stalled = asyncio.run(_stalled(web, 200 if is_quick else 1_000))
        resume = median(asyncio.run(_resume(web)) for _ in range(1 if is_quick else 5))
        healthy, among_sick = asyncio.run(_sick(web, 10 if is_quick else 1))
    return [
        Figure("one event to 300 sockets", "ms", ours, "bare ASGI loop", beside_bare, FAN_OUT_BESIDE_BARE),
        Figure("one event to 300 sockets", "ms", ours, "group_send", beside_channels, FAN_OUT_BESIDE_CHANNELS),
        Figure("500 events to 200 sockets", "deliveries/s", flood, target=FLOOD),
        Figure("p99 that a stalled socket costs 20 others", "ms", max(0.0, beside_stalled - quiet), target=STALLED),
        Figure("1 000 missed events", "ms", resume, target=RESUME),
        Figure("p99 of 300 among 200 sick", "ms", among_sick, "without them", healthy, SICK),
    ]


def _path(last_event_id: str = "") -> str:
    ticket = tickets.issue(actor=_WATCHER)
    return f"{_plain()}?ticket={ticket}" + (f"&last_event_id={last_event_id}" if last_event_id else "")


def _plain() -> str:
    return "/api/v1/ws/alerts"


async def _fan_outs(servers: Sequence[Running], events: int) -> list[float]:
    """Milliseconds from XADD until the last of 300 has the event, median; for the product and its two peers, turn and turn about."""
    paths: list[Callable[[], str]] = [_path, _plain, _plain]
    places = list(zip(servers, paths, (streams.ALERTS, "bench:bare", "bench:channels"), strict=True))
    took: list[list[float]] = [[] for _ in places]
    async with AsyncExitStack() as stack:
        joined = [await stack.enter_async_context(_joined(*place, peers=300)) for place in places]
        for _ in range(events + 10):
            for peers, (_, _, stream), seconds in zip(joined, places, took, strict=True):
                waiting = [peer.seen(peer.count + 1) for peer in peers]
                began = time.perf_counter()
                _publish([next(_numbers)], stream=stream)
                seconds.append(max(await asyncio.wait_for(asyncio.gather(*waiting), _EVERYTHING)) - began)
                await asyncio.sleep(0.02)
    return [median(seconds[10:]) * 1000 for seconds in took]


async def _flood(server: Running) -> float:
    """Deliveries a second."""
    async with _joined(server, _path, streams.ALERTS, 200) as peers:
        waiting = [peer.seen(peer.count + 500) for peer in peers]
        began = time.perf_counter()
        _publish([next(_numbers) for _ in range(500)])
        ended = max(await asyncio.wait_for(asyncio.gather(*waiting), _EVERYTHING))
        return 200 * 500 / (ended - began)


async def _stalled(server: Running, events: int) -> tuple[float, float]:
    """The 99th percentile in milliseconds of 20 sockets, alone and beside one that reads no more."""
    figures = []
    for has_stalled in (False, True):
        clock = _Clock()
        async with _joined(server, _path, streams.ALERTS, 20, clock) as peers:
            stalled = await connect(server.port, _path(), buffer=4_096) if has_stalled else None
            if stalled:
                stalled.transport.pause_reading()
            await _pace(clock, peers, events, rate=250, padding="x" * 4_000)
            if stalled:
                stalled.die()
        clock.require_all_in_order()
        figures.append(quantile(clock.took, 0.99))
    return figures[0], figures[1]


async def _resume(server: Running) -> float:
    """Milliseconds from the connect to the last of 1 000 missed events."""
    first = _publish([next(_numbers)])
    numbers = [next(_numbers) for _ in range(1_000)]
    await asyncio.to_thread(_publish, numbers)
    path, seen = _path(f"{first}_0-0"), []

    def note(payload: bytes, _now: float) -> None:
        frame = orjson.loads(payload)
        if frame["type"] != "hello":
            seen.append(frame["data"]["n"])

    began = time.perf_counter()
    peer = await connect(server.port, path, note)
    ended = await asyncio.wait_for(peer.seen(1_001), _EVERYTHING)
    peer.transport.abort()
    assert seen == numbers, "lost, doubled or out of order"
    return (ended - began) * 1000


async def _sick(server: Running, scale: int) -> tuple[float, float]:
    """The 99th percentile in milliseconds of 300 sockets, alone and among 200 sick ones."""
    figures = []
    for is_among_sick in (False, True):
        clock = _Clock()
        async with _joined(server, _path, streams.ALERTS, 300 // scale, clock) as peers:
            sick = _Sick(server, scale)
            if is_among_sick:
                await sick.join()
            await _pace(clock, peers, 1_000 // scale, rate=50, during=sick.turn if is_among_sick else None)
            sick.leave()
        clock.require_all_in_order()
        figures.append(quantile(clock.took, 0.99))
    return figures[0], figures[1]


class _Sick:
    """Peers that die, stall and talk garbage while events are published."""

    def __init__(self, server: Running, scale: int) -> None:
        self.server, self.scale = server, scale
        self.dying: list[Peer] = []
        self.garblers: list[Peer] = []
        self.stalled: list[Peer] = []

    async def join(self) -> None:
        self.dying = [await connect(self.server.port, _path()) for _ in range(100 // self.scale)]
        for _ in range(50 // self.scale):
            stalled = await connect(self.server.port, _path(), buffer=4_096)
            stalled.transport.pause_reading()
            self.stalled.append(stalled)
        self.garblers = [await connect(self.server.port, _path()) for _ in range(50 // self.scale)]

    def turn(self, number: int) -> None:
        if number % 10 == 0 and self.dying:
            self.dying.pop().die()
        if number % 20 == 0 and self.garblers:
            self.garblers.pop().say(b"\x00\xff garbage", opcode=2)

    def leave(self) -> None:
        for peer in (*self.dying, *self.garblers, *self.stalled):
            peer.die()


class _Clock:
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
async def _joined(
    server: Running, path: Callable[[], str], stream: str, peers: int, clock: _Clock | None = None
) -> AsyncIterator[list[Peer]]:
    """Open sockets that hear what is published."""
    joined = [await connect(server.port, path(), clock.listener() if clock else None) for _ in range(peers)]
    # A server that greets nobody, or greets before it listens, is only known to listen by what it sends.
    heard = [peer.seen(peer.count + 1) for peer in joined]
    while not all(future.done() for future in heard):
        _publish([0], stream=stream)
        await asyncio.wait(heard, timeout=0.2)
    await asyncio.sleep(0.5)
    yield joined
    for peer in joined:
        peer.transport.abort()


async def _pace(
    clock: _Clock, peers: list[Peer], events: int, *, rate: int, padding: str = _PADDING, during: Any = None
) -> None:
    """Publishes at the rate by the clock, and waits until every peer has everything."""
    waiting = [peer.seen(peer.count + events) for peer in peers]
    began = time.perf_counter()
    for place in range(events):
        await asyncio.sleep(max(0.0, began + place / rate - time.perf_counter()))
        number = next(_numbers)
        clock.published[number] = time.perf_counter()
        _publish([number], padding)
        if during:
            during(place)
    await asyncio.wait_for(asyncio.gather(*waiting), _EVERYTHING)


def _publish(numbers: Sequence[int], padding: str = _PADDING, stream: str = streams.ALERTS) -> str:
    """Adds events to the stream as the relay does; the first one's entry."""
    client: streams.Client = clients.client()
    with client.pipeline(transaction=True) as pipeline:
        for number in numbers:
            data = f'{{"n":{number},"x":"{padding}"}}'
            pipeline.xadd(stream, {"id": "e", "type": "alert.created", "timestamp": "", "data": data})
        return str(pipeline.execute()[0].decode())


def _peers(application: str) -> AbstractContextManager[Running]:
    from django.conf import settings

    return serving(application, settings.REDIS_URL)
