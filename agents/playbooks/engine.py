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
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from agents.playbooks import approvals, connectors, expressions, facts, leases, rows, runs, slots, templates
from agents.playbooks.actions.contract import Order
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.connectors import Outcome
from agents.playbooks.definition import Retry, Step
from agents.playbooks.events import work_of
from agents.playbooks.models import Connector, Execution, ExecutionStep
from agents.playbooks.rows import Held
from agents.playbooks.states import ENDED_EXECUTIONS, Course, ExecutionStatus, StepState, UndoState
from aurora.errors import Invalid, Unavailable
from aurora.texts import words

BUSY_SECONDS = 2.0
"""How long a step waits before it asks again for what another one has."""
PATIENCE = timedelta(minutes=15)
"""After which it waits no longer."""

NOTHING_TO_DO = "there is nothing to act on"

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
        held = rows.hold_by_step(step_id)
        if held is None:
            return
        step, told = held.step(step_id), f"No worker could finish it: {error}"
        if undo and step.undo in (UndoState.QUEUED, UndoState.RUNNING):
            runs.settle_undo(held, step, UndoState.FAILED, result={}, error=told)
        elif not undo and step.status in (StepState.QUEUED, StepState.RUNNING):
            runs.settle(held, step, StepState.FAILED, result=step.result, error=told)


def _take_up(step_id: UUID, *, undo: bool) -> Claim | None:
    with transaction.atomic():
        held = rows.hold_by_step(step_id)
        if held is None or held.execution.status in ENDED_EXECUTIONS:
            return None
        claim = (_claim_undo if undo else _claim_step)(held, held.step(step_id))
    if isinstance(claim, str):
        # Raised only now: what it waits for is to be seen meanwhile.
        raise Unavailable(claim, retry_after=BUSY_SECONDS)
    return claim


def _claim_step(held: Held, step: ExecutionStep) -> Claim | str | None:
    execution = held.execution
    spec = runs.plan_of(execution)[step.name].step
    if step.status == StepState.RUNNING:
        # Begun by a worker that may be dead: it goes on as it was begun, whatever the clock or the conditions say now.
        return _equipped(held, step, spec) if _has_run_out(step) else "Another worker has the step"
    if step.status != StepState.QUEUED or execution.course != Course.FORWARD or execution.is_paused:
        return None
    _begin(execution)
    try:
        context = facts.context_of(execution, held.steps)
        if not expressions.holds(spec.condition, context):
            runs.settle(held, step, StepState.SKIPPED, result={"reason": f"not so: {spec.condition}"})
            return None
        step.parameters = templates.filled(spec.parameters, context)
        if ACTIONS[step.action].is_idle(step.parameters):
            # Before anybody is asked: nobody is to decide on nothing.
            runs.settle(held, step, StepState.SKIPPED, result={"reason": NOTHING_TO_DO})
            return None
        if not approvals.is_granted(execution, step, spec):
            runs.await_approval(held, step)
            return None
    except Invalid as error:
        runs.settle(held, step, StepState.FAILED, result={}, error=error.detail)
        return None
    return _equipped(held, step, spec)


def _equipped(held: Held, step: ExecutionStep, spec: Step) -> Claim | str | None:
    """The claim itself: connector, slots, lease."""
    connector = connectors.serving(step.action, spec.connector)
    if is_dry(held.execution):
        return _lease(held.execution, step, spec, connector, step.parameters)
    if connector is None:
        wanted = f"named {spec.connector} " if spec.connector else ""
        error = f"No connector {wanted}serves {words(step.action)}: nothing was done"
        runs.settle(held, step, StepState.NOT_CONFIGURED, result={}, error=error)
        return None
    if missing := slots.take(step, connector):
        if step.queued_at and timezone.now() - step.queued_at > PATIENCE:
            # Two runs that each hold a host that the other wants would wait for ever.
            runs.settle(held, step, StepState.FAILED, result={}, error=f"Waited in vain for {missing}")
            return None
        step.note = f"Waits for {missing}"
        step.save(update_fields=["note", "parameters"])
        return step.note
    return _lease(held.execution, step, spec, connector, step.parameters)


def _claim_undo(held: Held, step: ExecutionStep) -> Claim | str | None:
    execution = held.execution
    if step.undo == UndoState.RUNNING and not _has_run_out(step):
        return "Another worker has the rollback"
    if step.undo not in (UndoState.QUEUED, UndoState.RUNNING) or execution.course != Course.UNDO:
        return None
    spec = runs.plan_of(execution)[step.name].step
    assert spec.rollback is not None  # noqa: S101 - only steps with a rollback are queued for one
    name = step.result.get("connector") if spec.rollback.action == step.action else None
    connector = connectors.serving(spec.rollback.action, name)
    if connector is None:
        error = f"No connector serves {words(spec.rollback.action)}: nothing was undone"
        runs.settle_undo(held, step, UndoState.NOT_CONFIGURED, result={}, error=error)
        return None
    try:
        context = facts.context_of(execution, held.steps)
        parameters = templates.filled(spec.rollback.parameters, context) or step.parameters
    except Invalid as error:
        runs.settle_undo(held, step, UndoState.FAILED, result={}, error=error.detail)
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
    if undo:
        step.undo = UndoState.RUNNING
    else:
        step.status = StepState.RUNNING
    lease = uuid4()
    rows.write_lease(step, lease=lease, seconds=settings.BUS_CLAIM_SECONDS)
    action = spec.rollback.action if undo and spec.rollback else step.action
    order = Order(
        action=action,
        key=work_of(step, undo=undo),
        parameters=parameters,
        undo=undo and action == step.action,
        timeout=spec.timeout,
        why=f"{execution.playbook} {execution.reference}: {execution.facts.get('title', '')}"[:500],
        facts=execution.facts,
    )
    return Claim(step, execution.id, lease, order, spec.retry, None if is_dry(execution) else connector, undo)


def is_dry(execution: Execution) -> bool:
    """Whether the run must have no effect: asked for so, or because the installation keeps no changes."""
    return execution.dry_run or settings.MODE != "real"


def _begin(execution: Execution) -> None:
    if execution.started_at is None:
        execution.started_at, execution.status = timezone.now(), ExecutionStatus.RUNNING
        rows.write(execution)


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
        held = runs.held(claim.execution_id)
        step = held.step(claim.step.pk)
        if step.lease != claim.lease or (step.undo if claim.undo else step.status) != StepState.RUNNING:
            log.warning("playbook_lease_lost", execution=str(claim.execution_id), step=claim.step.name)
            return
        settle = runs.settle_undo if claim.undo else runs.settle
        settle(held, step, outcome.status, result=outcome.result, error=outcome.error)
