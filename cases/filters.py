"""Filters of the console's lists. None of them reads a whole table to offer its choices."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db import connections, router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from cases.models import Alert
from cases.states import CLOSED_CASES

Rows = QuerySet[Any, Any]

# One index probe a source, however many alerts each has (PostgreSQL wiki, "Loose indexscan").
_SOURCES = """
WITH RECURSIVE found AS (
  SELECT source FROM (SELECT source FROM cases_alert ORDER BY source LIMIT 1) AS first
  UNION ALL
  SELECT (SELECT source FROM cases_alert WHERE source > found.source ORDER BY source LIMIT 1)
  FROM found WHERE found.source IS NOT NULL
)
SELECT source FROM found WHERE source IS NOT NULL LIMIT 100
"""


class SeenFilter(admin.SimpleListFilter):
    """Alerts by when they were last seen."""

    title = "last seen"
    parameter_name = "seen"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("hour", "Past hour"), ("today", "Today (UTC)"), ("day", "Past 24 hours"), ("week", "Past 7 days")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        since = self._since(timezone.now())
        return queryset.filter(last_seen__gte=since) if since else queryset

    def _since(self, now: datetime) -> datetime | None:
        return {
            "hour": now - timedelta(hours=1),
            "today": now.replace(hour=0, minute=0, second=0, microsecond=0),
            "day": now - timedelta(days=1),
            "week": now - timedelta(days=7),
        }.get(self.value() or "")


class SourceFilter(admin.SimpleListFilter):
    """Alerts by the sensor that reported them."""

    title = "source"
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        with connections[router.db_for_read(Alert)].cursor() as cursor:
            cursor.execute(_SOURCES)
            return [(source, source) for (source,) in cursor.fetchall()]

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset.filter(source=self.value()) if self.value() else queryset


class AssigneeFilter(admin.SimpleListFilter):
    """Whose work it is."""

    title = "assignee"
    parameter_name = "assigned"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("me", "Mine"), ("nobody", "Nobody's"), ("somebody", "Somebody's")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        if self.value() == "me":
            return queryset.filter(assignee_id=request.user.pk)
        if self.value() in ("nobody", "somebody"):
            return queryset.filter(assignee__isnull=self.value() == "nobody")
        return queryset


class OpenFilter(admin.SimpleListFilter):
    """Cases that are still somebody's work."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("closed", "Closed")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        if self.value() == "open":
            return queryset.exclude(status__in=CLOSED_CASES)
        return queryset.filter(status__in=CLOSED_CASES) if self.value() == "closed" else queryset
