# mypy: disable-error-code="no-untyped-call"
"""The sockets under a real uvicorn, with real peers that die, stall and misbehave."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator

import orjson
import pytest
import uvicorn
from prometheus_client import REGISTRY
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from aurora.bus import streams
from realtime import clients, protocol, tickets
from realtime.routing import application
from tests.cast import ANALYST
from tests.realtime.conftest import alerts, path, publish
from tests.waiting import until


class Served:
    """A uvicorn server in a thread."""

    def __init__(self) -> None:
        config = uvicorn.Config(
            application,
            port=0,
            lifespan="off",
            log_config=None,
            ws=protocol.WebSocketProtocol,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=5,
        )
        self.server = uvicorn.Server(config)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.thread.start()
        until(lambda: self.server.started)

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    async def open(self, **options) -> ClientConnection:
        ticket = await asyncio.to_thread(tickets.issue, actor=ANALYST)
        port = self.listener.getsockname()[1]
        peer = await connect(f"ws://127.0.0.1:{port}{path(ticket=ticket)}", compression=None, **options)
        assert orjson.loads(await peer.recv())["type"] == "hello"
        return peer

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)


@pytest.fixture
def served(redis_client) -> Iterator[Served]:
    server = Served()
    yield server
    server.stop()


async def numbers(peer: ClientConnection, count: int) -> list[int]:
    async with asyncio.timeout(30):
        return [orjson.loads(await peer.recv())["data"]["n"] for _ in range(count)]


def reset(peer: ClientConnection) -> None:
    """Dies without a word: a RST instead of a closing handshake."""
    raw = peer.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    peer.transport.abort()


async def test_fifty_clients_get_two_hundred_events_in_order_while_others_die(served, redis_client, caplog):
    healthy = [await served.open() for _ in range(50)]
    sick = [await served.open() for _ in range(10)]
    receiving = [asyncio.create_task(numbers(peer, 200)) for peer in healthy]
    for start in range(0, 200, 20):
        await asyncio.to_thread(alerts, redis_client, range(start, start + 20))
        reset(sick[start // 20])
    assert [await task for task in receiving] == [list(range(200))] * 50
    await asyncio.to_thread(until, lambda: served.connections == 50)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    for peer in healthy:
        await peer.close()


async def test_peers_that_die_are_counted_and_those_that_leave_are_not(served, redis_client):
    def gone() -> float:
        labels = {"channel": "alerts", "reason": "gone"}
        return REGISTRY.get_sample_value("aurora_ws_dropped_total", labels) or 0.0

    before = gone()
    for leave in (lambda peer: peer.close(), lambda peer: peer.close(1001), _close_without_a_code):
        await leave(await served.open())
    reset(await served.open())
    (await served.open(ping_interval=None)).transport.abort()
    await asyncio.to_thread(until, lambda: served.connections == 0 and gone() - before >= 2)
    assert gone() - before == 2


async def _close_without_a_code(peer: ClientConnection) -> None:
    """As a browser's `close()`."""
    peer.transport.write(bytes([0x88, 0x80, 0, 0, 0, 0]))
    await peer.wait_closed()


async def test_a_peer_that_reads_no_more_is_dropped_and_its_connection_ended(served, redis_client, monkeypatch):
    monkeypatch.setattr(clients, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.05)
    small = socket.create_connection(served.listener.getsockname())
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stalled = await served.open(sock=small, max_queue=1)
    healthy = [await served.open() for _ in range(5)]
    receiving = [asyncio.create_task(numbers(peer, 700)) for peer in healthy]
    for start in range(0, 700, 50):
        for number in range(start, start + 50):
            await asyncio.to_thread(
                publish, redis_client, streams.ALERTS, "alert.created", {"n": number, "x": "x" * 20_000}
            )
    assert [await task for task in receiving] == [list(range(700))] * 5
    await asyncio.to_thread(until, lambda: served.connections == 5)
    stalled.transport.abort()
    for peer in healthy:
        await peer.close()


async def test_a_ready_frame_is_what_the_server_would_have_made(served, redis_client):
    """Of every length that a frame's head has a form for, alone and in a crowd."""
    peer = await served.open()
    texts = ["", "é" * 60, "x" * 125, "x" * 126, "x" * 70_000]
    for text in texts:
        await asyncio.to_thread(publish, redis_client, streams.ALERTS, "alert.created", {"x": text})
        assert orjson.loads(await peer.recv())["data"] == {"x": text}
    with redis_client.pipeline() as pipeline:
        for text in texts:
            publish(pipeline, streams.ALERTS, "alert.created", {"x": text})
        await asyncio.to_thread(pipeline.execute)
    assert [orjson.loads(await peer.recv())["data"]["x"] for _ in texts] == texts
    await peer.close()


async def test_a_stopping_server_says_1012(served, redis_client):
    peer = await served.open()
    await asyncio.to_thread(served.stop)
    with pytest.raises(ConnectionClosed) as closed:
        await peer.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


async def test_a_refused_peer_sees_the_code(served, redis_client):
    async with connect(f"ws://127.0.0.1:{served.listener.getsockname()[1]}{path(ticket='used')}") as peer:
        with pytest.raises(ConnectionClosed) as closed:
            await peer.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "Invalid or expired ticket")


async def test_no_ticket_reaches_the_servers_log(served, redis_client, caplog):
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    peer = await served.open()
    await peer.close()
    accepted = [record.getMessage() for record in caplog.records if "accepted" in record.getMessage()]
    assert accepted
    assert all("ticket=***" in line for line in accepted)
