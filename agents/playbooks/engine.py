"""Running one step, or its rollback: what a `playbooks` worker does with a message.

A step is taken up by a conditional update under a lease, acted on outside of any transaction while a thread keeps the lease, and settled by another
conditional update that only the lease's holder can make. Killed anywhere, the step is taken up by another worker once the lease has run out, and
the target is told of it under the same key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from agents.playbooks import approvals, connectors, events, expressions, facts, leases, runs, slots, templates
from agents.playbooks.actions.contract import Order
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.connectors import Outcome
from agents.playbooks.definition import Retry, Step
from agents.playbooks.events import work_of
from agents.playbooks.models import Connector, Execution, ExecutionStep
from agents.playbooks.states import ENDED_EXECUTIONS, Course, ExecutionStatus, StepState, UndoState
from aurora.errors import Invalid, Unavailable

BUSY_SECONDS = 2.0
"""How long a step waits before it asks again for what another one has."""
PATIENCE = timedelta(minutes=15)
"""After which it waits no longer."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A step in hand. `connector` is None for a dry run."""

    step: ExecutionStep
    execution_id: UUID
    lease: UUID
    order: Order
    retry: Retry
    connector: Connector | None
    undo: bool


def run_step(*, step_id: UUID, undo: bool = False) -> None:
    """Brings a step, or its rollback, to its end. One that has ended, is not due, or is not there is left alone.

    Raises Unavailable while another worker has it or what it needs; and what an outage of the database raises: the message then comes again.
    """
    claim = _take_up(step_id, undo=undo)
    if claim is None:
        return
    with leases.kept(step_id=claim.step.pk, lease=claim.lease):
        outcome = _outcome_of(claim)
    _settle(claim, outcome)


def give_up(*, step_id: UUID, undo: bool, error: str) -> None:
    """Ends what no worker can bring to an end, as failed. What has ended meanwhile is left alone."""
    with transaction.atomic():
        held = _locked(step_id)
        if held is None:
            return
        execution, step, steps = held
        told = f"No worker could finish it: {error}"
        if undo and step.undo in (UndoState.QUEUED, UndoState.RUNNING):
            runs.settle_undo(execution, step, UndoState.FAILED, result={}, error=told)
        elif not undo and step.status in (StepState.QUEUED, StepState.RUNNING):
            runs.settle(execution, step, StepState.FAILED, result=step.result, error=told, steps=steps)


_Held = tuple[Execution, ExecutionStep, list[ExecutionStep]]
"""A run that nobody else changes now, one of its steps, and all of them."""


def _locked(step_id: UUID) -> _Held | None:
    execution = runs.locked_by_step(step_id)
    if execution is None:
        return None
    steps = events.steps_of(execution)
    return execution, next(step for step in steps if str(step.pk) == str(step_id)), steps


def _take_up(step_id: UUID, *, undo: bool) -> Claim | None:
    with transaction.atomic():
        held = _locked(step_id)
        if held is None or held[0].status in ENDED_EXECUTIONS:
            return None
        claim = _claim_undo(*held) if undo else _claim_step(*held)
    if isinstance(claim, str):
        # Raised only now: what it waits for is to be seen meanwhile.
        raise Unavailable(claim, retry_after=BUSY_SECONDS)
    return claim


def _claim_step(execution: Execution, step: ExecutionStep, steps: list[ExecutionStep]) -> Claim | str | None:
    spec = runs.plan_of(execution)[step.name].step
    if step.status == StepState.RUNNING:
        # Begun by a worker that may be dead: it goes on as it was begun, whatever the clock or the conditions say now.
        return _held(execution, step, steps, spec) if _has_run_out(step) else "Another worker has the step"
    if step.status != StepState.QUEUED or execution.course != Course.FORWARD or execution.is_paused:
        return None
    _begin(execution)
    try:
        context = facts.context_of(execution, steps)
        if not expressions.holds(spec.condition, context):
            reason = {"reason": f"not so: {spec.condition}"}
            runs.settle(execution, step, StepState.SKIPPED, result=reason, steps=steps)
            return None
        step.parameters = templates.filled(spec.parameters, context)
        if not approvals.is_granted(execution, step, spec):
            step.status = StepState.AWAITING_APPROVAL
            step.save(update_fields=["status", "parameters"])
            runs.advance(execution)
            return None
    except Invalid as error:
        runs.settle(execution, step, StepState.FAILED, result={}, error=error.detail)
        return None
    return _held(execution, step, steps, spec)


def _held(execution: Execution, step: ExecutionStep, steps: list[ExecutionStep], spec: Step) -> Claim | str | None:
    """The claim itself: connector, slots, lease."""
    connector = connectors.serving(step.action, spec.connector)
    if is_dry(execution):
        return _lease(execution, step, spec, connector, step.parameters)
    if connector is None:
        wanted = f"named {spec.connector} " if spec.connector else ""
        error = f"No connector {wanted}serves {step.action}: nothing was done"
        runs.settle(execution, step, StepState.NOT_CONFIGURED, result={}, error=error, steps=steps)
        return None
    if missing := slots.take(step, connector):
        if step.queued_at and timezone.now() - step.queued_at > PATIENCE:
            # Two runs that each hold a host that the other wants would wait for ever.
            runs.settle(execution, step, StepState.FAILED, result={}, error=f"Waited in vain for {missing}")
            return None
        step.note = f"Waits for {missing}"
        step.save(update_fields=["note", "parameters"])
        return step.note
    return _lease(execution, step, spec, connector, step.parameters)


def _claim_undo(execution: Execution, step: ExecutionStep, steps: list[ExecutionStep]) -> Claim | str | None:
    if step.undo == UndoState.RUNNING and not _has_run_out(step):
        return "Another worker has the rollback"
    if step.undo not in (UndoState.QUEUED, UndoState.RUNNING) or execution.course != Course.UNDO:
        return None
    spec = runs.plan_of(execution)[step.name].step
    assert spec.rollback is not None  # noqa: S101 - only steps with a rollback are queued for one
    name = step.result.get("connector") if spec.rollback.action == step.action else None
    connector = connectors.serving(spec.rollback.action, name)
    if connector is None:
        error = f"No connector serves {spec.rollback.action}: nothing was undone"
        runs.settle_undo(execution, step, UndoState.NOT_CONFIGURED, result={}, error=error)
        return None
    try:
        parameters = templates.filled(spec.rollback.parameters, facts.context_of(execution, steps)) or step.parameters
    except Invalid as error:
        runs.settle_undo(execution, step, UndoState.FAILED, result={}, error=error.detail)
        return None
    return _lease(execution, step, spec, connector, parameters, undo=True)


def _lease(
    execution: Execution,
    step: ExecutionStep,
    spec: Step,
    connector: Connector | None,
    parameters: Any,
    *,
    undo: bool = False,
) -> Claim:
    lease = uuid4()
    begun: dict[str, Any] = (
        {"undo": UndoState.RUNNING} if undo else {"status": StepState.RUNNING, "parameters": parameters}
    )
    ExecutionStep.objects.filter(pk=step.pk).update(
        **begun,
        lease=lease,
        lease_until=Now() + timedelta(seconds=settings.BUS_CLAIM_SECONDS),
        attempts=F("attempts") + 1,
        started_at=step.started_at or timezone.now(),
        note="",
    )
    action = spec.rollback.action if undo and spec.rollback else step.action
    order = Order(
        action=action,
        key=work_of(step, undo=undo),
        parameters=parameters,
        undo=undo and action == step.action,
        timeout=spec.timeout,
        why=f"{execution.playbook.name} {execution.reference}: {execution.facts.get('title', '')}"[:500],
        facts=execution.facts,
    )
    return Claim(step, execution.id, lease, order, spec.retry, None if is_dry(execution) else connector, undo)


def is_dry(execution: Execution) -> bool:
    """Whether the run must have no effect: asked for so, or because the installation keeps no changes."""
    return execution.dry_run or settings.MODE != "real"


def _begin(execution: Execution) -> None:
    if execution.started_at is None:
        execution.started_at, execution.status = timezone.now(), ExecutionStatus.RUNNING
        execution.save(update_fields=["started_at", "status"])


def _has_run_out(step: ExecutionStep) -> bool:
    expired = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())
    return ExecutionStep.objects.filter(expired, pk=step.pk).exists()


def _outcome_of(claim: Claim) -> Outcome:
    if claim.connector is None:
        return Outcome(StepState.COMPLETED, {"dry_run": True, "would": _forecast(claim)})
    return connectors.carry_out(connector=claim.connector, order=claim.order, retry=claim.retry)


def _forecast(claim: Claim) -> dict[str, Any]:
    """What would happen, for a dry run to show."""
    connector = connectors.serving(claim.order.action)
    people = approvals.people_for(claim.step, runs.plan_of(claim.step.execution)[claim.step.name].step)
    return {
        "action": claim.order.action,
        "does": ACTIONS[claim.order.action].does,
        "parameters": dict(claim.order.parameters),
        "connector": connector.name if connector else None,
        "would_end": "completed" if connector else "not_configured",
        "approval": {"people": people.people, "reason": people.reason},
    }


def _settle(claim: Claim, outcome: Outcome) -> None:
    with transaction.atomic():
        execution = runs.locked(claim.execution_id)
        steps = events.steps_of(execution)
        step = next((one for one in steps if one.pk == claim.step.pk and one.lease == claim.lease), None)
        if step is None or (step.undo if claim.undo else step.status) != StepState.RUNNING:
            log.warning("playbook_lease_lost", execution=str(claim.execution_id), step=claim.step.name)
            return
        ended: dict[str, Any] = {"result": outcome.result, "error": outcome.error}
        if claim.undo:
            runs.settle_undo(execution, step, outcome.status, **ended)
        else:
            runs.settle(execution, step, outcome.status, **ended, steps=steps)
