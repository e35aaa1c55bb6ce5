"""Runs: begun, called off, held up and let go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from agents import investigations
from agents.playbooks import approvals, facts, runs
from agents.playbooks.authoring import current_version
from agents.playbooks.models import AutomationRule, Execution, ExecutionStep, Playbook
from agents.playbooks.rows import Held
from agents.playbooks.states import ENDED_EXECUTIONS, Course, StepState
from aurora import audit
from aurora.actors import Actor
from aurora.errors import Conflict, Invalid, Missing
from cases import lifecycle
from cases.models import Alert, Case

PERMISSION = "playbooks:execute"


def execute(
    *,
    playbook_id: UUID,
    actor: Actor,
    case_id: UUID | None = None,
    alert_id: UUID | None = None,
    dry_run: bool = False,
    parameters: Mapping[str, Any] | None = None,
    rule: AutomationRule | None = None,
) -> Execution:
    """Begins a run of the playbook's present version over a case, or over an alert (in its case; a run in earnest finds or opens one).

    A `rule` that begins it does so in the place of its owner, who therefore may not decide its approvals.

    Raises Denied, Missing, Invalid, Conflict for a playbook that is switched off or a case that is closed.
    """
    actor.require(PERMISSION)
    is_dry = dry_run or settings.MODE == "dry_run"
    with transaction.atomic():
        playbook = Playbook.objects.filter(pk=playbook_id).first()
        if playbook is None:
            raise Missing
        if not playbook.enabled:
            raise Conflict(f"The playbook {playbook.name} is disabled")
        alert, case = _subject(alert_id, case_id, is_dry=is_dry)
        if case:
            lifecycle.require_open(case)
        execution = Execution.objects.create(
            playbook=playbook,
            version=current_version(playbook),
            case=case,
            alert=alert,
            dry_run=is_dry,
            requested_by=actor.name,
            requester=rule.owner if rule else approvals.identity_of(actor),
            rule=rule,
            parameters=dict(parameters or {}),
            facts=facts.gathered(alert=alert, case=case, parameters=parameters or {}),
        )
        steps = _laid_out(execution)
        about = {"playbook": playbook.name, "version": playbook.version, "dry_run": is_dry}
        audit.record(actor, "playbook.executed", execution, after=about)
        runs.note(execution, f"Playbook {playbook} v{playbook.version} started by {actor.name}")
        runs.advance(Held(execution, steps))
    return execution


def cancel(*, execution_id: UUID, actor: Actor, rollback: bool = False) -> Execution:
    """Calls a run off: what acts now ends, nothing more begins. With `rollback` what was completed is undone. Raises Denied, Missing, Conflict."""
    actor.require(PERMISSION)
    with transaction.atomic():
        held = _under_way(execution_id)
        execution = held.execution
        if execution.course != Course.FORWARD:
            raise Conflict("The run is being ended already")
        before = {"status": execution.status}
        audit.record(actor, "execution.cancelled", execution, before=before, after={"rollback": rollback})
        runs.note(execution, f"Called off by {actor.name}" + (", with rollback" if rollback else ""))
        execution.is_paused = False
        runs.turn(held, Course.UNDO if rollback else Course.CANCEL)
    return execution


def pause(*, execution_id: UUID, actor: Actor) -> Execution:
    """What acts now ends, nothing more begins until it is resumed. Raises Denied, Missing, Conflict."""
    return _hold(execution_id, actor, is_paused=True)


def resume(*, execution_id: UUID, actor: Actor) -> Execution:
    """Raises Denied, Missing, Conflict."""
    return _hold(execution_id, actor, is_paused=False)


def find(execution_id: UUID) -> Execution:
    """Raises Missing."""
    row = Execution.objects.select_related("playbook", "version").filter(pk=execution_id).first()
    if row is None:
        raise Missing
    return row


def _subject(alert_id: UUID | None, case_id: UUID | None, *, is_dry: bool) -> tuple[Alert | None, Case | None]:
    if not is_dry or alert_id is None or case_id is not None:
        return investigations.subject(alert_id, case_id)
    # A rehearsal leaves nothing behind, a case neither.
    alert = Alert.objects.select_related("case").filter(pk=alert_id).first()
    if alert is None:
        raise Missing
    return alert, alert.case


def _laid_out(execution: Execution) -> list[ExecutionStep]:
    steps: list[ExecutionStep] = ExecutionStep.objects.bulk_create(
        ExecutionStep(
            execution=execution,
            position=position,
            name=placed.step.name,
            action=placed.step.action,
            branch=placed.branch,
            after=list(placed.after),
        )
        for position, placed in enumerate(runs.plan_of(execution).values())
    )
    return steps


def _under_way(execution_id: UUID) -> Held:
    held = runs.held(execution_id)
    if held.execution.status in ENDED_EXECUTIONS:
        raise Conflict(f"The run is {held.execution.status} already")
    return held


def _hold(execution_id: UUID, actor: Actor, *, is_paused: bool) -> Execution:
    actor.require(PERMISSION)
    with transaction.atomic():
        held = _under_way(execution_id)
        execution = held.execution
        if execution.course != Course.FORWARD:
            raise Conflict("The run is being ended")
        if execution.is_paused == is_paused:
            raise Invalid("The run is paused already" if is_paused else "The run is not paused")
        execution.is_paused = is_paused
        was, now = {"is_paused": not is_paused}, {"is_paused": is_paused}
        audit.record(actor, "execution.paused" if is_paused else "execution.resumed", execution, before=was, after=now)
        runs.note(execution, f"{'Paused' if is_paused else 'Resumed'} by {actor.name}")
        runs.queue(held, [] if is_paused else [step for step in held.steps if step.status == StepState.QUEUED])
    return execution
