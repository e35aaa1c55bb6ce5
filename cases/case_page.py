"""What the console's page of a case shows: its story, what is to be done, what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Prefetch
from django.utils import timezone

from aurora.console import widgets
from aurora.console.records import Facts
from aurora.ids import uuid_or_none
from aurora.standin import source
from cases import handover
from cases.models import Case, CaseTask, CustodyEntry, Evidence, Ioc, TimelineEntry, reference_of
from cases.pages import SHOWN, Indicator, defanged, ioc_label, technique_line, texts
from cases.states import TaskStatus, TimelineKind

TIMELINE_SHOWN = 300
TIMELINE_OPEN = 40
"""Of those, as many are to be seen at once; a press shows the others."""

TASKS_SHOWN = 100
FILES_SHOWN = 100
CUSTODY_SHOWN = 20

_BY_AGENTS = (TimelineKind.AGENT_FINDING, TimelineKind.AGENT_FAILED)
_TIMELINE_ICONS = {
    TimelineKind.OPENED: "flag",
    TimelineKind.ALERT_LINKED: "add_link",
    TimelineKind.ALERT_REOPENED: "undo",
    TimelineKind.AGENT_FINDING: "smart_toy",
    TimelineKind.AGENT_FAILED: "error",
    TimelineKind.INVESTIGATION: "travel_explore",
    TimelineKind.STATUS_CHANGED: "swap_horiz",
    TimelineKind.ASSIGNED: "person_add",
    TimelineKind.COMMENT: "chat",
    TimelineKind.PLAYBOOK: "play_circle",
    TimelineKind.APPROVAL: "gavel",
    TimelineKind.MERGED: "merge",
    TimelineKind.EVIDENCE: "draft",
    TimelineKind.TASK: "task_alt",
}


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task with the people whom it may be given to. `due` is the form's own text of the date."""

    task: CaseTask
    people: Sequence[str]
    is_overdue: bool
    due: str


def case_page(case: Case) -> dict[str, Any]:
    """Everything the page of a case shows besides its buttons."""
    alerts = case.alerts.select_related("assignee").defer("raw", "metadata", "description")
    entries = list(case.timeline.order_by("-id")[: TIMELINE_SHOWN + 1])
    left_out = case.timeline.count() - TIMELINE_SHOWN if len(entries) > TIMELINE_SHOWN else 0
    lines = [_timeline_line(entry) for entry in entries[:TIMELINE_SHOWN]]
    alerts_shown = list(alerts[:SHOWN])
    names = [name for alert in alerts_shown for name in texts(alert.mitre_techniques)]
    return {
        "facts": _case_facts(case),
        "timeline": lines[:TIMELINE_OPEN],
        "earlier": lines[TIMELINE_OPEN:],
        "left_out": left_out,
        "alerts": alerts_shown,
        "alert_count": case.alerts.count(),
        "techniques": [technique_line(name) for name in dict.fromkeys(names)],
        "indicators": _case_indicators(case),
        "tasks": _tasks(case),
        "task_count": case.tasks.count(),
        "evidence": _evidence(case),
        "evidence_count": case.evidence.count(),
        "largest_file": settings.MAX_BODY_BYTES,
        "is_stand_in": source.current() != source.DATABASE,
        "merged_into": reference_of(case.merged_into_id),
        "people": [choice.value for choice in handover.assignees(case) if choice.value],
    }


def _tasks(case: Case) -> list[TaskLine]:
    """What is open first, and of that what is due soonest; done tasks last, the newest first."""
    people = [choice.value for choice in handover.assignees(case) if choice.value]
    rows = list(case.tasks.select_related("assignee").order_by("-id")[:TASKS_SHOWN])
    rows.sort(key=lambda task: (task.status == TaskStatus.DONE, task.due_at is None, task.due_at or task.created_at))
    return [_task_line(task, people) for task in rows]


def _task_line(task: CaseTask, people: list[str]) -> TaskLine:
    holder = task.assignee.username if task.assignee else ""
    offered = people if not holder or holder in people else [holder, *people]
    is_overdue = task.status == TaskStatus.OPEN and task.due_at is not None and task.due_at < timezone.now()
    return TaskLine(task, offered, is_overdue, f"{task.due_at:%Y-%m-%dT%H:%M}" if task.due_at else "")


def _evidence(case: Case) -> list[Evidence]:
    """The newest files, each with the `latest` links of its chain of custody."""
    links = CustodyEntry.objects.order_by("-id")[:CUSTODY_SHOWN]
    rows = case.evidence.order_by("-id").prefetch_related(Prefetch("custody", links, to_attr="latest"))
    return list(rows[:FILES_SHOWN])


def _case_facts(case: Case) -> Facts:
    return [
        ("Reference", case.reference),
        ("Confidence", widgets.percent(case.confidence or None)),
        ("Assignee", case.assignee.username if case.assignee else widgets.NOTHING),
        ("Opened by", case.opened_by),
        ("Opened", widgets.when(case.created_at)),
        ("Updated", widgets.when(case.updated_at)),
        ("Closed", widgets.when(case.closed_at)),
    ]


def _timeline_line(entry: TimelineEntry) -> tuple[TimelineEntry, str, str, str]:
    """The entry, its icon, its author and the case that it came from: agents go by their type's words, people by their names as they are written."""
    author = widgets.words(entry.actor) if entry.kind in _BY_AGENTS else entry.actor
    origin = reference_of(uuid_or_none(str(entry.data.get("merged_from", ""))))
    return entry, _TIMELINE_ICONS.get(TimelineKind(entry.kind), "circle"), author, origin


def _case_indicators(case: Case) -> list[Indicator]:
    rows = Ioc.objects.filter(alert_links__alert__case=case).distinct()[:SHOWN]
    return [Indicator(ioc_label(row.type), defanged(row), row) for row in rows]
