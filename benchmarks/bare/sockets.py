# mypy: disable-error-code="no-untyped-call"
"""What our fan-out is measured beside: a bare ASGI loop that sends a ready string, and Channels' `group_send` over its Redis pub/sub layer.

Both read a Redis stream as the product does, so that an event's way begins at the same place for all three.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio
from django.conf import settings

if not settings.configured:
    settings.configure(
        INSTALLED_APPS=["channels"],
        CHANNEL_LAYERS={
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                # redis-py 8 gives up an idle subscription after five seconds by itself.
                "CONFIG": {"hosts": [{"address": os.environ["BENCH_REDIS_URL"], "socket_timeout": None}]},
            }
        },
    )

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

Send = Callable[[dict[str, Any]], Awaitable[None]]

_sends: dict[int, Send] = {}
_readers: dict[str, asyncio.Task[None]] = {}


async def bare(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """Sends each event to every socket, one after the other; knows no queue, no permission and no failure."""
    if scope["type"] != "websocket":
        await _answer(send)
        return
    _read_once("bench:bare", _send_to_all)
    await receive()
    await send({"type": "websocket.accept"})
    _sends[id(send)] = send
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        _sends.pop(id(send))


async def channels(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """Channels as its documentation shows it: a consumer in a group, an event through `group_send`."""
    if scope["type"] != "websocket":
        await _answer(send)
        return
    _read_once("bench:channels", _group_send)
    await _consumer(scope, receive, send)


class Member(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.channel_layer.group_add("alerts", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("alerts", self.channel_name)

    async def event(self, message: dict[str, Any]) -> None:
        await self.send(text_data=message["text"])


_consumer: Any = Member.as_asgi()


async def _send_to_all(text: str) -> None:
    message = {"type": "websocket.send", "text": text}
    for send in tuple(_sends.values()):
        await send(message)


async def _group_send(text: str) -> None:
    layer: Any = get_channel_layer()
    await layer.group_send("alerts", {"type": "event", "text": text})


def _read_once(stream: str, publish: Callable[[str], Awaitable[None]]) -> None:
    if stream not in _readers:
        _readers[stream] = asyncio.create_task(_read(stream, publish))


async def _read(stream: str, publish: Callable[[str], Awaitable[None]]) -> None:
    client = redis.asyncio.Redis.from_url(os.environ["BENCH_REDIS_URL"], socket_timeout=30)
    last: Any = "$"
    while True:
        answer: Any = await client.xread({stream: last}, block=2000, count=500)
        pages = answer.values() if isinstance(answer, dict) else [page for _, page in answer]
        for page in pages:
            for last, fields in page[0] if page and isinstance(page[0], list) else page:
                await publish(
                    f'{{"type":"alert.created","id":"{last.decode()}_0-0","data":{fields[b"data"].decode()}}}'
                )


async def _answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
