"""Streams are cut where every group is done, and no further."""

from __future__ import annotations

from typing import Any

import pytest

from aurora.bus import metrics, streams, trimming
from tests.aurora.bus.scene import STREAM, AlsoNoting, Noting, dead_consumer, publish

ENTRIES = 500


@pytest.fixture(autouse=True)
def _no_alarm_yet(monkeypatch) -> None:
    monkeypatch.setattr(trimming, "_alarmed", set())


@pytest.fixture
def entry_ids(redis_client) -> list[bytes]:
    for _ in range(ENTRIES):
        publish(redis_client)
    return [entry_id for entry_id, _ in redis_client.xrange(STREAM)]


def _first(client: streams.Client) -> Any:
    return client.xrange(STREAM, count=1)[0][0]


def test_what_all_groups_have_finished_goes(redis_client, entry_ids):
    consumer, entries = dead_consumer()
    consumer.acknowledge([entry.entry_id for entry in entries])
    assert trimming.trim(redis_client, STREAM, kept=0) >= ENTRIES - 100
    assert redis_client.xlen(STREAM) <= 100


def test_what_one_group_has_pending_stays(redis_client, entry_ids):
    consumer, entries = dead_consumer()
    consumer.acknowledge([entry.entry_id for entry in entries[:250] + entries[251:]])
    trimming.trim(redis_client, STREAM, kept=0)
    # As Redis orders them: `…-8` comes before `…-14`, which their text does not say.
    assert streams.place_of(_first(redis_client)) <= streams.place_of(entry_ids[250])
    assert redis_client.xlen(STREAM) < ENTRIES


def test_what_one_group_has_not_been_given_stays(redis_client, entry_ids):
    consumer, entries = dead_consumer(Noting.group)
    consumer.acknowledge([entry.entry_id for entry in entries])
    redis_client.xgroup_create(STREAM, AlsoNoting.group, id="0")
    assert trimming.trim(redis_client, STREAM, kept=0) == 0
    assert redis_client.xlen(STREAM) == ENTRIES


def test_a_tail_stays_for_those_who_replay(redis_client, entry_ids):
    consumer, entries = dead_consumer()
    consumer.acknowledge([entry.entry_id for entry in entries])
    trimming.trim(redis_client, STREAM, kept=200)
    assert 200 <= redis_client.xlen(STREAM) <= 300
    assert entry_ids[-200] in [entry_id for entry_id, _ in redis_client.xrange(STREAM)]


def test_a_stream_without_groups_keeps_its_tail(redis_client, entry_ids):
    trimming.trim(redis_client, STREAM, kept=200)
    assert 200 <= redis_client.xlen(STREAM) <= 300


def test_a_stream_that_is_nearly_full_raises_an_alarm_and_loses_nothing(redis_client, entry_ids, settings, events):
    settings.BUS_STREAM_CAP = ENTRIES + 10
    redis_client.xgroup_create(STREAM, AlsoNoting.group, id="0")
    assert trimming.trim(redis_client, STREAM, kept=0) == 0
    [line] = events("stream_nearly_full")
    assert (line["stream"], line["entries"], line["slowest_group"]) == (STREAM, ENTRIES, AlsoNoting.group)
    assert redis_client.xlen(STREAM) == ENTRIES


def test_beyond_its_cap_a_stream_loses_its_oldest_entries_after_an_alarm(redis_client, entry_ids, settings, events):
    settings.BUS_STREAM_CAP = ENTRIES - 50
    redis_client.xgroup_create(STREAM, AlsoNoting.group, id="0")
    assert trimming.trim(redis_client, STREAM) == 0
    assert [line["entries"] for line in events("stream_nearly_full")] == [ENTRIES]
    assert trimming.trim(redis_client, STREAM) == 50
    assert [line["removed"] for line in events("stream_cut")] == [50]
    assert [entry_id for entry_id, _ in redis_client.xrange(STREAM)] == entry_ids[50:]


def test_every_stream_is_looked_at_and_none_needs_to_exist(redis_client):
    assert trimming.trim_all() == dict.fromkeys(streams.STREAMS, 0)


def test_a_dead_consumer_with_nothing_pending_is_forgotten(redis_client, entry_ids, monkeypatch):
    consumer, _ = dead_consumer()
    dead_consumer()
    monkeypatch.setattr(trimming, "FORGOTTEN_SECONDS", -1)
    trimming.trim(redis_client, STREAM)
    assert [found["name"].decode() for found in redis_client.xinfo_consumers(STREAM, Noting.group)] == [consumer.name]


def test_a_groups_standing_says_how_far_it_is(redis_client, entry_ids):
    dead_consumer()
    for _ in range(3):
        publish(redis_client)
    [standing] = metrics.group_standings()
    assert (standing.stream, standing.group, standing.consumers) == (STREAM, "noting", 1)
    assert (standing.pending, standing.lag) == (ENTRIES, 3)
    assert 0 <= standing.oldest_age_seconds < 60


def test_a_group_that_is_done_has_nothing_old(redis_client):
    publish(redis_client)
    consumer, [entry] = dead_consumer()
    consumer.acknowledge([entry.entry_id])
    [standing] = metrics.group_standings()
    assert (standing.pending, standing.lag, standing.oldest_age_seconds) == (0, 0, 0.0)


def test_a_group_that_fails_shows_what_came_again(redis_client):
    publish(redis_client)
    publish(redis_client)
    consumer, [entry, _] = dead_consumer()
    redis_client.xclaim(STREAM, Noting.group, consumer.name, 0, [entry.entry_id], retrycount=2)
    [standing] = metrics.group_standings()
    assert (standing.pending, standing.redelivered) == (2, 1)


def test_a_stream_that_was_short_meanwhile_is_not_cut_without_another_alarm(redis_client, entry_ids, settings, events):
    settings.BUS_STREAM_CAP = ENTRIES + 50
    redis_client.xgroup_create(STREAM, AlsoNoting.group, id="0")
    trimming.trim(redis_client, STREAM)
    settings.BUS_STREAM_CAP = ENTRIES * 2
    trimming.trim(redis_client, STREAM)
    settings.BUS_STREAM_CAP = ENTRIES - 50
    assert trimming.trim(redis_client, STREAM) == 0
    assert [line["cap"] for line in events("stream_nearly_full")] == [ENTRIES + 50, ENTRIES - 50]


def test_standings_become_gauges(redis_client):
    publish(redis_client)
    dead_consumer()
    samples = [sample for gauge in metrics.StandingsCollector().collect() for sample in gauge.samples]
    assert [s.value for s in samples if s.name == "aurora_bus_pending"] == [1.0]
    assert samples[0].labels == {"stream": STREAM, "group": "noting"}


def test_how_long_each_stream_is_is_a_gauge(redis_client):
    publish(redis_client)
    gauges = {gauge.name: gauge.samples for gauge in metrics.StandingsCollector().collect()}
    lengths = {sample.labels["stream"]: sample.value for sample in gauges["aurora_bus_stream_entries"]}
    assert lengths == dict.fromkeys(streams.STREAMS, 0.0) | {STREAM: 1.0}


def test_without_redis_there_are_no_gauges(own_redis):
    own_redis.stop()
    assert list(metrics.StandingsCollector().collect()) == []
