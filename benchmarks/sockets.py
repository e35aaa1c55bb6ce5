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
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack

import orjson

from aurora.bus import streams
from benchmarks import installation
from benchmarks.crowd import EVERYTHING, NUMBERS, Clock, address, among_sick, gathered, pace, publish
from benchmarks.figures import Figure, Target, median, quantile
from benchmarks.installation import Installation, Running
from benchmarks.peers import connect
from benchmarks.servers import sockets as serving

FAN_OUT_BESIDE_BARE = Target(1.5, "at most", "ratio")
FAN_OUT_BESIDE_CHANNELS = Target(0.2, "at most", "ratio")
FLOOD = Target(40_000, "at least", "ours", "deliveries/s")
STALLED = Target(5, "at most", "ours", "ms")
RESUME = Target(100, "at most", "ours", "ms")
SICK = Target(2, "at most", "ratio")
TARGETS = (FAN_OUT_BESIDE_BARE, FAN_OUT_BESIDE_CHANNELS, FLOOD, STALLED, RESUME, SICK)


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 10 fan-outs and a tenth of the storm when quick, else 100 and the whole."""
    events = 10 if is_quick else 100
    with installation.product() as web, _peers("bare") as bare, _peers("channels") as channels:
        ours, beside_bare, beside_channels = asyncio.run(_fan_outs([web, bare, channels], events))
    with installation.product() as web:
        flood = asyncio.run(_flood(web))
        quiet, beside_stalled = asyncio.run(_stalled(web, 200 if is_quick else 1_000))
        resume = median(asyncio.run(_resume(web)) for _ in range(1 if is_quick else 5))
        healthy, ill_at_ease = asyncio.run(among_sick(web, 10 if is_quick else 1))
    return [
        Figure("one event to 300 sockets", "ms", ours, "bare ASGI loop", beside_bare, FAN_OUT_BESIDE_BARE),
        Figure("one event to 300 sockets", "ms", ours, "group_send", beside_channels, FAN_OUT_BESIDE_CHANNELS),
        Figure("500 events to 200 sockets", "deliveries/s", flood, target=FLOOD),
        Figure("p99 that a stalled socket costs 20 others", "ms", max(0.0, beside_stalled - quiet), target=STALLED),
        Figure("1 000 missed events", "ms", resume, target=RESUME),
        Figure("p99 of 300 among 200 sick", "ms", ill_at_ease, "without them", healthy, SICK),
    ]


def _plain() -> str:
    return "/api/v1/ws/alerts"


async def _fan_outs(servers: Sequence[Running], events: int) -> list[float]:
    """Milliseconds from XADD until the last of 300 has the event, median; for the product and its two peers, turn and turn about."""
    paths: list[Callable[[], str]] = [address, _plain, _plain]
    places = list(zip(servers, paths, (streams.ALERTS, "bench:bare", "bench:channels"), strict=True))
    took: list[list[float]] = [[] for _ in places]
    async with AsyncExitStack() as stack:
        joined = [await stack.enter_async_context(gathered(*place, peers=300)) for place in places]
        for _ in range(events + 10):
            for peers, (_, _, stream), seconds in zip(joined, places, took, strict=True):
                waiting = [peer.seen(peer.count + 1) for peer in peers]
                began = time.perf_counter()
                publish([next(NUMBERS)], stream=stream)
                seconds.append(max(await asyncio.wait_for(asyncio.gather(*waiting), EVERYTHING)) - began)
                await asyncio.sleep(0.02)
    return [median(seconds[10:]) * 1000 for seconds in took]


async def _flood(server: Running) -> float:
    """Deliveries a second."""
    async with gathered(server, address, streams.ALERTS, 200) as peers:
        waiting = [peer.seen(peer.count + 500) for peer in peers]
        began = time.perf_counter()
        publish([next(NUMBERS) for _ in range(500)])
        ended = max(await asyncio.wait_for(asyncio.gather(*waiting), EVERYTHING))
        return 200 * 500 / (ended - began)


async def _stalled(server: Running, events: int) -> tuple[float, float]:
    """The 99th percentile in milliseconds of 20 sockets, alone and beside one that reads no more."""
    figures = []
    for has_stalled in (False, True):
        clock = Clock()
        async with gathered(server, address, streams.ALERTS, 20, clock) as peers:
            stalled = await connect(server.port, address(), buffer=4_096) if has_stalled else None
            if stalled:
                stalled.transport.pause_reading()
            await pace(clock, peers, events, rate=250, padding="x" * 4_000)
            if stalled:
                stalled.die()
        clock.require_all_in_order()
        figures.append(quantile(clock.took, 0.99))
    return figures[0], figures[1]


async def _resume(server: Running) -> float:
    """Milliseconds from the connect to the last of 1 000 missed events."""
    first = publish([next(NUMBERS)])
    numbers = [next(NUMBERS) for _ in range(1_000)]
    await asyncio.to_thread(publish, numbers)
    path, seen = address(f"{first}_0-0"), []

    def note(payload: bytes, _now: float) -> None:
        frame = orjson.loads(payload)
        if frame["type"] != "hello":
            seen.append(frame["data"]["n"])

    began = time.perf_counter()
    peer = await connect(server.port, path, note)
    ended = await asyncio.wait_for(peer.seen(1_001), EVERYTHING)
    peer.transport.abort()
    assert seen == numbers, "lost, doubled or out of order"
    return (ended - began) * 1000


def _peers(application: str) -> AbstractContextManager[Running]:
    from django.conf import settings

    return serving(application, settings.REDIS_URL)
