# mypy: disable-error-code="no-untyped-call"
"""A client that fails, stalls or lags is dropped alone; joins and leaves disturb nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from prometheus_client import REGISTRY

from realtime import clients
from realtime.broadcaster import Broadcaster
from realtime.clients import Client
from realtime.feed import Feed
from realtime.messages import CHANNELS, Frame, Gap, hello
from realtime.positions import START

ALERTS = CHANNELS["alerts"]


class Transport:
    """The sending half of a socket. `is_stuck` never takes a frame; `error` is raised by every send."""

    def __init__(self, *, is_stuck: bool = False, error: Exception | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.taken = asyncio.Event()
        self.is_stuck, self.error = is_stuck, error

    async def send(self, message) -> None:
        self.taken.set()
        if self.error:
            raise self.error
        if self.is_stuck and message["type"] == "websocket.send":
            await asyncio.Event().wait()
        self.messages.append(message)


@pytest.fixture
def feed() -> Feed:
    live = Feed(ALERTS)
    live.begin((START, START), Gap.UNAVAILABLE)
    return live


@pytest.fixture
async def join(feed):
    joined: list[Client] = []

    def admit(transport: Transport) -> Client:
        client = Client("alerts", transport.send, frozenset(ALERTS.types), feed.clients.discard)
        joined.append(client)
        feed.admit(client, [])
        client.start()
        return client

    yield admit
    for client in joined:
        await client.leave()


def frame(number: int) -> Frame:
    return Frame("alert.created", 0, (number, 0), f'{{"n":{number}}}')


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("aurora_ws_dropped_total", {"channel": "alerts", "reason": reason}) or 0.0


async def settled() -> None:
    """Until every task that can run has run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_clients_are_sent_the_very_same_encoding(feed, join):
    transports = [Transport() for _ in range(3)]
    for transport in transports:
        join(transport)
    feed.publish(frame(1))
    await settled()
    first, *others = [transport.messages[0]["text"] for transport in transports]
    assert all(other is first for other in others)


async def test_a_full_queue_drops_that_client_with_4008_and_no_other(feed, join, monkeypatch):
    monkeypatch.setattr(clients, "QUEUE_FRAMES", 10)
    healthy, stuck, before = Transport(), Transport(is_stuck=True), dropped("slow")
    join(healthy)
    slow = join(stuck)
    await settled()
    for number in range(10, 22):
        feed.publish(frame(number))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await slow.ended.wait()
    assert [message["code"] for message in stuck.messages] == [4008]
    assert dropped("slow") == before + 1
    await settled()
    assert len(healthy.messages) == 12


async def test_the_queue_holds_256_frames(feed, join):
    client = join(Transport(is_stuck=True))
    await settled()
    feed.publish(frame(1))
    await settled()  # this one is with the transport
    for number in range(2, 258):
        feed.publish(frame(number))
    assert client in feed.clients
    feed.publish(frame(258))
    assert client not in feed.clients


async def test_a_replay_does_not_count_against_the_queue(feed):
    client, _gate = join_gated(feed)
    client.replay(frame(number).message(((number, 0), START)) for number in range(1, 5_001))
    client.start()
    feed.publish(frame(5_001))
    await settled()
    assert client in feed.clients
    await client.leave()


async def test_what_was_taken_does_not_count_against_the_queue(feed, join, monkeypatch):
    monkeypatch.setattr(clients, "QUEUE_FRAMES", 2)
    transport = Transport()
    join(transport)
    for number in range(1, 101):
        feed.publish(frame(number))
        await settled()
    assert len(transport.messages) == 100


@pytest.mark.parametrize("error", [ConnectionResetError(), RuntimeError("after websocket.close"), TimeoutError()])
async def test_a_send_error_drops_that_client_silently(feed, join, error, caplog):
    healthy, broken = Transport(), join(Transport(error=error))
    join(healthy)
    feed.publish(frame(1))
    async with asyncio.timeout(5):
        await broken.ended.wait()
    assert broken not in feed.clients
    feed.publish(frame(2))
    await settled()
    assert len(healthy.messages) == 2
    assert caplog.records == []


async def test_a_send_that_takes_too_long_drops_the_client(feed, join):
    stuck, before = Transport(is_stuck=True), dropped("stalled")
    client = join(stuck)
    feed.publish(frame(1))
    await stuck.taken.wait()
    now = asyncio.get_running_loop().time()
    client.inspect(now)
    assert client in feed.clients
    client.inspect(now + clients.SEND_SECONDS + 1)
    assert client not in feed.clients
    assert dropped("stalled") == before + 1


def join_gated(feed, **options) -> tuple[Client, asyncio.Semaphore]:
    """A client, not started yet, whose socket takes a frame for each release of the semaphore. Its times are the test's own."""
    gate = asyncio.Semaphore(0)

    async def send(message) -> None:
        if message["type"] == "websocket.send":
            await gate.acquire()

    client = Client("alerts", send, frozenset(ALERTS.types), feed.clients.discard, **options)
    feed.admit(client, [])
    return client, gate


async def test_a_frame_that_comes_alone_is_written_at_once(feed):
    written: list[bytes] = []

    def write(ready: bytes) -> bool:
        written.append(ready)
        return True

    client, _gate = join_gated(feed, write_now=write)
    client.start()
    await settled()
    feed.publish(frame(1), is_alone=True)
    assert written == [frame(1).message(((1, 0), START))["frame"]]
    await client.leave()


async def test_a_frame_is_never_written_before_those_that_wait(feed):
    written: list[bytes] = []

    def write(ready: bytes) -> bool:
        written.append(ready)
        return True

    transport = Transport()
    client = Client("alerts", transport.send, frozenset(ALERTS.types), feed.clients.discard, write)
    feed.admit(client, [])
    client.start()
    await settled()
    feed.publish(frame(1))
    feed.publish(frame(2), is_alone=True)
    await settled()
    assert written == []
    assert len(transport.messages) == 2
    await client.leave()


async def test_a_frame_of_the_present_state_leads_no_id_back(feed):
    transport = Transport()
    client = Client("alerts", transport.send, frozenset({"alert.created"}), feed.clients.discard)
    reached = ((9, 0), (9, 0))
    feed.resume(client, hello(ALERTS, reached), [], reached, reached)
    client.start()
    feed.show("alert.created", {"n": 1})
    feed.show("alert.updated", {"n": 2})
    await settled()
    [_, shown] = transport.messages
    assert '"id":"9-0_9-0"' in shown["text"]
    await client.leave()


async def test_an_idle_client_is_never_dropped(feed, join):
    client = join(Transport())
    feed.publish(frame(1))
    await settled()
    now = asyncio.get_running_loop().time()
    for seconds in (0, 500, 1_000):
        client.inspect(now + seconds)
    assert client in feed.clients


async def test_a_dropped_client_that_takes_no_close_frame_ends_all_the_same(feed, join, monkeypatch):
    monkeypatch.setattr(clients, "CLOSE_SECONDS", 0.01)

    class Wall(Transport):
        async def send(self, message) -> None:
            await asyncio.Event().wait()

    client = join(Wall())
    client.drop("slow", code=4008)
    async with asyncio.timeout(5):
        await client.ended.wait()


async def test_a_client_dropped_before_it_was_accepted_says_farewell_only_then():
    transport = Transport()
    client = Client("alerts", transport.send, frozenset(), lambda _client: None)
    client.drop("slow", code=4008)
    await settled()
    assert transport.messages == []
    client.start()
    async with asyncio.timeout(5):
        await client.ended.wait()
    assert transport.messages[0]["code"] == 4008
    await client.leave()


async def test_joins_and_leaves_during_a_broadcast_disturb_nobody(feed, join):
    """A send error and a full queue take clients out in the middle of `publish`; newcomers come between two frames."""
    healthy = [Transport() for _ in range(5)]
    for transport in healthy:
        join(transport)
    for number in range(1, 1_001):
        passer_by = join(Transport(error=OSError()) if number % 2 else Transport(is_stuck=True))
        feed.publish(frame(number))
        if number % 3 == 0:
            passer_by.drop("gone")
        await asyncio.sleep(0)
    await settled()
    for transport in healthy:
        assert [message["text"] for message in transport.messages] == [
            frame(number).message(((number, 0), START))["text"] for number in range(1, 1_001)
        ]


async def test_a_client_that_leaves_twice_leaves_once(feed, join):
    client, before = join(Transport()), dropped("gone")
    await client.leave()
    client.drop("gone")
    await client.leave()
    assert dropped("gone") == before


async def test_frames_sent_are_counted(feed, join):
    def sent() -> float:
        return REGISTRY.get_sample_value("aurora_ws_frames_sent_total", {"channel": "alerts"}) or 0.0

    client, before = join(Transport()), sent()
    for number in range(1, 4):
        feed.publish(frame(number))
    await settled()
    await client.leave()
    assert sent() == before + 3


async def test_a_client_ahead_of_this_process_gets_nothing_twice_and_no_id_leads_it_back(feed):
    """Another process has shown it entries of both streams that this one has not read yet."""
    transport = Transport()
    client = Client("alerts", transport.send, frozenset(ALERTS.types), feed.clients.discard)
    reached = ((3, 0), (7, 0))
    feed.resume(client, hello(ALERTS, reached), [], reached, reached)
    client.start()
    for number in range(1, 5):
        feed.publish(frame(number))
    feed.pass_over(1, (7, 0))
    feed.publish(frame(5))
    await settled()
    assert [message["text"] for message in transport.messages[1:]] == [
        frame(4).message(((4, 0), (7, 0)))["text"],
        frame(5).message(((5, 0), (7, 0)))["text"],
    ]
    await client.leave()


async def test_no_greeting_leads_such_a_client_back(feed, redis_client, monkeypatch):
    client = Client("alerts", Transport().send, frozenset(ALERTS.types), feed.clients.discard)
    reached = ((3, 0), (7, 0))
    feed.resume(client, hello(ALERTS, reached), [], reached, reached)
    offered: list[Any] = []
    monkeypatch.setattr(client, "offer", lambda message: offered.append(json.loads(message["text"])["id"]))
    greeter = Broadcaster(asyncio.get_running_loop())
    monkeypatch.setitem(greeter._feeds, "alerts", feed)
    for number in range(1, 5):
        feed.publish(frame(number))
    greeter.greet(client)
    feed.pass_over(1, (7, 0))
    feed.publish(frame(5))
    greeter.greet(client)
    assert offered == ["4-0_7-0", "4-0_7-0", "5-0_7-0", "5-0_7-0"]
    await client.leave()
