"""The bus, the limits, the breakers and the sockets on a Redis Cluster, and across a failover by Sentinel."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from django.core.cache import cache
from django.db import transaction

from aurora.bus import metrics, outbox, streams, trimming
from aurora.bus import redis as clients
from aurora.bus.groups import GroupConsumer
from aurora.bus.relay import Relay
from aurora.errors import Invalid
from aurora.models import DeadLetter, OutboxEvent
from aurora.resilience.breaker import BreakerSettings
from aurora.resilience.breaker_machine import Counts, Known, State
from aurora.resilience.breaker_store import BreakerStore
from aurora.resilience.ratelimit import Limiter, Policy
from realtime import broadcaster
from realtime.messages import CHANNELS
from tests.aurora.bus.scene import STREAM, Noting, announce, effects
from tests.aurora.bus.topologies import Node, cluster, watched_pair
from tests.cast import ANALYST
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def clustered(nodes: list[Node], settings: Any) -> list[Node]:
    for node in nodes:
        node.client.flushall()
    settings.REDIS_URL = f"redis+cluster://127.0.0.1:{nodes[1].port},127.0.0.1:{nodes[0].port}"
    return nodes


@pytest.fixture
def pair(tmp_path, settings):
    with watched_pair(tmp_path / "pair") as (master, replica, sentinel):
        settings.REDIS_URL = f"redis+sentinel://127.0.0.1:{sentinel.port}/aurora/0"
        yield master, replica


def test_the_bus_works_on_a_cluster(clustered, start):
    """Relay, worker, burial, trimming and figures; the events go to several streams in one step."""
    start(Relay())
    start(Noting(_fail_on_poison))
    good, poison = announce(), announce(poison=True)
    with transaction.atomic():
        outbox.announce(outbox.Event(streams.CASES, "case.updated", "case:1", {}))
    until(lambda: effects() == {str(good.id): 1} and DeadLetter.objects.filter(event_id=str(poison.id)).exists())
    until(lambda: not OutboxEvent.objects.exists())
    client: Any = clients.client()
    assert client.xlen("{aurora}:alerts") == 2
    assert client.xlen("{aurora}:cases") == client.xlen("{aurora}:dead_letter") == 1
    assert [standing.group for standing in metrics.group_standings()] == [Noting.group]
    assert trimming.trim_all() == dict.fromkeys(streams.STREAMS, 0)


def test_who_reads_on_is_done_with_what_it_names_on_a_cluster(clustered):
    commands: streams.Client = clients.client()
    for _ in range(2):
        commands.xadd(clients.key(streams.ALERTS), {"id": "e", "type": "t"})
    consumer = GroupConsumer(stream=streams.ALERTS, group="noting", claim_seconds=30.0)
    first = [entry.entry_id for entry in consumer.read(count=1, block_ms=1)]
    assert len(consumer.read(count=10, block_ms=1, done=first)) == 1
    assert commands.xpending(clients.key(streams.ALERTS), "noting")["pending"] == 1


def test_limits_breakers_and_the_cache_work_on_a_cluster(clustered):
    limiter = Limiter(clients.client(clients.Purpose.REQUEST))
    decisions = [limiter.hit(f"user:{number}", (Policy("a", 1, 60), Policy("b", 5, 60))) for number in (1, 1, 2, 3)]
    assert [(decision.allowed, decision.is_local) for decision in decisions] == [
        (True, False),
        (False, False),
        (True, False),
        (True, False),
    ]
    store = BreakerStore(clients.client(clients.Purpose.REQUEST))
    answer = store.ask("b", None, settings=BreakerSettings(), known=Known(0, State(), differs=False), counts=Counts())
    assert answer is not None
    cache.set("key", {"n": 1}, 60)
    assert cache.get("key") == {"n": 1}
    assert cache.incr("count", 1) if cache.add("count", 1, 60) else False


async def test_sockets_follow_and_resume_on_a_cluster(clustered):
    sent: asyncio.Queue[Any] = asyncio.Queue()

    async def text() -> str:
        async with asyncio.timeout(30):
            return str((await sent.get())["text"])

    first = await asyncio.to_thread(_add, 1)
    hub = broadcaster.current()
    client = await hub.join(CHANNELS["alerts"], actor=ANALYST, send=sent.put, last_event_id="0-0_0-0")
    client.start()
    assert '"type":"hello"' in await text()
    assert '"n":1' in await text()
    await asyncio.to_thread(_add, 2)
    assert '"n":2' in await text()
    again = await hub.join(CHANNELS["alerts"], actor=ANALYST, send=sent.put, last_event_id=f"{first}_0-0")
    again.start()
    assert '"type":"hello"' in await text()
    assert '"n":2' in await text()
    for one in (client, again):
        await one.leave()
    await hub.settle()


def test_a_cluster_that_is_away_is_an_outage_like_any_other(settings):
    settings.REDIS_URL = "redis+cluster://127.0.0.1:1"
    with pytest.raises(redis.ConnectionError):
        clients.client()


def test_after_a_failover_the_bus_goes_on_with_the_new_master(pair, start):
    master, replica = pair
    start(Relay())
    start(Noting())
    before = announce()
    until(lambda: effects() == {str(before.id): 1})
    until(lambda: replica.client.xlen(STREAM) == 1)
    master.kill()
    during = announce()
    until(lambda: replica.client.info("replication")["role"] == "master")
    until(lambda: str(during.id) in effects())
    assert effects() == {str(before.id): 1, str(during.id): 1}


def _fail_on_poison(message: streams.Message) -> None:
    if message.data.get("poison"):
        raise Invalid("poison")


def _add(number: int) -> str:
    client: Any = clients.client()
    fields = {"id": "e", "type": "alert.created", "data": f'{{"n":{number}}}'}
    added: bytes = client.xadd(clients.key(STREAM), fields)
    return added.decode()
