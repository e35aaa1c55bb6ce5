"""What playbooks announce: the types of their events and what their data holds. The API shows exactly this too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import OuterRef, Subquery

from agents.playbooks.models import Approval, Execution, ExecutionStep, Playbook
from aurora.bus import streams
from aurora.bus.outbox import Event

PLAYBOOK_STEP = "playbook.step"
EXECUTION_UPDATED = "execution.updated"
APPROVAL_REQUESTED = "approval.requested"
APPROVAL_DECIDED = "approval.decided"


def playbook_step(step: ExecutionStep, *, undo: bool = False) -> Event:
    """That a step, or its rollback, waits for a worker. `work` tells the two apart."""
    work = work_of(step, undo=undo)
    data = {"work": work, "step_id": step.id, "execution_id": step.execution_id, "undo": undo}
    return Event(streams.AGENT_TASKS, PLAYBOOK_STEP, f"execution:{step.execution_id}", data)


def work_of(step: ExecutionStep, *, undo: bool = False) -> str:
    """The name of what there is to do; also the idempotency key that the target is given."""
    return f"{step.id}-undo" if undo else str(step.id)


def execution_updated(execution: Execution, steps: Iterable[ExecutionStep] | None = None) -> Event:
    data = execution_detail(execution, steps)
    return Event(streams.SYSTEM, EXECUTION_UPDATED, f"execution:{execution.id}", data)


def approval_requested(approval: Approval) -> Event:
    return Event(streams.SYSTEM, APPROVAL_REQUESTED, f"execution:{approval.execution_id}", approval_data(approval))


def approval_decided(approval: Approval) -> Event:
    return Event(streams.SYSTEM, APPROVAL_DECIDED, f"execution:{approval.execution_id}", approval_data(approval))


def playbook_data(row: Playbook) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "title": row.title,
        "description": row.description,
        "trigger": row.trigger,
        "enabled": row.enabled,
        "version": row.version,
        "is_shipped": row.is_shipped,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def execution_data(row: Execution) -> dict[str, Any]:
    """A run as lists show it."""
    return {
        "id": row.id,
        "reference": row.reference,
        "playbook_id": row.playbook_id,
        "playbook": row.playbook.name,
        "version": row.version.number,
        "case_id": row.case_id,
        "alert_id": row.alert_id,
        "status": row.status,
        "dry_run": row.dry_run,
        "is_paused": row.is_paused,
        "requested_by": row.requested_by,
        "parameters": row.parameters,
        "summary": row.summary,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def execution_detail(row: Execution, steps: Iterable[ExecutionStep] | None = None) -> dict[str, Any]:
    """A run with its steps, which are read unless whoever asks has them."""
    return execution_data(row) | {"steps": [step_data(step) for step in steps or steps_of(row)]}


def steps_of(execution: Execution) -> list[ExecutionStep]:
    """A run's steps in their order, each with the run itself and the newest question that was asked about it."""
    asked = Approval.objects.filter(step=OuterRef("pk")).order_by("-id").values("pk")[:1]
    steps: list[ExecutionStep] = list(execution.steps.order_by("position").annotate(approval_id=Subquery(asked)))
    for step in steps:
        step.execution = execution
    return steps


def step_data(row: ExecutionStep) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "action": row.action,
        "branch": row.branch,
        "after": row.after,
        "status": row.status,
        "parameters": row.parameters,
        "result": row.result or None,
        "error": row.error or None,
        "note": row.note or None,
        "attempts": row.attempts,
        "approval_id": getattr(row, "approval_id", None),
        "rollback": {"status": row.undo, **row.undo_result} if row.undo else None,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def approval_data(row: Approval) -> dict[str, Any]:
    return {
        "id": row.id,
        "execution_id": row.execution_id,
        "case_id": row.execution.case_id,
        "step": row.step.name,
        "status": row.status,
        "action": row.action,
        "parameters": row.parameters,
        "reason": row.reason,
        "is_reversible": row.is_reversible,
        "needed": row.needed,
        "granted": row.granted,
        "decisions": [{name: one.get(name) for name in ("name", "verdict", "reason", "at")} for one in row.decisions],
        "requested_by": row.requested_by,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "escalated_at": row.escalated_at,
        "decided_at": row.decided_at,
    }
