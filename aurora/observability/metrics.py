"""`/metrics` for Prometheus, over all processes of the group.

prometheus_client's multi-process mode keeps each process's values in files under the data directory, and a scrape adds them up. The folder
must be named before the library is imported anywhere, which is why settings do it.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

from aurora.bus.metrics import RowsCollector, StandingsCollector
from aurora.resilience.spool_metrics import SpoolCollector

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def scrape(request: HttpRequest) -> HttpResponse:
    """Every metric of every process that shares the data directory."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(StandingsCollector())
    registry.register(RowsCollector())
    registry.register(SpoolCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def forget_dead_processes() -> None:
    """Deletes the files of an earlier run. For the supervisor, before it starts anything."""
    for file in Path(os.environ[FOLDER_VARIABLE]).glob("*.db"):
        file.unlink(missing_ok=True)
