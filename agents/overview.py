"""What the console's first page tells of investigations."""

from __future__ import annotations

from datetime import datetime

from django.urls import reverse

from agents.models import Investigation
from agents.states import ENDED_INVESTIGATIONS
from aurora.console.overview import Figure, Panel, Part, capped_count, shown

LATEST = 8


def part(*, permissions: frozenset[str], now: datetime) -> Part:
    """Running and latest investigations; empty for readers who may not see them."""
    if "investigations:read" not in permissions:
        return Part()
    url = reverse("admin:agents_investigation_changelist")
    running = Figure(
        "Running investigations",
        shown(running_investigations()),
        "queued or at work",
        "travel_explore",
        url=f"{url}?state=running",
    )
    rows = list(Investigation.objects.select_related("alert", "case").defer("alert__raw", "alert__metadata")[:LATEST])
    latest = Panel(
        "Latest investigations", "admin/agents/latest_investigations.html", {"investigations": rows}, "half", url
    )
    return Part(figures=[running], panels=[latest])


def running_investigations() -> int:
    """For the sidebar's badge."""
    return capped_count(Investigation.objects.exclude(status__in=ENDED_INVESTIGATIONS))
