# mypy: disable-error-code="no-untyped-call"
"""Redis goes away, comes back, comes back empty: the sockets stay, and say so when something was lost."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from aurora.actors import Actor
from aurora.bus import control, streams
from aurora.bus import redis as clients
from realtime import broadcaster
from realtime.messages import CHANNELS
from tests.cast import ANALYST
from tests.realtime.conftest import alerts, client_of, publish


class Peer:
    """A client joined to the broadcaster directly: what it is sent lands in a queue."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Any] = asyncio.Queue()

    async def join(self, channel: str = "alerts", actor: Actor = ANALYST, last_event_id: str = "") -> Peer:
        self.broadcaster = broadcaster.current()
        self.client = await self.broadcaster.join(
            CHANNELS[channel], actor=actor, send=self.sent.put, last_event_id=last_event_id
        )
        self.client.start()
        return self

    async def text(self) -> str:
        async with asyncio.timeout(10):
            return str((await self.sent.get())["text"])

    async def leave(self) -> None:
        await self.client.leave()
        await self.broadcaster.settle()


@pytest.fixture
async def peers():
    joined: list[Peer] = []

    async def join(*args, **kwargs) -> Peer:
        joined.append(await Peer().join(*args, **kwargs))
        return joined[-1]

    yield join
    for peer in joined:
        await peer.leave()


async def stop(server) -> None:
    await asyncio.to_thread(server.stop)


async def start(server) -> None:
    await asyncio.to_thread(server.start)


async def test_after_an_outage_clients_catch_up_by_themselves(own_redis, peers):
    peer = await peers()
    await peer.text()
    alerts(client_of(own_redis), range(1))
    assert '"n":0' in await peer.text()
    await stop(own_redis)
    await start(own_redis)
    alerts(client_of(own_redis), range(1, 4))
    assert [number in await peer.text() for number in ('"n":1', '"n":2', '"n":3')] == [True] * 3


async def test_who_watches_the_system_is_told_that_redis_is_away_and_back(own_redis, peers):
    peer = await peers("system")
    await peer.text()
    await stop(own_redis)
    assert '"data":{"is_bus_available":false}' in await peer.text()
    await start(own_redis)
    assert '"data":{"is_bus_available":true}' in await peer.text()


async def test_who_begins_to_watch_the_system_meanwhile_is_told_as_well(own_redis, peers):
    watching = await peers("system")
    await watching.text()
    await stop(own_redis)
    assert "is_bus_available" in await watching.text()
    late = await peers("system")
    assert '"type":"hello"' in await late.text()
    assert '"data":{"is_bus_available":false}' in await late.text()


async def test_after_an_outage_everybody_is_asked_again_for_a_word_may_have_been_missed(own_redis, peers):
    peer = await peers()
    await peer.text()
    assert not peer.client.doubted.is_set()
    await stop(own_redis)
    await start(own_redis)
    async with asyncio.timeout(30):
        await peer.client.doubted.wait()


async def test_words_of_other_processes_are_heard_again_after_an_outage(own_redis, peers):
    peer = await peers("system")
    await peer.text()
    await stop(own_redis)
    await start(own_redis)
    heard = ""
    async with asyncio.timeout(60):
        while '"name":"again"' not in heard:
            await asyncio.to_thread(control.show, "breaker.changed", {"name": "again"})
            while peer.sent.qsize():
                heard += await peer.text()
            await asyncio.sleep(0.05)


async def test_redis_restarted_empty_gives_a_gap_and_goes_on(own_redis, peers):
    peer = await peers()
    alerts(client_of(own_redis), range(3))
    for _ in range(4):
        await peer.text()
    await stop(own_redis)
    (own_redis.directory / "appendonly.aof").unlink()
    await start(own_redis)
    gap = await peer.text()
    assert '"type":"gap"' in gap
    assert '"id":"0-0_0-0"' in gap
    publish(client_of(own_redis), streams.ALERTS, "alert.created", {"n": 9}, entry_id="5-0")
    assert '"n":9' in await peer.text()


async def test_a_lost_stream_is_noticed_without_a_broken_connection(own_redis, peers, monkeypatch):
    monkeypatch.setattr(clients, "BLOCK_MS", 20)
    peer, other = await peers(), await peers("system")
    alerts(client_of(own_redis), range(1))
    for _ in range(2):
        await peer.text()
    client_of(own_redis).flushall()
    assert '"type":"gap"' in await peer.text()
    publish(client_of(own_redis), streams.SYSTEM, "mode.changed", {"n": 1})
    assert '"type":"hello"' in await other.text()
    assert '"type":"mode.changed"' in await other.text()


async def test_a_lost_stream_is_noticed_while_another_is_never_quiet(own_redis, peers, monkeypatch):
    monkeypatch.setattr(clients, "BLOCK_MS", 500)
    client, peer = client_of(own_redis), await peers()
    await peer.text()
    publish(client, streams.CASES, "case.updated")
    assert "case.updated" in await peer.text()
    client.flushall()
    async with asyncio.timeout(30):
        alerts(client, range(1))
        while '"type":"gap"' not in await peer.text():
            alerts(client, range(1))  # the next is there before the reader blocks for as long as it may


async def test_a_lost_stream_is_noticed_though_it_was_written_to_at_once(own_redis, peers, monkeypatch):
    monkeypatch.setattr(clients, "BLOCK_MS", 500)
    client, peer = client_of(own_redis), await peers()
    await peer.text()
    add = partial(publish, client, streams.ALERTS, "alert.created")
    add({"n": 0}, entry_id="5-0")
    assert '"n":0' in await peer.text()
    client.flushall()
    add({"n": 1}, entry_id="6-0")
    # Which of the two comes first hangs on when the reader last made certain.
    told = sorted([await peer.text(), await peer.text()], key=lambda text: '"type":"gap"' in text)
    assert ['"n":1' in told[0], '"type":"gap"' in told[1]] == [True, True]
    add({"n": 2}, entry_id="7-0")
    assert '"n":2' in await peer.text()


async def test_a_client_may_join_while_redis_is_away_and_is_told_when_it_is_back(own_redis, peers):
    await stop(own_redis)
    new, resumed = await peers(), await peers(last_event_id="5-0_0-0")
    assert '"id":""' in await new.text()
    await resumed.text()
    await start(own_redis)
    for peer in (new, resumed):
        assert '"reason":"unavailable"' in await peer.text()
    alerts(client_of(own_redis), range(1))
    assert '"n":0' in await new.text()


async def test_an_id_from_before_redis_lost_everything_gives_a_gap(own_redis, peers):
    ids = alerts(client_of(own_redis), range(2))
    client_of(own_redis).flushall()
    peer = await peers(last_event_id=f"{ids[0]}_0-0")
    await peer.text()
    assert '"type":"gap"' in await peer.text()


async def test_a_resume_from_the_ring_works_while_redis_is_away(own_redis, peers):
    peer = await peers()
    await peer.text()
    ids = alerts(client_of(own_redis), range(3))
    for _ in range(3):
        await peer.text()
    await stop(own_redis)
    resumed = await peers(last_event_id=f"{ids[0]}_0-0")
    assert ['"hello"' in await resumed.text(), '"n":1' in await resumed.text(), '"n":2' in await resumed.text()] == [
        True
    ] * 3


async def test_the_reader_ends_with_the_last_client_and_starts_again_with_the_next(own_redis, peers):
    peer = await peers()
    first = broadcaster.current()
    await peer.leave()
    assert asyncio.get_running_loop() not in broadcaster._broadcasters
    await peers()
    assert broadcaster.current() is not first


async def test_a_peer_that_takes_no_frame_in_time_is_dropped_by_the_watch(redis_client, monkeypatch):
    monkeypatch.setattr(broadcaster, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr("realtime.clients.SEND_SECONDS", 0.02)
    monkeypatch.setattr("realtime.clients.CLOSE_SECONDS", 0.02)

    async def send(_message: Any) -> None:
        await asyncio.Event().wait()

    client = await broadcaster.current().join(CHANNELS["alerts"], actor=ANALYST, send=send)
    reader = broadcaster.current()
    client.start()
    async with asyncio.timeout(5):
        await client.ended.wait()
    await client.leave()
    await reader.settle()
