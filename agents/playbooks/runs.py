"""The course of a run: which steps come next, when it halts, goes back, and ends.

Everything here happens in a transaction that holds the run's row (`held`), in which the change that brings it about is written too: between the
end of a step and what follows from it there is no moment at which a worker could die. What follows is found out first, on the rows as they were
read, and then written as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from django.utils import timezone

from agents.playbooks import events, rows
from agents.playbooks.definition import Definition, Placed, layout
from agents.playbooks.models import Execution, ExecutionStep, PlaybookVersion
from agents.playbooks.rows import Held
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
from aurora import statements
from aurora.actors import system
from aurora.bus import outbox
from aurora.bus.outbox import Event
from aurora.errors import Missing
from aurora.texts import words
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
_CAME_TO_NOTHING = (StepState.FAILED, StepState.NOT_CONFIGURED)


def held(execution_id: UUID) -> Held:
    """The run and its steps, nobody else's to change until the transaction ends. Raises Missing."""
    found = rows.hold(execution_id)
    if found is None:
        raise Missing
    return found


@lru_cache(maxsize=256)
def _plan(version_id: UUID) -> Mapping[str, Placed]:
    definition = Definition.model_validate(PlaybookVersion.objects.get(pk=version_id).definition)
    return {placed.step.name: placed for placed in layout(definition)}


def plan_of(execution: Execution) -> Mapping[str, Placed]:
    """The steps of the version that the run keeps, by name, in their order."""
    return _plan(execution.version_id)


@dataclass(slots=True)
class _Change:
    """What comes of a run that is held, before any of it is written. `steps` are all of the run's; those in `changed` are to be written."""

    execution: Execution
    steps: list[ExecutionStep]
    changed: list[ExecutionStep] = field(default_factory=list)
    settled: list[ExecutionStep] = field(default_factory=list)
    """Those that no longer act, and so give back what they have taken."""
    lines: list[tuple[Case, str, ExecutionStep | None]] = field(default_factory=list)
    news: list[Event] = field(default_factory=list)

    def note(self, text: str, step: ExecutionStep | None = None) -> None:
        """A line in the timeline of the run's case, if it has one."""
        if case := self.execution.case:
            self.lines.append((case, text, step))
            self.news.append(case_events.case_updated(case))

    def write(self) -> None:
        """All of it in one round trip."""
        with statements.pipeline():
            is_over = self.execution.status in ENDED_EXECUTIONS
            rows.write(self.execution, self.changed, freed=self.steps if is_over else self.settled)
            for case, text, step in self.lines:
                _write_line(case, self.execution, text, step, TimelineKind.PLAYBOOK)
            outbox.announce(*self.news)


def settle(held: Held, step: ExecutionStep, status: str, *, result: dict[str, Any], error: str = "") -> None:
    """Writes how a step of the held run ended, and what follows from it for the run."""
    change = _Change(*held, changed=[step], settled=[step])
    execution = change.execution
    execution.settled_count += 1
    step.status, step.result, step.error, step.note = status, result, error, ""
    step.settled_as, step.finished_at = execution.settled_count, timezone.now()
    step.lease = step.lease_until = None
    change.note(_how_it_ended(step), step)
    if status == StepState.FAILED:
        _take_failure(change, step)
    _advance(change)


def settle_undo(held: Held, step: ExecutionStep, status: str, *, result: dict[str, Any], error: str = "") -> None:
    """Writes how a step's rollback ended. One that failed is said loudly and left on the case as a task: somebody has to undo it by hand."""
    change = _Change(*held, changed=[step], settled=[step])
    step.undo, step.undo_result = status, {**result, **({"error": error} if error else {})}
    step.lease = step.lease_until = None
    if status == UndoState.COMPLETED:
        change.note(f"Undone: {named(step)}", step)
    else:
        change.note(_left_by_hand(change.execution, step, error), step)
    _advance(change)


def await_approval(held: Held, step: ExecutionStep) -> None:
    """Lays a step aside until somebody has decided on it."""
    step.status = StepState.AWAITING_APPROVAL
    _advance(_Change(*held, changed=[step]))


def turn(held: Held, course: str) -> None:
    """Leaves the way forward: what has not begun will not, and nobody needs to decide on it any more."""
    change = _Change(*held)
    _turn(change, course)
    _advance(change)


def advance(held: Held) -> None:
    """Sends out what is ready, or ends the run. Called again it finds nothing to do."""
    _advance(_Change(*held))


def _turn(change: _Change, course: str) -> None:
    execution = change.execution
    if execution.course != Course.FORWARD:
        return
    execution.course = course
    now = timezone.now()
    for step in change.steps:
        if step.status in UNSETTLED_STEPS and step.status != StepState.RUNNING:
            step.status, step.finished_at, step.note = StepState.CANCELLED, now, ""
            change.changed.append(step)
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
        change.news.append(events.approval_decided(approval))


def _advance(change: _Change) -> None:
    execution, steps = change.execution, change.steps
    if execution.status in ENDED_EXECUTIONS:
        change.write()
        return
    queued: list[Event] = []
    if execution.course == Course.FORWARD:
        queued = _queue_ready(change)
        is_over = all(step.status not in UNSETTLED_STEPS for step in steps)
    elif any(step.status == StepState.RUNNING for step in steps):
        is_over = False
    else:
        queued = _queue_next_undo(change) if execution.course == Course.UNDO else []
        is_over = not any(step.undo in IN_FLIGHT_UNDOS for step in steps)
    if is_over:
        _conclude(change)
    else:
        execution.status = _status_of(execution, steps)
    change.news += [*queued, events.execution_updated(execution, steps)]
    change.write()


def queue(held: Held, steps: Iterable[ExecutionStep]) -> None:
    """Hands steps to the workers."""
    change = _Change(*held)
    change.news += _queued(change, steps)
    _advance(change)


def note(
    execution: Execution, text: str, *, step: ExecutionStep | None = None, kind: str = TimelineKind.PLAYBOOK
) -> None:
    """A line in the timeline of the run's case, if it has one."""
    if execution.case is not None:
        _write_line(execution.case, execution, text, step, kind)
        outbox.announce(case_events.case_updated(execution.case))


def _write_line(case: Case, execution: Execution, text: str, step: ExecutionStep | None, kind: str) -> None:
    data = {"execution_id": str(execution.id)} | ({"step": step.name} if step else {})
    told = f"[dry run] {text}" if execution.dry_run else text
    lifecycle.note(case=case, kind=kind, actor=AUTHOR, text=told, data=data)


def named(step: ExecutionStep) -> str:
    """A step by its name and what it does: `isolate (Isolate host)`."""
    does = words(step.action)
    return step.name if step.name.lower() == does.lower() else f"{step.name} ({does})"


def targets_of(parameters: Mapping[str, Any]) -> str:
    """On what a step acts, short enough for a line."""
    for value in parameters.values():
        if value:
            items = value if isinstance(value, list) else [value]
            more = f" and {len(items) - 5} more" if len(items) > 5 else ""
            return ", ".join(str(item)[:120] for item in items[:5]) + more
    return "nothing named"


def _queue_ready(change: _Change) -> list[Event]:
    steps = change.steps
    settled = {step.name for step in steps if step.status not in UNSETTLED_STEPS}
    ready = [step for step in steps if step.status == StepState.PENDING and settled.issuperset(step.after)]
    return _queued(change, ready)


def _queued(change: _Change, steps: Iterable[ExecutionStep]) -> list[Event]:
    now = timezone.now()
    for step in steps:
        step.status, step.queued_at = StepState.QUEUED, now
        change.changed.append(step)
    return [events.playbook_step(step) for step in steps]


def _queue_next_undo(change: _Change) -> list[Event]:
    """The rollback of what was completed last, one after the other. None when nothing is left to undo, or one is under way."""
    if any(step.undo in IN_FLIGHT_UNDOS for step in change.steps):
        return []
    left = [
        step for step in change.steps if step.status == StepState.COMPLETED and not step.undo and _has_rollback(step)
    ]
    if not left:
        return []
    last = max(left, key=lambda step: step.settled_as or 0)
    last.undo, last.queued_at = UndoState.QUEUED, timezone.now()
    change.changed.append(last)
    return [events.playbook_step(last, undo=True)]


def _has_rollback(step: ExecutionStep) -> bool:
    execution = step.execution
    return not execution.dry_run and plan_of(execution)[step.name].step.rollback is not None


def _take_failure(change: _Change, step: ExecutionStep) -> None:
    """The run leaves the way forward, unless the step's author says that it goes on."""
    match plan_of(change.execution)[step.name].step.on_failure:
        case "stop":
            _turn(change, Course.HALT)
        case "rollback":
            _turn(change, Course.UNDO)


def _status_of(execution: Execution, steps: list[ExecutionStep]) -> str:
    if execution.course != Course.FORWARD:
        return ExecutionStatus.RUNNING
    statuses = {step.status for step in steps}
    if statuses.isdisjoint(IN_FLIGHT_STEPS) and StepState.AWAITING_APPROVAL in statuses:
        return ExecutionStatus.AWAITING_APPROVAL
    return ExecutionStatus.RUNNING if execution.started_at else ExecutionStatus.QUEUED


def _conclude(change: _Change) -> None:
    execution, steps = change.execution, change.steps
    failed_undos = [step.name for step in steps if step.undo in (UndoState.FAILED, UndoState.NOT_CONFIGURED)]
    if execution.course == Course.UNDO:
        execution.status = ExecutionStatus.FAILED if failed_undos else ExecutionStatus.ROLLED_BACK
    else:
        execution.status = _END_OF[Course(execution.course)]
    execution.summary = _summary(steps, failed_undos)
    execution.finished_at, execution.is_paused = timezone.now(), False
    change.note(f"Playbook {execution.playbook} {execution.status.replace('_', ' ')}: {execution.summary}")


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


def _how_it_ended(step: ExecutionStep) -> str:
    text = f"{named(step)} {step.status.replace('_', ' ')}"
    if step.status in _CAME_TO_NOTHING:
        return f"{text}: {step.error}"
    if step.status == StepState.SKIPPED:
        return f"{text}: {step.result['reason']}"
    return f"{text}: {targets_of(step.parameters)}" if step.status == StepState.COMPLETED else text


def _left_by_hand(execution: Execution, step: ExecutionStep, error: str) -> str:
    """Leaves a task on the case; what is to be told of it."""
    log.error("playbook_rollback_failed", execution=str(execution.id), step=step.name, error=error)
    what = f"undo {step.name} ({words(step.action)} on {targets_of(step.parameters)})"
    text = f"To do by hand: {what}, its rollback failed: {error}"
    if execution.case_id:
        # Before any line: who has written one shares the case's row, and two who share it would wait for each other to lock it.
        tasks.leave_task(
            case_id=execution.case_id,
            title=f"By hand: {what}"[:500],
            description=f"{text}\nRun {execution.reference} of {execution.playbook}.",
            actor=system(AUTHOR),
        )
    return text
