# mypy: disable-error-code="no-untyped-call"
"""Coming back with `last_event_id`: everything missed, once, in order; or a `gap` that says why not."""

from __future__ import annotations

import asyncio

import pytest

from aurora.bus import streams
from realtime import feed, history
from tests.cast import OPERATOR
from tests.realtime.conftest import alerts, publish


def numbers(frames):
    return [frame["data"]["n"] for frame in frames]


async def test_what_was_missed_comes_from_the_ring_while_others_stay(opened, redis_client):
    await (await opened()).frame()
    ids = alerts(redis_client, range(5))
    hello, *frames = await (await opened(last_event_id=f"{ids[1]}_0-0")).frames(4)
    assert (hello["id"], numbers(frames)) == (f"{ids[1]}_0-0", [2, 3, 4])


async def test_what_was_missed_comes_from_the_streams_when_nobody_stayed(opened, redis_client):
    ids = alerts(redis_client, range(5))
    frames = await (await opened(last_event_id=f"{ids[1]}_0-0")).frames(4)
    assert numbers(frames[1:]) == [2, 3, 4]


async def test_a_thousand_missed_events_come_once_and_in_order(opened, redis_client):
    ids = alerts(redis_client, range(1_001))
    frames = await (await opened(last_event_id=f"{ids[0]}_0-0")).frames(1_001)
    assert numbers(frames[1:]) == list(range(1, 1_001))


async def test_resuming_from_the_hello_of_an_empty_channel_loses_nothing(opened, redis_client):
    socket = await opened()
    start = (await socket.frame())["id"]
    await socket.disconnect()
    alerts(redis_client, range(3))
    assert numbers((await (await opened(last_event_id=start)).frames(4))[1:]) == [0, 1, 2]


async def test_replay_follows_the_ids_across_streams_and_every_frame_can_be_resumed_from(opened, redis_client):
    start = publish(redis_client, streams.ALERTS, "alert.created", entry_id="1000-0")
    for stream, kind, entry_id, number in [
        (streams.CASES, "case.updated", "1001-0", 1),
        (streams.ALERTS, "alert.updated", "1002-0", 2),
        (streams.CASES, "case.updated", "1003-0", 3),
    ]:
        publish(redis_client, stream, kind, {"n": number}, entry_id=entry_id)
    socket = await opened(last_event_id=f"{start}_0-0")
    frames = (await socket.frames(4))[1:]
    assert numbers(frames) == [1, 2, 3]
    assert [frame["id"] for frame in frames] == ["1000-0_1001-0", "1002-0_1001-0", "1002-0_1003-0"]
    again = await opened(last_event_id=frames[1]["id"])
    assert numbers((await again.frames(2))[1:]) == [3]


async def test_a_replay_is_filtered_by_permission_like_the_live_channel(opened, redis_client):
    start = publish(redis_client, streams.SYSTEM, "mode.changed")
    publish(redis_client, streams.SYSTEM, "approval.requested")
    publish(redis_client, streams.SYSTEM, "breaker.changed")
    frames = await (await opened("system", OPERATOR, last_event_id=start)).frames(2)
    assert [frame["type"] for frame in frames] == ["hello", "breaker.changed"]


async def test_replay_goes_over_into_live_without_gap_or_double(opened, redis_client):
    """Clients join all the time while events arrive; each must see an unbroken run from where it stood."""
    first = alerts(redis_client, range(1))[0]

    async def publishing():
        for start in range(1, 601, 20):
            await asyncio.to_thread(alerts, redis_client, range(start, start + 20))

    async def joining():
        sockets = []
        while not publisher.done():
            sockets.append(await opened(last_event_id=f"{first}_0-0"))
        return sockets

    publisher = asyncio.create_task(publishing())
    sockets = await joining()
    await publisher
    assert len(sockets) > 3
    for socket in sockets:
        assert numbers((await socket.frames(601))[1:]) == list(range(1, 601))


async def test_the_ring_hands_over_to_the_streams_when_it_was_outrun(opened, redis_client, monkeypatch):
    monkeypatch.setattr(feed, "RING_FRAMES", 3)
    stayed = await opened()
    ids = alerts(redis_client, range(10))
    await stayed.frames(11)
    frames = await (await opened(last_event_id=f"{ids[0]}_0-0")).frames(10)
    assert numbers(frames[1:]) == list(range(1, 10))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "5",
        "-",
        "1-1",
        "1-1_1-1_1-1",
        "1-1_",
        "1-x_0-0",
        "99999999999999999999-0_0-0",
        "1_1",
        "%00",
        "١-0_0-0",
        "1-0_0-0%0A",
    ],
)
async def test_an_id_that_is_none_of_ours_gives_a_gap(opened, redis_client, text):
    await_first = await (await opened(last_event_id=text)).frames(2)
    assert [(frame["type"], frame["data"].get("reason")) for frame in await_first] == [
        ("hello", None),
        ("gap", "malformed"),
    ]


async def test_trimmed_history_gives_a_gap_and_then_goes_on_live(opened, redis_client):
    ids = alerts(redis_client, range(5))
    redis_client.xtrim(streams.ALERTS, maxlen=2, approximate=False)
    socket = await opened(last_event_id=f"{ids[0]}_0-0")
    frames = await socket.frames(2)
    assert (frames[1]["type"], frames[1]["data"]["reason"], frames[1]["id"]) == ("gap", "trimmed", f"{ids[4]}_0-0")
    alerts(redis_client, range(5, 6))
    assert (await socket.frame())["data"] == {"n": 5}


async def test_too_much_to_replay_gives_a_gap(opened, redis_client, monkeypatch):
    monkeypatch.setattr(history, "REPLAY_LIMIT", 10)
    ids = alerts(redis_client, range(12))
    frames = await (await opened(last_event_id=f"{ids[0]}_0-0")).frames(2)
    assert (frames[1]["type"], frames[1]["data"]["reason"]) == ("gap", "too_far")


async def test_exactly_as_much_as_a_replay_holds_is_replayed(opened, redis_client, monkeypatch):
    monkeypatch.setattr(history, "REPLAY_LIMIT", 10)
    ids = alerts(redis_client, range(11))
    frames = await (await opened(last_event_id=f"{ids[0]}_0-0")).frames(11)
    assert numbers(frames[1:]) == list(range(1, 11))
