"""Reading investigations and agents."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet
from django.utils import timezone

from agents.events import event_data, investigation_data, step_data
from agents.investigations import find
from agents.models import Investigation
from agents.schemas import EventQuery, InvestigationQuery
from agents.states import ENDED_INVESTIGATIONS
from aurora.errors import Invalid
from aurora.rest.pagination import envelope
from aurora.rest.problems import problem
from cases.models import Alert, Case, Ioc
from cases.states import CLOSED_CASES, IocStatus


def investigations(query: InvestigationQuery) -> QuerySet[Investigation]:
    given = query.model_dump(include={"status", "alert_id", "case_id"}, exclude_none=True)
    return Investigation.objects.filter(**given)


def investigation(investigation_id: UUID) -> dict[str, Any]:
    """One investigation with its steps. Raises Missing."""
    row = find(investigation_id)
    wording = {name: value for name, value in (row.model_wording or {}).items() if name != "of"} or None
    steps = [step_data(step) for step in row.steps.order_by("stage", "id")]
    return investigation_data(row) | {"steps": steps, "model_wording": wording}


def events_page(investigation_id: UUID, query: EventQuery) -> dict[str, Any]:
    """The log in its own order. Raises Missing; Invalid for a cursor that is no number."""
    row = find(investigation_id)
    lines = row.events.filter(number__gt=_number(query.cursor)).order_by("number")
    found = list(lines[query.skip : query.skip + query.limit + 1])
    page = found[: query.limit]
    cursor = str(page[-1].number) if len(found) > query.limit else None
    return envelope([event_data(line) for line in page], next_cursor=cursor, total=row.event_count)


def stats() -> dict[str, Any]:
    """The figures of the overview: alerts seen in the last 24 h, as the console counts them, and what is open now."""
    since = timezone.now() - timedelta(hours=24)
    recent = Alert.objects.filter(last_seen__gte=since)
    by_severity, by_status = Counter[str](), Counter[str]()
    for severity, status, number in recent.order_by().values_list("severity", "status").annotate(n=Count("pk")):
        by_severity[severity] += number
        by_status[status] += number
    return {
        "since": since,
        "alerts_by_severity": by_severity,
        "alerts_by_status": by_status,
        "open_cases": Case.objects.exclude(status__in=CLOSED_CASES).count(),
        "running_investigations": Investigation.objects.exclude(status__in=ENDED_INVESTIGATIONS).count(),
        "active_iocs": Ioc.objects.filter(status=IocStatus.ACTIVE).count(),
    }


def _number(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9:
        fault = problem(["query", "cursor"], "Input should be a cursor from `next_cursor`", "cursor_parsing")
        raise Invalid(problems=[fault])
    return int(cursor)
