"""What the console's first page tells of investigations."""

from __future__ import annotations

from datetime import datetime

from django.urls import reverse

from agents import registry
from agents.models import Agent, Investigation
from agents.playbooks.approvals import pending_count
from agents.states import ENDED_INVESTIGATIONS
from aurora.console.overview import Figure, Panel, Part, capped_count, shown

LATEST = 8


def part(*, permissions: frozenset[str], now: datetime) -> Part:
    """Running and latest investigations; empty for readers who may not see them."""
    if "investigations:read" not in permissions:
        return Part()
    url = reverse("admin:agents_investigation_changelist")
    running = Figure(
        "Investigations",
        shown(running_investigations()),
        "queued or at work",
        "travel_explore",
        url=f"{url}?state=running",
    )
    rows = list(Investigation.objects.select_related("alert", "case").defer("alert__raw", "alert__metadata")[:LATEST])
    latest = Panel(
        "Latest investigations", "admin/agents/latest_investigations.html", {"investigations": rows}, "half", url
    )
    return Part(figures=[running, *_approvals(permissions), *_agents(permissions)], panels=[latest])


def _approvals(permissions: frozenset[str]) -> list[Figure]:
    if "approvals:read" not in permissions:
        return []
    waiting = pending_count()
    hint, tone = ("runs wait for a decision", "high") if waiting else ("nothing waits for a decision", "good")
    url = reverse("admin:agents_approval_changelist")
    return [Figure("Approvals", shown(waiting), hint, "how_to_reg", tone, f"{url}?status__exact=pending")]


def _agents(permissions: frozenset[str]) -> list[Figure]:
    """How many of the enabled agents can be asked now."""
    if "agents:read" not in permissions:
        return []
    healths = [told["health"] for told in registry.describe_all(list(Agent.objects.filter(enabled=True)))]
    online, url = healths.count("online"), reverse("admin:agents_agent_changelist")
    is_well = online == len(healths)
    hint = "all answer" if is_well else "the others fail, or are cut off"
    tone = "good" if is_well else "critical"
    return [Figure("Agents online", f"{online} of {len(healths)}", hint, "smart_toy", tone, url)]


def running_investigations() -> int:
    """For the sidebar's badge."""
    return capped_count(Investigation.objects.exclude(status__in=ENDED_INVESTIGATIONS))
