"""What the bus counts, and how far each group is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import redis
from django.db import DatabaseError
from django.db.models import Count
from django.utils import timezone
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from aurora.bus import redis as clients
from aurora.bus import registry, streams
from aurora.models import DeadLetter, OutboxEvent
from aurora.resilience import availability

LAG_CAP = 1_000
"""A lag is counted up to here; more is shown as this. A server before 7.0 makes us read the entries to count them."""


class BatchHistogram(Histogram):
    """One that takes many observations for the price of one, which is a lock and a write to a mapped file."""

    def observe_all(self, amounts: Iterable[float]) -> None:
        """As `observe` for each."""
        ordered, counted = sorted(amounts), 0
        self._sum.inc(sum(ordered))
        for bucket, bound in zip(self._buckets, self._upper_bounds, strict=True):
            reached = bisect_right(ordered, bound)
            if reached > counted:
                bucket.inc(reached - counted)
                counted = reached


HANDLED = Counter("aurora_bus_handled_total", "Messages handled, or skipped as already handled.", ["group"])
FAILED = Counter("aurora_bus_failed_total", "Handlings that raised.", ["group"])
BURIED = Counter("aurora_bus_buried_total", "Messages moved to the dead letters.", ["group"])
REDELIVERED = Counter("aurora_bus_redelivered_total", "Deliveries of a message after its first.", ["group"])
CUT = Counter("aurora_bus_entries_cut_total", "Entries removed beyond a stream's cap, finished or not.", ["stream"])
HANDLING = BatchHistogram("aurora_bus_handling_seconds", "Time in the handler.", ["group"])
PUBLISHED = Counter("aurora_outbox_published_total", "Events moved from the outbox to their streams.")
PUBLISHING = Histogram(
    "aurora_outbox_delay_seconds", "From the event's row to its entry in Redis, of the oldest in each batch."
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one group is on one stream."""

    stream: str
    group: str
    consumers: int
    pending: int
    lag: int
    """Entries not delivered to the group yet, counted up to LAG_CAP."""
    redelivered: int
    """Of the oldest pending, up to LAG_CAP, those that were delivered more than once."""
    oldest_age_seconds: float
    """How long the oldest entry that the group has not finished has been on the stream; 0 when there is none."""


def published(events: int, *, seconds: float) -> None:
    PUBLISHED.inc(events)
    PUBLISHING.observe(max(0.0, seconds))


def group_standings(purpose: clients.Purpose = clients.Purpose.COMMAND) -> list[Standing]:
    """Every group of every stream, by name. Raises redis.RedisError."""
    client: streams.Client = clients.client(purpose)
    seconds, micros = client.time()
    now = seconds + micros / 1e6
    return [
        _standing(client, stream, group, now)
        for stream in streams.STREAMS
        for group in sorted(streams.groups_of(client, clients.key(stream)), key=lambda group: bytes(group["name"]))
    ]


class StandingsCollector(Collector):
    """Gauges for Prometheus, read from Redis at each scrape; none while Redis is away, which no scrape waits for."""

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: registering must not ask Redis."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        client: streams.Client = clients.client(clients.Purpose.REQUEST)
        entries = GaugeMetricFamily(
            "aurora_bus_stream_entries", "Entries on a stream; at its cap the oldest go.", labels=["stream"]
        )
        try:
            standings = group_standings(clients.Purpose.REQUEST)
            for stream in streams.STREAMS:
                entries.add_metric([stream], float(client.xlen(clients.key(stream))))
        except redis.RedisError:
            return
        for field, help_text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"aurora_bus_{field}", help_text, labels=["stream", "group"])
            for standing in standings:
                gauge.add_metric([standing.stream, standing.group], float(getattr(standing, field)))
            yield gauge
        yield entries


class RowsCollector(Collector):
    """Gauges read from PostgreSQL at each scrape, so that any web process tells them, wherever the workers run; none while it is away."""

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: registering must not ask PostgreSQL."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if not availability.database.standing.is_up:
            return
        try:
            buried = dead_letters_by_group()
            oldest = OutboxEvent.objects.order_by("id").values_list("created_at", flat=True).first()
        except DatabaseError:
            return
        letters = GaugeMetricFamily(
            "aurora_bus_dead_letters", "Messages buried and not put back.", labels=["stream", "group"]
        )
        groups = {(stream, group) for stream in streams.STREAMS for group in registry.groups_on(stream)}
        for stream, group in sorted(groups | buried.keys()):
            letters.add_metric([stream, group], buried.get((stream, group), 0))
        yield letters
        age = 0.0 if oldest is None else max(0.0, (timezone.now() - oldest).total_seconds())
        yield GaugeMetricFamily("aurora_outbox_oldest_age_seconds", "Age of the oldest event not yet published.", age)


def dead_letters_by_group() -> dict[tuple[str, str], int]:
    """How many messages each group has buried that nobody has put back, by stream and group."""
    rows = DeadLetter.objects.filter(redriven_at=None).order_by().values_list("stream", "group")
    return {(stream, group): count for stream, group, count in rows.annotate(count=Count("id"))}


_GAUGES = {
    "consumers": "Consumers known to the group.",
    "pending": "Entries delivered and not finished.",
    "redelivered": "Pending entries that were delivered more than once.",
    "lag": f"Entries not delivered yet, counted up to {LAG_CAP}.",
    "oldest_age_seconds": "Age of the oldest entry that the group has not finished.",
}


def _standing(client: streams.Client, stream: str, group: dict[str, Any], now: float) -> Standing:
    last = group["last-delivered-id"].decode()
    undelivered = client.xrange(clients.key(stream), f"({last}", "+", count=LAG_CAP)
    unfinished = [entry_id for entry_id, _ in undelivered[:1]]
    if group["pending"]:
        unfinished.append(client.xpending(clients.key(stream), group["name"])["min"])
    ages = [now - streams.seconds_of(entry_id) for entry_id in unfinished if entry_id]
    again = client.xpending_range(clients.key(stream), group["name"], "-", "+", LAG_CAP) if group["pending"] else []
    return Standing(
        stream=stream,
        group=group["name"].decode(),
        consumers=group["consumers"],
        pending=group["pending"],
        lag=len(undelivered),
        redelivered=sum(row["times_delivered"] > 1 for row in again),
        oldest_age_seconds=round(max(0.0, *ages, 0.0), 3),
    )
