"""What is to be done for a case: added, handed over, done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor
from aurora.errors import Missing
from cases import lifecycle
from cases.models import Case, CaseTask
from cases.states import TaskStatus, TimelineKind
from cases.triage import assignable


def add_task(
    *,
    case_id: UUID,
    title: str,
    actor: Actor,
    description: str = "",
    assignee: str | None = None,
    due_at: datetime | None = None,
) -> CaseTask:
    """A task of an open case; `assignee` is a username. Raises Denied, Missing, Invalid; Conflict when the case is closed."""
    actor.require("cases:write")
    with transaction.atomic():
        case = lifecycle.locked_case(case_id)
        lifecycle.require_open(case)
        task = CaseTask(title=title, description=description, assignee=assignable(assignee), due_at=due_at)
        _keep_new(task, case, actor)
    return task


def leave_task(*, case_id: UUID, title: str, description: str, actor: Actor) -> CaseTask:
    """A task that a part of the product leaves to people, in the caller's transaction: of a closed case too, for it is no less to be done. Raises Missing."""
    task = CaseTask(title=title, description=description)
    _keep_new(task, lifecycle.locked_case(case_id), actor)
    return task


def edit_task(*, case_id: UUID, task_id: UUID, changes: Mapping[str, Any], actor: Actor) -> CaseTask:
    """Sets `title`, `description`, `status`, `assignee` (a username or None) or `due_at`; what is so already is no change.

    Raises Denied, Missing, Invalid; Conflict when the case is closed.
    """
    actor.require("cases:write")
    with transaction.atomic():
        case = lifecycle.locked_case(case_id)
        task = CaseTask.objects.select_related("assignee").filter(pk=task_id, case=case).first()
        if task is None:
            raise Missing
        lifecycle.require_open(case)
        before = {name: _plain(task, name) for name in changes}
        for name, value in changes.items():
            setattr(task, name, assignable(value) if name == "assignee" else value)
        after = {name: _plain(task, name) for name in changes if _plain(task, name) != before[name]}
        if not after:
            return task
        if "status" in after:
            is_done = task.status == TaskStatus.DONE
            task.done_by, task.done_at = (actor.name, timezone.now()) if is_done else ("", None)
        task.updated_at = timezone.now()
        task.save()
        _tell(task, case, actor, _words(task, after))
        audit.record(actor, "task.changed", task, before={name: before[name] for name in after}, after=after)
    return task


def _keep_new(task: CaseTask, case: Case, actor: Actor) -> None:
    task.case, task.created_by = case, actor.name
    task.save()
    whose = f" (for {task.assignee.username})" if task.assignee else ""
    _tell(task, case, actor, f"Task added: {task.title}{whose}")
    kept = {name: _plain(task, name) for name in ("title", "assignee", "due_at")}
    audit.record(actor, "task.added", task, after={"case": str(case.id), **kept})


def _tell(task: CaseTask, case: Case, actor: Actor, text: str) -> None:
    lifecycle.note(case=case, kind=TimelineKind.TASK, actor=actor.name, text=text, data={"task_id": str(task.id)})
    lifecycle.announce_change(case)


def _words(task: CaseTask, after: Mapping[str, Any]) -> str:
    """A change as the timeline tells it: `Task done: Ask the user`."""
    parts = []
    if "status" in after:
        parts.append("done" if task.status == TaskStatus.DONE else "open again")
    if "assignee" in after:
        parts.append(f"assigned to {after['assignee'] or 'nobody'}")
    if "due_at" in after:
        parts.append(f"due {task.due_at:%Y-%m-%d %H:%M UTC}" if task.due_at else "without a date")
    if after.keys() & {"title", "description"}:
        parts.append("rewritten")
    return f"Task {', '.join(parts)}: {task.title}"


def _plain(task: CaseTask, name: str) -> str | None:
    """A field as the audit trail keeps it."""
    value = getattr(task, name)
    if name == "assignee":
        return value.username if value else None
    return value.isoformat() if isinstance(value, datetime) else value
