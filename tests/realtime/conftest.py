# mypy: disable-error-code="no-untyped-call"
"""Sockets for the tests: opened through the real routing, signed in by ticket, closed and checked for leftovers at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
import redis
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator

from aurora.actors import Actor
from aurora.bus import streams
from aurora.embedded.servers import Redis
from realtime import broadcaster, tickets
from realtime.routing import application
from tests.cast import ANALYST

Frames = list[dict[str, Any]]
Open = Callable[..., Awaitable["Socket"]]


def publish(client: redis.Redis, stream: str, kind: str, data: Any = None, *, entry_id: str = "*") -> str:
    """Adds an event to a stream as the relay does. Text as `data` is taken as it is."""
    text = data if isinstance(data, str) else orjson.dumps(data or {}).decode()
    fields = {"id": "e1", "type": kind, "timestamp": "2026-11-20T08:00:00Z", "data": text}
    added: Any = client.xadd(stream, fields, id=entry_id)  # type: ignore[arg-type]
    return added.decode() if isinstance(added, bytes) else ""  # a pipeline tells later


def alerts(client: redis.Redis, numbers: range) -> list[str]:
    return [publish(client, streams.ALERTS, "alert.created", {"n": number}) for number in numbers]


class Socket(WebsocketCommunicator):
    """A socket on a channel, as a client sees it."""

    # Channels' own versions keep database connections from being closed, which suits tests in one transaction; ours outlive the test database.
    send_input = ApplicationCommunicator.send_input
    receive_output = ApplicationCommunicator.receive_output

    async def frame(self) -> dict[str, Any]:
        return dict(orjson.loads(await self.receive_from(timeout=30)))

    async def frames(self, count: int) -> Frames:
        return [await self.frame() for _ in range(count)]

    async def close_code(self) -> int:
        """The code with which the server ends the socket; frames before it are passed over."""
        while True:
            message = await self.receive_output(timeout=30)
            if message["type"] == "websocket.close":
                return int(message["code"])


def path(channel: str = "alerts", **query: str) -> str:
    return f"/api/v1/ws/{channel}?" + "&".join(f"{name}={value}" for name, value in query.items())


@pytest.fixture
async def opened(redis_client: redis.Redis) -> AsyncIterator[Open]:
    """Opens a socket as some actor: `await opened("alerts", ANALYST, last_event_id=…)`; `hello` is still to be read."""
    sockets: list[Socket] = []

    async def open_socket(channel: str = "alerts", actor: Actor = ANALYST, **query: str) -> Socket:
        ticket = await asyncio.to_thread(tickets.issue, actor=actor)
        socket = Socket(application, path(channel, ticket=ticket, **query))
        sockets.append(socket)
        is_accepted, _ = await socket.connect(timeout=30)
        assert is_accepted
        return socket

    yield open_socket
    for socket in sockets:
        if not socket.future.done():
            await socket.disconnect(timeout=30)
    assert asyncio.get_running_loop() not in broadcaster._broadcasters
    assert {task.get_name() for task in asyncio.all_tasks()} & {
        "ws-reader",
        "ws-watch",
        "ws-writer",
        "ws-closer",
        "ws-control",
    } == set()


def client_of(server: Redis) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(server.socket), socket_timeout=30)
