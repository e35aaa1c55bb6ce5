"""Running one step of an investigation: what an `agent-tasks` worker does with a task."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from agents import events, journal
from agents.builtin.contract import Task
from agents.dispatch import dispatch
from agents.models import Investigation, InvestigationStep
from agents.states import ENDED_INVESTIGATIONS, EventKind, InvestigationStatus, StepStatus
from aurora.bus import outbox
from aurora.resilience.availability import is_outage

log = structlog.get_logger(__name__)

STUCK_AFTER = timedelta(minutes=15)


def run_step(*, task_id: UUID) -> None:
    """Runs a step to its end and announces the result. A step that has ended, or is not there, is left alone.

    An agent's failure is the step's result. Only an outage of the database is raised: the task then comes again.
    """
    step = _claim(task_id)
    if step is None:
        return
    try:
        done = dispatch(task=_task_of(step), think=_thinker(step))
    except Exception as error:
        if is_outage(error):
            raise
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        log.warning("investigation_step_failed", agent_type=step.agent_type, task_id=str(step.id), error=reason)
        _finish(step, StepStatus.FAILED, error=reason)
        return
    _finish(step, StepStatus.COMPLETED, output=done.output.as_json(), attempts=done.attempts)


def free_stuck_investigations() -> int:
    """Moves on investigations that stand still: a step whose task was lost or buried is ended, a result that was lost is announced again.

    Returns how many steps it touched.
    """
    before = timezone.now() - STUCK_AFTER
    standing = InvestigationStep.objects.exclude(investigation__status__in=ENDED_INVESTIGATIONS).select_related(
        "investigation"
    )
    unfinished = standing.filter(
        status__in=(StepStatus.QUEUED, StepStatus.RUNNING), investigation__created_at__lt=before
    )
    lost = [step for step in unfinished if step.started_at is None or step.started_at < before]
    for step in lost:
        log.error("investigation_step_stuck", agent_type=step.agent_type, task_id=str(step.id))
        _finish(step, StepStatus.FAILED, error="No worker finished the task; see the dead letters")
    unheard = _last_steps_of_silent_investigations(before)
    for step in unheard:
        log.error("investigation_result_lost", agent_type=step.agent_type, task_id=str(step.id))
        with transaction.atomic():
            outbox.announce(events.agent_result(step))
    return len(lost) + len(unheard)


def _last_steps_of_silent_investigations(before: datetime) -> list[InvestigationStep]:
    """Of each investigation that is open though none of its steps is under way: the step that ended last, if that was before `before`."""
    under_way = InvestigationStep.objects.filter(status__in=(StepStatus.QUEUED, StepStatus.RUNNING))
    silent = Investigation.objects.exclude(status__in=ENDED_INVESTIGATIONS).exclude(
        pk__in=under_way.values("investigation_id")
    )
    last = InvestigationStep.objects.filter(investigation__in=silent, finished_at__isnull=False)
    newest = last.order_by("investigation_id", "-finished_at").distinct("investigation_id")
    return [step for step in newest if step.finished_at is not None and step.finished_at < before]


def _claim(task_id: UUID) -> InvestigationStep | None:
    with transaction.atomic():
        now = timezone.now()
        open_steps = InvestigationStep.objects.filter(pk=task_id, status__in=(StepStatus.QUEUED, StepStatus.RUNNING))
        if not open_steps.update(status=StepStatus.RUNNING, started_at=now):
            return None
        step = InvestigationStep.objects.select_related("investigation").get(pk=task_id)
        started = Investigation.objects.filter(pk=step.investigation_id, status=InvestigationStatus.QUEUED)
        if started.update(status=InvestigationStatus.RUNNING, started_at=now):
            step.investigation.refresh_from_db()
            outbox.announce(events.investigation_updated(step.investigation))
        journal.append(
            investigation_id=step.investigation_id,
            kind=EventKind.STEP_STARTED,
            agent_type=step.agent_type,
            text=f"{step.agent_type.replace('_', ' ').capitalize()} begins: {step.reason}",
            data={"task_id": str(step.id)},
        )
    return step


def _task_of(step: InvestigationStep) -> Task:
    investigation = step.investigation
    earlier = InvestigationStep.objects.filter(
        investigation=investigation, stage__lt=step.stage, status=StepStatus.COMPLETED
    )
    return Task(
        task_id=str(step.id),
        agent_type=step.agent_type,
        prompt=step.reason,
        alert_id=str(investigation.alert_id) if investigation.alert_id else None,
        case_id=str(investigation.case_id),
        earlier={row.agent_type: row.output for row in earlier},
    )


def _thinker(step: InvestigationStep) -> Any:
    def think(text: str, data: dict[str, Any] | None = None) -> None:
        journal.append(
            investigation_id=step.investigation_id,
            kind=EventKind.THOUGHT,
            agent_type=step.agent_type,
            text=text,
            data=data,
        )

    return think


def _finish(
    step: InvestigationStep, status: str, *, output: dict[str, Any] | None = None, attempts: int = 1, error: str = ""
) -> None:
    with transaction.atomic():
        running = InvestigationStep.objects.filter(pk=step.pk, status__in=(StepStatus.QUEUED, StepStatus.RUNNING))
        if not running.update(
            status=status, output=output or {}, attempts=attempts, error=error, finished_at=timezone.now()
        ):
            return
        step.status, step.output = status, output or {}
        _journal_end(step, error)
        outbox.announce(events.agent_result(step))


def _journal_end(step: InvestigationStep, error: str) -> None:
    for finding in step.output.get("findings", []):
        journal.append(
            investigation_id=step.investigation_id,
            kind=EventKind.FINDING,
            agent_type=step.agent_type,
            text=f"{finding['title']} (confidence {finding['confidence']:.2f})",
            data=finding,
        )
    is_done = step.status == StepStatus.COMPLETED
    journal.append(
        investigation_id=step.investigation_id,
        kind=EventKind.STEP_COMPLETED if is_done else EventKind.STEP_FAILED,
        agent_type=step.agent_type,
        text=str(step.output.get("summary", "")) if is_done else error,
        data={name: step.output.get(name) for name in ("confidence", "confidence_reason")} if is_done else {},
    )
