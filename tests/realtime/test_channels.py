# mypy: disable-error-code="no-untyped-call"
"""What a client of each channel sees."""

from __future__ import annotations

import pytest

from aurora.bus import streams
from realtime.messages import CHANNELS
from tests.cast import ANALYST, OPERATOR, VIEWER
from tests.realtime.conftest import publish


async def test_hello_comes_first_with_channel_time_and_position(opened, redis_client):
    entry_id = publish(redis_client, streams.SYSTEM, "mode.changed")
    hello = await (await opened("system")).frame()
    assert (hello["type"], hello["id"], hello["data"]["channel"]) == ("hello", entry_id, "system")
    assert hello["data"]["server_time"].endswith("Z")


async def test_who_asks_for_a_hello_gets_one_behind_what_came_before(opened, redis_client):
    socket = await opened()
    first = await socket.frame()
    entry_id = publish(redis_client, streams.ALERTS, "alert.created", {"n": 1})
    assert (await socket.frame())["type"] == "alert.created"
    await socket.send_to(text_data='{"type": "hello"}')
    again = await socket.frame()
    assert (again["type"], again["id"], again["data"]["channel"]) == ("hello", f"{entry_id}_0-0", "alerts")
    assert again["data"].keys() == first["data"].keys()


async def test_a_new_client_gets_only_what_comes(opened, redis_client):
    publish(redis_client, streams.ALERTS, "alert.created", {"n": 1})
    socket = await opened()
    publish(redis_client, streams.ALERTS, "alert.created", {"n": 2})
    assert [frame["data"] for frame in (await socket.frames(2))[1:]] == [{"n": 2}]


@pytest.mark.parametrize(
    ("channel", "stream", "kind"),
    [
        (name, channel.streams[0], kind)
        for name, channel in CHANNELS.items()
        for kind in channel.types
        if kind != "case.updated"
    ]
    + [("alerts", streams.CASES, "case.updated")],
)
async def test_each_channel_shows_its_events(opened, redis_client, channel, stream, kind):
    socket = await opened(channel)
    await socket.frame()
    publish(redis_client, stream, kind, {"seen": True})
    frame = await socket.frame()
    assert (frame["type"], frame["data"]) == (kind, {"seen": True})


async def test_events_of_other_types_are_not_sent(opened, redis_client):
    socket = await opened()
    await socket.frame()
    publish(redis_client, streams.ALERTS, "alert.secret")
    publish(redis_client, streams.ALERTS, "alert.updated")
    assert (await socket.frame())["type"] == "alert.updated"


async def test_an_event_put_back_for_one_group_is_not_sent_again(opened, redis_client):
    socket = await opened()
    await socket.frame()
    redriven = {"id": "1", "type": "alert.created", "data": '{"n": 1}', "addressee": "orchestrator"}
    redis_client.xadd(streams.ALERTS, redriven)
    publish(redis_client, streams.ALERTS, "alert.created", {"n": 2})
    assert (await socket.frame())["data"] == {"n": 2}


async def test_the_id_of_a_frame_covers_every_stream_of_its_channel(opened, redis_client):
    socket = await opened()
    await socket.frame()
    alert = publish(redis_client, streams.ALERTS, "alert.created")
    assert (await socket.frame())["id"] == f"{alert}_0-0"
    case = publish(redis_client, streams.CASES, "case.updated")
    assert (await socket.frame())["id"] == f"{alert}_{case}"


async def test_a_client_sees_only_what_the_api_would_show_it(opened, redis_client):
    operator, viewer = await opened("system", OPERATOR), await opened("system", VIEWER)
    publish(redis_client, streams.SYSTEM, "approval.requested")
    publish(redis_client, streams.SYSTEM, "breaker.changed")
    assert [frame["type"] for frame in await operator.frames(2)] == ["hello", "breaker.changed"]
    assert [frame["type"] for frame in await viewer.frames(3)] == ["hello", "approval.requested", "breaker.changed"]


@pytest.mark.parametrize("data", ["[" * 300 + "]" * 300, '{"deep":' + "[" * 300 + "]" * 300 + "}", "no json", "7", ""])
async def test_an_entry_that_cannot_be_encoded_drops_nobody(opened, redis_client, data):
    sockets = [await opened() for _ in range(3)]
    publish(redis_client, streams.ALERTS, "alert.created", data or "\x00")
    publish(redis_client, streams.ALERTS, "alert.created", {"n": 2})
    for socket in sockets:
        assert (await socket.frames(2))[1]["data"] == {"n": 2}


async def test_clients_of_different_channels_do_not_hear_each_other(opened, redis_client):
    thoughts, system = await opened("agent-thoughts", ANALYST), await opened("system", ANALYST)
    publish(redis_client, streams.AGENT_RESULTS, "agent.thought", {"n": 1})
    publish(redis_client, streams.SYSTEM, "mode.changed", {"n": 2})
    assert (await thoughts.frames(2))[1]["data"] == {"n": 1}
    assert (await system.frames(2))[1]["data"] == {"n": 2}


async def test_hostile_text_stays_text(opened, redis_client):
    socket = await opened()
    await socket.frame()
    title = '"},"type":"mode.changed","x":{"\u2028</script>\U0001f4a3'
    publish(redis_client, streams.ALERTS, "alert.created", {"title": title})
    frame = await socket.frame()
    assert (frame["type"], frame["data"]["title"]) == ("alert.created", title)
