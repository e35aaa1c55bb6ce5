"""Consumers of a Redis stream that do nothing with what they read: `python -m benchmarks.bare.consumers NAME COUNT` fills a stream, reads it, and
prints the messages handled a second. Ours is `aurora.bus.worker.Worker` with an empty handler; the others are what it stands beside."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import Any
from uuid import uuid4

import redis
import redis.asyncio

from benchmarks.bare.filling import DATA, fill

STREAM, GROUP, BATCH = "bench:consumed", "bench", 100


def ours(count: int) -> float:
    import django

    django.setup()
    from benchmarks.bare.effects import Empty

    fill(redis.Redis.from_url(_url()), STREAM, count)
    stop = threading.Event()
    worker = Empty(count, stop)
    worker.run(stop)
    return worker.rate


def bare(count: int) -> float:
    """redis-py, batches of 100, one XACK each."""
    client: Any = redis.Redis.from_url(_url())
    fill(client, STREAM, count)
    client.xgroup_create(STREAM, GROUP, id="0")
    seen, began = 0, time.perf_counter()
    while seen < count:
        ((_, entries),) = client.xreadgroup(GROUP, "c", {STREAM: ">"}, count=BATCH, block=1_000)
        client.xack(STREAM, GROUP, *(entry_id for entry_id, _ in entries))
        seen += len(entries)
    return count / (time.perf_counter() - began)


def bare_async(count: int) -> float:
    """The same with redis-py's asyncio client."""

    async def consume() -> float:
        client: Any = redis.asyncio.Redis.from_url(_url())
        await client.xgroup_create(STREAM, GROUP, id="0")
        seen, began = 0, time.perf_counter()
        while seen < count:
            ((_, entries),) = await client.xreadgroup(GROUP, "c", {STREAM: ">"}, count=BATCH, block=1_000)
            await client.xack(STREAM, GROUP, *(entry_id for entry_id, _ in entries))
            seen += len(entries)
        took = time.perf_counter() - began
        await client.aclose()
        return count / took

    fill(redis.Redis.from_url(_url()), STREAM, count)
    return asyncio.run(consume())


def faststream(count: int) -> float:
    from faststream.redis import RedisBroker, StreamSub

    async def consume() -> float:
        broker, meter = RedisBroker(_url()), _Meter(count)

        @broker.subscriber(stream=StreamSub(STREAM, group=GROUP, consumer="c", max_records=BATCH))
        async def handle(_body: dict[str, Any]) -> None:
            meter.count()

        async with broker:
            for _ in range(count):
                await broker.publish({"id": str(uuid4()), "data": DATA}, stream=STREAM)
            await redis.asyncio.Redis.from_url(_url()).xgroup_create(STREAM, GROUP, id="0")
            await broker.start()
            return await meter.rate()

    return asyncio.run(consume())


def taskiq(count: int) -> float:
    from taskiq.receiver import Receiver
    from taskiq_redis import RedisStreamBroker

    async def consume() -> float:
        broker, meter = RedisStreamBroker(_url(), queue_name=STREAM, consumer_group_name=GROUP), _Meter(count)

        @broker.task
        async def handle(_event_id: str, _data: str) -> None:
            meter.count()

        broker.is_worker_process = True
        await broker.startup()
        for _ in range(count):
            await handle.kiq(str(uuid4()), DATA)
        finish = asyncio.Event()
        listening = asyncio.create_task(Receiver(broker, max_async_tasks=BATCH).listen(finish))
        rate = await meter.rate()
        finish.set()
        listening.cancel()
        return rate

    return asyncio.run(consume())


class _Meter:
    """From the first message handled to the last."""

    def __init__(self, messages: int) -> None:
        self.left, self.messages = messages, messages
        self.began = self.ended = 0.0
        self.is_done = asyncio.Event()

    def count(self) -> None:
        self.began = self.began or time.perf_counter()
        self.left -= 1
        if not self.left:
            self.ended = time.perf_counter()
            self.is_done.set()

    async def rate(self) -> float:
        await self.is_done.wait()
        return self.messages / (self.ended - self.began)


def _url() -> str:
    return os.environ["BENCH_REDIS_URL"]


if __name__ == "__main__":
    name, count = sys.argv[1], int(sys.argv[2])
    redis.Redis.from_url(_url()).delete(STREAM)
    consume = {"ours": ours, "bare": bare, "bare_async": bare_async, "faststream": faststream, "taskiq": taskiq}[name]
    print(consume(count), flush=True)
    os._exit(0)  # what a framework has left running is of no interest
