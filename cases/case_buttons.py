"""What can be done on a case's page: each form of it, made into a call of one verb."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.urls import reverse

from aurora.actors import Actor
from aurora.console.verbs import Button
from aurora.errors import Invalid, Missing
from aurora.ids import uuid_or_none
from cases import evidence, handover, lifecycle, tasks
from cases.states import CLOSED_CASES, TaskStatus

Form = Mapping[str, Any]
"""What the browser sent: texts by field, and files."""


def _add_task(key: Any, actor: Actor, form: Form) -> object:
    return tasks.add_task(case_id=key, actor=actor, **_written(form))


def _edit_task(key: Any, actor: Actor, form: Form) -> object:
    return tasks.edit_task(case_id=key, task_id=_id_of(form, "task"), changes=_written(form), actor=actor)


def _move_task(key: Any, actor: Actor, form: Form) -> object:
    status = TaskStatus.DONE if form.get("status") == TaskStatus.DONE else TaskStatus.OPEN
    return tasks.edit_task(case_id=key, task_id=_id_of(form, "task"), changes={"status": status}, actor=actor)


def _add_evidence(key: Any, actor: Actor, form: Form) -> object:
    file = form.get("file")
    if not isinstance(file, UploadedFile):
        raise Invalid("Choose a file")
    return evidence.add_evidence(
        case_id=key,
        name=file.name or "",
        chunks=file.chunks(),
        media_type=file.content_type or "",
        description=_line(form, "description", 10_000),
        actor=actor,
    )


def _written(form: Form) -> dict[str, Any]:
    """The fields of a task as its form has them. Raises Invalid."""
    title = _line(form, "title", 500)
    if not title:
        raise Invalid("A task needs a title")
    return {
        "title": title,
        "description": _line(form, "description", 20_000),
        "assignee": _line(form, "assignee", 150) or None,
        "due_at": _moment(_line(form, "due_at", 40)),
    }


def _moment(text: str) -> datetime | None:
    """A browser's date with time, which says nothing of its zone: the console shows and takes UTC. Raises Invalid."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise Invalid("The date is none") from None


def _line(form: Form, name: str, limit: int) -> str:
    return str(form.get(name, "")).strip()[:limit]


def _id_of(form: Form, name: str) -> UUID:
    found = uuid_or_none(_line(form, name, 40))
    if found is None:
        raise Missing
    return found


CASE_BUTTONS = (
    Button(
        "status",
        "Change status",
        "cases:write",
        lambda key, actor, form: lifecycle.change_status(
            case_id=key, status=form.get("status", ""), actor=actor, reason=form.get("reason", "")[:4000]
        ),
        is_for_many=False,
        done="status changed",
    ),
    Button(
        "comment",
        "Comment",
        "cases:write",
        lambda key, actor, form: lifecycle.comment(
            case_id=key, text=form.get("text", "").strip()[:10_000], actor=actor
        ),
        is_for_many=False,
        done="commented on",
    ),
    Button(
        "take",
        "Take",
        "cases:write",
        handover.take_case,
        icon="back_hand",
        suits=lambda case: case.assignee_id is None and case.status not in CLOSED_CASES,
        done="yours",
    ),
    Button(
        "assign",
        "Assign",
        "cases:write",
        handover.assign_case,
        icon="person_add",
        is_for_many=False,
        choices=handover.assignees,
        done="assigned",
    ),
    Button(
        "merge",
        "Merge",
        "cases:write",
        handover.merge_case,
        icon="merge",
        is_for_many=False,
        suits=lambda case: case.status not in CLOSED_CASES,
        choices=handover.other_cases,
        confirm="Alerts, timeline, tasks, evidence, investigations and runs move into the case that you choose. This one closes and cannot be opened again.",
        done="merged into this one",
        leads_to=lambda case: reverse("admin:cases_case_change", args=[case.pk]),
    ),
    Button("task_add", "Add task", "cases:write", _add_task, is_for_many=False, done="has a new task"),
    Button("task_edit", "Save", "cases:write", _edit_task, is_for_many=False, done="has its task changed"),
    Button("task_move", "Done", "cases:write", _move_task, is_for_many=False, done="has its task changed"),
    Button("evidence_add", "Add evidence", "cases:write", _add_evidence, is_for_many=False, done="has new evidence"),
)
