"""How full the spool is, for Prometheus: read from its file at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from aurora.errors import Unavailable
from aurora.resilience import spool


class SpoolCollector(Collector):
    """Gauges; none while the spool cannot be read."""

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: registering must not read the file."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            standing = spool.shared().standing()
        except Unavailable:
            return
        yield GaugeMetricFamily("aurora_spool_depth", "Deliveries that wait for PostgreSQL.", standing.depth)
        yield GaugeMetricFamily("aurora_spool_bytes", "Bytes of all payloads in the spool.", standing.size)
        yield GaugeMetricFamily(
            "aurora_spool_oldest_age_seconds", "Age of the oldest that waits.", standing.oldest_age_seconds
        )
        yield GaugeMetricFamily("aurora_spool_set_aside", "Deliveries that could not be stored.", standing.set_aside)
        yield GaugeMetricFamily(
            "aurora_spool_damaged_files", "Damaged spool files that were put aside.", len(standing.damaged_files)
        )
