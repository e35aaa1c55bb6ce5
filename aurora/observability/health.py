"""Is it alive, is it ready, and in which mode: the probes and `GET /system/mode`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from aurora import dry_run
from aurora.bus.redis import Purpose, client
from aurora.errors import Unavailable
from aurora.models import OutboxEvent
from aurora.resilience import availability, spool
from aurora.standin import snapshot, source


def live(request: HttpRequest) -> JsonResponse:
    """The process answers. Touches nothing else: a restart mends no database."""
    return JsonResponse({"status": "alive"})


def ready(request: HttpRequest) -> JsonResponse:
    """Each dependency with its latency; 503 while requests cannot be served.

    Without PostgreSQL reads are served from a stand-in and alerts spooled: a balancer that took such a process out would take out all.
    """
    checks = {"database": _timed(_ask_database), "redis": _timed(_ask_redis)}
    is_ready = checks["database"]["status"] == "up" or source.wanted() in source.STORES
    is_whole = all(check["status"] == "up" for check in checks.values())
    status = "up" if is_whole else "degraded" if is_ready else "down"
    return JsonResponse({"status": status, "checks": checks}, status=200 if is_ready else 503)


def mode() -> dict[str, Any]:
    """The contract's `GET /system/mode`."""
    has_database = _timed(_ask_database)["status"] == "up"
    has_bus = _timed(_ask_redis)["status"] == "up"
    return database_mode() | {
        "is_bus_available": has_bus,
        "outbox_depth": OutboxEvent.objects.count() if has_database else None,
    }


def database_mode() -> dict[str, Any]:
    """As much of the mode as this process knows without asking anybody."""
    standing, store = availability.database.standing, source.wanted()
    is_real = settings.MODE == "real"
    return {
        "mode": settings.MODE,
        "is_database_available": standing.is_up,
        "showcase_reads_allowed": settings.MODE == "demo" or (is_real and settings.DEGRADED_READS == "demo"),
        "uses_showcase_data": store == source.DEMO,
        "read_data_source": store,
        "is_mutations_allowed": source.is_writable() and not dry_run.is_on(),
        "degraded_since": standing.since,
        "snapshot_age_seconds": snapshot.age_seconds() if settings.DEGRADED_READS == "snapshot" else None,
        "spool_depth": _spool_depth(),
    }


def _spool_depth() -> int | None:
    """None when the spool cannot be read."""
    try:
        return spool.shared().standing().depth
    except Unavailable:
        return None


def _timed(ask: Callable[[], object]) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        ask()
    except (DatabaseError, redis.RedisError) as error:
        return {"status": "down", "latency_ms": _since(began), "error": type(error).__name__}
    return {"status": "up", "latency_ms": _since(began)}


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)


def _ask_database() -> object:
    with connection.cursor() as cursor:
        return cursor.execute("SELECT 1")


def _ask_redis() -> object:
    return client(Purpose.REQUEST).ping()
