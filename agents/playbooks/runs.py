"""The course of a run: which steps come next, when it halts, goes back, and ends.

Everything here happens in a transaction that holds the run's row (`locked`), in which the change that brings it about is written too: between
the end of a step and what follows from it there is no moment at which a worker could die.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from django.db.models import QuerySet
from django.utils import timezone

from agents.playbooks import events, slots
from agents.playbooks.definition import Definition, Placed, layout
from agents.playbooks.models import Execution, ExecutionStep, PlaybookVersion
from agents.playbooks.states import (
    ENDED_EXECUTIONS,
    IN_FLIGHT_STEPS,
    IN_FLIGHT_UNDOS,
    UNSETTLED_STEPS,
    ApprovalStatus,
    Course,
    ExecutionStatus,
    StepState,
    UndoState,
)
from aurora.actors import system
from aurora.bus import outbox
from aurora.bus.outbox import Event
from aurora.errors import Missing
from cases import events as case_events
from cases import lifecycle, tasks
from cases.models import Case
from cases.states import TimelineKind

AUTHOR = "playbooks"

log = structlog.get_logger(__name__)

_END_OF = {
    Course.FORWARD: ExecutionStatus.COMPLETED,
    Course.HALT: ExecutionStatus.FAILED,
    Course.CANCEL: ExecutionStatus.CANCELLED,
}
_ENDING = ("status", "result", "error", "note", "parameters", "settled_as", "finished_at", "lease", "lease_until")
_CAME_TO_NOTHING = (StepState.FAILED, StepState.NOT_CONFIGURED)


def locked(execution_id: UUID) -> Execution:
    """The run, nobody else's to change until the transaction ends. Raises Missing."""
    row = _lockable().filter(pk=execution_id).first()
    if row is None:
        raise Missing
    if row.case_id is not None and row.case is None:
        # Its case went into another one while the lock was waited for: PostgreSQL has the row as it is now, what is joined to it as it was.
        row.case = Case.objects.get(pk=row.case_id)
    return row


def locked_by_step(step_id: UUID) -> Execution | None:
    """The run of a step, as `locked`; None when there is no such step."""
    return _lockable().filter(steps=step_id).first()


def _lockable() -> QuerySet[Execution]:
    # The version's texts are large, and `plan_of` knows what they say.
    rows = Execution.objects.select_for_update(of=("self",)).select_related("playbook", "version", "case")
    return rows.defer("version__definition", "version__source")


@lru_cache(maxsize=256)
def _plan(version_id: UUID) -> Mapping[str, Placed]:
    definition = Definition.model_validate(PlaybookVersion.objects.get(pk=version_id).definition)
    return {placed.step.name: placed for placed in layout(definition)}


def plan_of(execution: Execution) -> Mapping[str, Placed]:
    """The steps of the version that the run keeps, by name, in their order."""
    return _plan(execution.version_id)


def settle(
    execution: Execution,
    step: ExecutionStep,
    status: str,
    *,
    result: dict[str, Any],
    error: str = "",
    steps: list[ExecutionStep] | None = None,
) -> None:
    """Writes how a step ended and what follows from it for the run. `steps` are all of the run's, `step` among them, for who has them."""
    execution.settled_count += 1  # written by `advance`; the run's row is ours
    step.status, step.result, step.error, step.note = status, result, error, ""
    step.settled_as, step.finished_at = execution.settled_count, timezone.now()
    step.lease = step.lease_until = None
    step.save(update_fields=_ENDING)
    slots.release(step)
    news = _note_end(execution, step)
    has_turned = status == StepState.FAILED and _take_failure(execution, step)
    advance(execution, None if has_turned else steps, news)


def settle_undo(
    execution: Execution, step: ExecutionStep, status: str, *, result: dict[str, Any], error: str = ""
) -> None:
    """Writes how a step's rollback ended. One that failed is said loudly and left on the case as a task: somebody has to undo it by hand."""
    step.undo, step.undo_result = status, {**result, **({"error": error} if error else {})}
    step.lease, step.lease_until = None, None
    step.save()
    slots.release(step)
    if status == UndoState.COMPLETED:
        note(execution, f"Undone: {step.name} ({step.action})", step=step)
    else:
        log.error("playbook_rollback_failed", execution=str(execution.id), step=step.name, error=error)
        what = f"undo {step.name} ({step.action} on {targets_of(step.parameters)})"
        text = f"To do by hand: {what}, its rollback failed: {error}"
        if execution.case_id:
            # Before the line: who has written one shares the case's row, and two who share it would wait for each other to lock it.
            tasks.leave_task(
                case_id=execution.case_id,
                title=f"By hand: {what}"[:500],
                description=f"{text}\nRun {execution.reference} of {execution.playbook.name}.",
                actor=system(AUTHOR),
            )
        note(execution, text, step=step)
    advance(execution)


def turn(execution: Execution, course: str) -> None:
    """Leaves the way forward: what has not begun will not, and nobody needs to decide on it any more."""
    if execution.course != Course.FORWARD:
        return
    execution.course = course
    execution.save(update_fields=["course"])
    now = timezone.now()
    waiting = execution.steps.filter(status__in=set(UNSETTLED_STEPS) - {StepState.RUNNING})
    waiting.update(status=StepState.CANCELLED, finished_at=now, note="")
    for approval in execution.approvals.filter(status=ApprovalStatus.PENDING):
        line = {
            "by": AUTHOR,
            "name": AUTHOR,
            "verdict": "expired",
            "reason": "the run no longer needs it",
            "at": now.isoformat(),
        }
        approval.status, approval.decided_at, approval.decisions = (
            ApprovalStatus.EXPIRED,
            now,
            [*approval.decisions, line],
        )
        approval.save(update_fields=["status", "decided_at", "decisions"])
        outbox.announce(events.approval_decided(approval))


def advance(execution: Execution, steps: list[ExecutionStep] | None = None, news: Sequence[Event] = ()) -> None:
    """Sends out what is ready, or ends the run; `news` is announced before. Called again it finds nothing to do."""
    if execution.status in ENDED_EXECUTIONS:
        outbox.announce(*news)
        return
    steps = events.steps_of(execution) if steps is None else steps
    queued: list[Event] = []
    if execution.course == Course.FORWARD:
        queued = _queue_ready(steps)
        is_over = all(step.status not in UNSETTLED_STEPS for step in steps)
    elif any(step.status == StepState.RUNNING for step in steps):
        is_over = False
    else:
        queued = _queue_next_undo(steps) if execution.course == Course.UNDO else []
        is_over = not any(step.undo in IN_FLIGHT_UNDOS for step in steps)
    if is_over:
        outbox.announce(*news)
        news = ()
        _conclude(execution, steps)
    else:
        execution.status = _status_of(execution, steps)
        execution.save(update_fields=["status", "settled_count"])
    outbox.announce(*news, *queued, events.execution_updated(execution, steps))


def note(
    execution: Execution, text: str, *, step: ExecutionStep | None = None, kind: str = TimelineKind.PLAYBOOK
) -> None:
    """A line in the timeline of the run's case, if it has one."""
    outbox.announce(*_noted(execution, text, step=step, kind=kind))


def _noted(
    execution: Execution, text: str, *, step: ExecutionStep | None = None, kind: str = TimelineKind.PLAYBOOK
) -> list[Event]:
    if execution.case is None:
        return []
    data = {"execution_id": str(execution.id)} | ({"step": step.name} if step else {})
    prefix = f"[dry run] {text}" if execution.dry_run else text
    lifecycle.note(case=execution.case, kind=kind, actor=AUTHOR, text=prefix, data=data)
    return [case_events.case_updated(execution.case)]


def targets_of(parameters: Mapping[str, Any]) -> str:
    """On what a step acts, short enough for a line."""
    for value in parameters.values():
        if value:
            items = value if isinstance(value, list) else [value]
            more = f" and {len(items) - 5} more" if len(items) > 5 else ""
            return ", ".join(str(item)[:120] for item in items[:5]) + more
    return "nothing named"


def _queue_ready(steps: list[ExecutionStep]) -> list[Event]:
    settled = {step.name for step in steps if step.status not in UNSETTLED_STEPS}
    return _queued([step for step in steps if step.status == StepState.PENDING and settled.issuperset(step.after)])


def queue(step: ExecutionStep) -> None:
    """Hands a step to the workers."""
    outbox.announce(*_queued([step]))


def _queued(steps: list[ExecutionStep]) -> list[Event]:
    now = timezone.now()
    for step in steps:
        step.status, step.queued_at = StepState.QUEUED, now
    if steps:
        ExecutionStep.objects.filter(pk__in=[step.pk for step in steps]).update(status=StepState.QUEUED, queued_at=now)
    return [events.playbook_step(step) for step in steps]


def _queue_next_undo(steps: list[ExecutionStep]) -> list[Event]:
    """The rollback of what was completed last, one after the other. None when nothing is left to undo, or one is under way."""
    if any(step.undo in IN_FLIGHT_UNDOS for step in steps):
        return []
    left = [step for step in steps if step.status == StepState.COMPLETED and not step.undo and _has_rollback(step)]
    if not left:
        return []
    last = max(left, key=lambda step: step.settled_as or 0)
    last.undo, last.queued_at = UndoState.QUEUED, timezone.now()
    last.save(update_fields=["undo", "queued_at"])
    return [events.playbook_step(last, undo=True)]


def _has_rollback(step: ExecutionStep) -> bool:
    execution = step.execution
    return not execution.dry_run and plan_of(execution)[step.name].step.rollback is not None


def _take_failure(execution: Execution, step: ExecutionStep) -> bool:
    """Whether the run leaves the way forward."""
    match plan_of(execution)[step.name].step.on_failure:
        case "stop":
            turn(execution, Course.HALT)
        case "rollback":
            turn(execution, Course.UNDO)
        case _:
            return False
    return True


def _status_of(execution: Execution, steps: list[ExecutionStep]) -> str:
    if execution.course != Course.FORWARD:
        return ExecutionStatus.RUNNING
    statuses = {step.status for step in steps}
    if statuses.isdisjoint(IN_FLIGHT_STEPS) and StepState.AWAITING_APPROVAL in statuses:
        return ExecutionStatus.AWAITING_APPROVAL
    return ExecutionStatus.RUNNING if execution.started_at else ExecutionStatus.QUEUED


def _conclude(execution: Execution, steps: list[ExecutionStep]) -> None:
    failed_undos = [step.name for step in steps if step.undo in (UndoState.FAILED, UndoState.NOT_CONFIGURED)]
    if execution.course == Course.UNDO:
        execution.status = ExecutionStatus.FAILED if failed_undos else ExecutionStatus.ROLLED_BACK
    else:
        execution.status = _END_OF[Course(execution.course)]
    execution.summary = _summary(steps, failed_undos)
    execution.finished_at, execution.is_paused = timezone.now(), False
    execution.save(update_fields=["status", "summary", "finished_at", "is_paused", "settled_count"])
    slots.release_all(execution)
    note(execution, f"Playbook {execution.playbook.name} {execution.status.replace('_', ' ')}: {execution.summary}")


def _summary(steps: list[ExecutionStep], failed_undos: list[str]) -> str:
    parts = [f"{sum(step.status == StepState.COMPLETED for step in steps)} of {len(steps)} steps completed"]
    for status, label in (
        (StepState.FAILED, "failed"),
        (StepState.NOT_CONFIGURED, "not configured"),
        (StepState.SKIPPED, "skipped"),
    ):
        if names := [step.name for step in steps if step.status == status]:
            parts.append(f"{label}: {', '.join(names)}")
    if failed_undos:
        parts.append(f"NOT UNDONE, undo by hand: {', '.join(failed_undos)}")
    return "; ".join(parts)


def _note_end(execution: Execution, step: ExecutionStep) -> list[Event]:
    text = f"{step.name} ({step.action}) {step.status.replace('_', ' ')}"
    if step.status in _CAME_TO_NOTHING:
        text += f": {step.error}"
    elif step.status == StepState.COMPLETED:
        text += f": {targets_of(step.parameters)}"
    return _noted(execution, text, step=step)
