"""What a consumer asks Redis in one trip."""

from __future__ import annotations

import pytest
import redis

from aurora.bus.groups import GroupConsumer

STREAM, GROUP = "aurora:alerts", "noting"


@pytest.fixture
def consumer(redis_client: redis.Redis) -> GroupConsumer:
    for _ in range(4):
        redis_client.xadd(STREAM, {"id": "e", "type": "t"})
    return GroupConsumer(stream=STREAM, group=GROUP, claim_seconds=30.0)


def _pending(client: redis.Redis) -> list[str]:
    rows: list[dict[str, bytes]] = client.xpending_range(STREAM, GROUP, "-", "+", 10)  # type: ignore[assignment]
    return [row["message_id"].decode() for row in rows]


def test_who_reads_on_is_done_with_what_it_names(consumer, redis_client):
    first, second = (entry.entry_id for entry in consumer.read(count=2, block_ms=1))
    third, fourth = (entry.entry_id for entry in consumer.read(count=10, block_ms=1, done=[first]))
    assert _pending(redis_client) == [second, third, fourth]
    assert consumer.read(count=10, block_ms=1, done=[second, third, fourth]) == []
    assert _pending(redis_client) == []


def test_a_group_that_is_gone_meanwhile_is_made_again(consumer, redis_client):
    read = [entry.entry_id for entry in consumer.read(count=10, block_ms=1)]
    redis_client.xgroup_destroy(STREAM, GROUP)
    again = [entry.entry_id for entry in consumer.read(count=10, block_ms=1, done=read)]
    assert again == read
    assert _pending(redis_client) == read


def test_who_has_had_nothing_yet_is_listed_and_again_in_a_group_that_was_made_again(redis_client):
    consumer = GroupConsumer(stream=STREAM, group=GROUP, claim_seconds=30.0)
    for _ in range(2):
        assert consumer.read(count=1, block_ms=1) == []
        assert [row["name"].decode() for row in redis_client.xinfo_consumers(STREAM, GROUP)] == [consumer.name]
        redis_client.flushdb()
