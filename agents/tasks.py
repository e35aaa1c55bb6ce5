"""Running one step of an investigation: what an `agent-tasks` worker does with a task."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from agents import events, journal
from agents.builtin.contract import Task
from agents.dispatch import AgentFailed, Place, dispatch_from, reserve
from agents.models import Investigation, InvestigationStep
from agents.states import OPEN_STEPS, EventKind, InvestigationStatus, StepStatus
from aurora.bus import outbox
from aurora.errors import Conflict, Missing
from aurora.resilience.availability import is_outage
from aurora.resilience.breaker import BreakerOpen

MOST_PLACES = 6
"""Of a worker's handlers, however many calls at once an agent may be given: the others keep theirs."""
MOST_RESUMPTIONS = 9
"""A step that fails each time its agent is back, over four hours, is at fault itself."""

log = structlog.get_logger(__name__)


def run_step(*, task_id: UUID) -> None:
    """Runs a step to its end and announces the result. A step that has ended, or is not there, is left alone.

    An agent's failure is the step's result. An outage of the database, and BulkheadFull while the agent has no place, are raised: the task
    then comes again.
    """
    step = InvestigationStep.objects.filter(pk=task_id, status__in=OPEN_STEPS).first()
    if step is None:
        return
    try:
        with reserve(step.agent_type, wait=0, limit=MOST_PLACES) as place:
            _run(place, task_id)
    except (Missing, Conflict) as error:
        _finish(step, StepStatus.FAILED, error=error.detail)


def give_up(*, task_id: UUID, error: str) -> None:
    """Ends a step that no worker can bring to an end, as failed. One that has ended meanwhile is left alone."""
    step = InvestigationStep.objects.select_related("investigation").get(pk=task_id)
    log.error("investigation_step_given_up", agent_type=step.agent_type, task_id=str(step.id), error=error)
    _finish(step, StepStatus.FAILED, error=f"No worker could finish the task: {error}")


def _run(place: Place, task_id: UUID) -> None:
    step = _claim(task_id)
    if step is None:
        return
    try:
        done = dispatch_from(place, task=_task_of(step), think=_thinker(step))
    except Exception as error:
        if is_outage(error):
            raise
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        log.warning("investigation_step_failed", agent_type=step.agent_type, task_id=str(step.id), error=reason)
        is_owed = isinstance(error, (AgentFailed, BreakerOpen)) and step.resumptions < MOST_RESUMPTIONS
        _finish(step, StepStatus.FAILED, error=reason, is_owed=is_owed)
        return
    _finish(step, StepStatus.COMPLETED, output=done.output.as_json(), attempts=done.attempts)


def _claim(task_id: UUID) -> InvestigationStep | None:
    with transaction.atomic():
        now = timezone.now()
        open_steps = InvestigationStep.objects.filter(pk=task_id, status__in=OPEN_STEPS)
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
    step: InvestigationStep,
    status: str,
    *,
    output: dict[str, Any] | None = None,
    attempts: int = 1,
    error: str = "",
    is_owed: bool = False,
) -> None:
    with transaction.atomic():
        running = InvestigationStep.objects.filter(pk=step.pk, status__in=OPEN_STEPS)
        if not running.update(
            status=status,
            output=output or {},
            attempts=attempts,
            error=error,
            is_owed=is_owed,
            finished_at=timezone.now(),
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
