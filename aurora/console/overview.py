"""The console's first page, put together from what each app has to say. Apps are named by string: the ground floor imports none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import redis
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.module_loading import import_string

from aurora.bus import metrics
from aurora.bus import redis as clients
from aurora.counting import capped
from aurora.models import DeadLetter, OutboxEvent

CONTRIBUTORS = ("cases.overview.part", "agents.overview.part", "aurora.console.overview.part")
"""Functions `(*, permissions, now) -> Part`, in the order in which their figures and panels stand on the page."""

COUNTED_UP_TO = 1000
"""A figure on a page that everybody opens must not cost more on a bad day: counts beyond this read `1,000+`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the first page. `tone` is `critical`, `high`, `good` or empty; `url` leads to the rows behind it."""

    label: str
    value: str
    hint: str = ""
    icon: str = ""
    tone: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One box of a page; `template` renders `context` into it. `width` is `wide`, `half` or `narrow`; what `asks` waits for somebody."""

    title: str
    template: str
    context: dict[str, Any]
    width: str = "half"
    url: str = ""
    hint: str = ""
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What one app contributes."""

    figures: list[Figure] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)


def parts(*, permissions: frozenset[str]) -> list[Part]:
    """Every app's part, as far as a reader with `permissions` may see it."""
    now = timezone.now()
    contributors: list[Callable[..., Part]] = [import_string(path) for path in CONTRIBUTORS]
    return [contribute(permissions=permissions, now=now) for contribute in contributors]


def part(*, permissions: frozenset[str], now: datetime) -> Part:
    """The ground floor's own: events that wait for the bus, messages that it buried."""
    if "agents:read" not in permissions:
        return Part()
    waiting = capped_count(OutboxEvent.objects.all())
    buried = capped_count(DeadLetter.objects.filter(redriven_at=None))
    return Part(
        figures=[
            Figure(
                "Outbox",
                shown(waiting),
                "events not yet on the bus",
                "outbox",
                url=reverse("admin:aurora_outboxevent_changelist"),
            ),
            Figure(
                "Dead letters",
                shown(buried),
                "nobody could handle them" if buried else "every message was handled",
                icon="mark_email_unread",
                tone="high" if buried else "good",
                url=f"{reverse('admin:aurora_deadletter_changelist')}?redriven=no",
            ),
        ],
        panels=[_bus()],
    )


def _bus() -> Panel:
    """How far each group is. A Redis that does not answer must not hold the page."""
    context: dict[str, Any] = {"empty": "No group has read anything yet."}
    try:
        standings = metrics.group_standings(clients.Purpose.REQUEST)
    except redis.RedisError:
        return Panel("Bus", "admin/aurora/bus.html", {"empty": "Redis does not answer."}, "wide")
    buried = metrics.dead_letters_by_group()
    rows = [asdict(standing) | {"buried": buried.get((standing.stream, standing.group), 0)} for standing in standings]
    return Panel("Bus", "admin/aurora/bus.html", {**context, "standings": rows}, "wide", hint="how far each group is")


def capped_count(rows: QuerySet[Any, Any]) -> int:
    """How many rows, counted as far as `shown` tells them apart."""
    return capped(rows, COUNTED_UP_TO)


def shown(count: int) -> str:
    """A capped count as people read it."""
    return f"{COUNTED_UP_TO:,}+" if count > COUNTED_UP_TO else f"{count:,}"


def unhandled_dead_letters() -> int:
    """For the sidebar's badge."""
    return capped_count(DeadLetter.objects.filter(redriven_at=None))
