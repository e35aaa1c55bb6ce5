"""Approvals: asked for in the step's own transaction, decided by others than who asked, expired by the clock, and looked at again before the step acts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson
import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from agents.playbooks import catalog, events, facts, runs
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.definition import Step
from agents.playbooks.models import Approval, Execution, ExecutionStep
from agents.playbooks.rows import Held
from agents.playbooks.slots import hosts_of
from agents.playbooks.states import ApprovalStatus, StepState
from aurora import audit
from aurora.actors import Actor, system
from aurora.bus import outbox
from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.identity.credentials import role_of
from aurora.ids import uuid_or_none
from aurora.models import ApiKey
from aurora.roles import permissions_of
from cases.models import Case
from cases.states import TimelineKind

CLOCK = system("clock")
PERMISSION = "approvals:decide"
LONGEST_REASON = 2_000

log = structlog.get_logger(__name__)

_AFFIRM = f"""
    UPDATE {Approval._meta.db_table} SET
        granted = granted + 1,
        decisions = decisions || %(line)s::jsonb,
        status = CASE WHEN granted + 1 >= needed THEN 'approved' ELSE 'pending' END,
        decided_at = CASE WHEN granted + 1 >= needed THEN now() END
    WHERE id = %(id)s AND status = 'pending' AND expires_at > now() AND requester <> %(by)s
        AND NOT decisions @> %(mine)s::jsonb
"""
_REJECT = f"""
    UPDATE {Approval._meta.db_table} SET status = 'rejected', decided_at = now(), decisions = decisions || %(line)s::jsonb
    WHERE id = %(id)s AND status = 'pending' AND expires_at > now() AND requester <> %(by)s
"""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """`approved`, `rejected` or `expired`, and whether a link brought it."""

    word: str
    is_by_link: bool = False

    def __str__(self) -> str:
        return self.word


def identity_of(actor: Actor) -> str:
    """Who somebody is when it matters that two are not the same: names of API keys need not be unique."""
    return f"key:{actor.key_id}" if actor.key_id else actor.name


def people_for(step: ExecutionStep, spec: Step) -> catalog.Approval:
    """How many people have to agree to a step, and why: by the rules of risk, and by what its author demands."""
    execution = step.execution
    hosts = hosts_of(step.parameters)
    critical = facts.is_critical(hosts) if hosts else execution.facts.get("asset_criticality") in ("high", "critical")
    ruled = catalog.approval_for(action=step.action, is_target_critical=critical)
    if spec.requires_approval == "always" and not ruled.is_needed:
        return catalog.Approval(1, f"the playbook “{execution.playbook}” asks before it")
    if spec.requires_approval == "never" and ruled.people == 1:
        return catalog.Approval(0, "its author waived it")
    return ruled


def is_granted(execution: Execution, step: ExecutionStep, spec: Step) -> bool:
    """Whether the step may act now; asks when nobody has been asked. Raises Invalid when what was approved no longer holds."""
    needed = people_for(step, spec)
    if not needed.is_needed or execution.dry_run or settings.MODE != "real":
        return True
    latest = step.approvals.order_by("-id").first()
    if latest is None:
        _request(execution, step, needed)
        return False
    if latest.status == ApprovalStatus.APPROVED:
        _check_again(latest, step, needed)
        return True
    return False


def approve(*, approval_id: UUID, actor: Actor, reason: str = "", is_by_link: bool = False) -> Approval:
    """One person's yes; the last that is needed lets the step go on. Raises Denied, Missing, Conflict."""
    return _decide(approval_id, actor, reason, _Verdict("approved", is_by_link))


def reject(*, approval_id: UUID, actor: Actor, reason: str, is_by_link: bool = False) -> Approval:
    """One person's no, which ends it: the step fails. Raises Denied, Missing, Conflict, Invalid without a reason."""
    if not reason.strip():
        raise Invalid("A rejection needs a reason")
    return _decide(approval_id, actor, reason, _Verdict("rejected", is_by_link))


def may_decide(identity: str) -> bool:
    """Whether who goes by `identity_of` may decide approvals now."""
    key_id = uuid_or_none(identity.removeprefix("key:")) if identity.startswith("key:") else None
    if key_id is not None:
        key = ApiKey.objects.filter(pk=key_id, revoked_at=None).first()
        return key is not None and PERMISSION in permissions_of(key.role)
    user = User.objects.filter(username=identity, is_active=True).first()
    return user is not None and PERMISSION in permissions_of(role_of(user))


def find(approval_id: UUID) -> Approval:
    """Raises Missing."""
    row = (
        Approval.objects.select_related("execution__playbook", "execution__case", "step").filter(pk=approval_id).first()
    )
    if row is None:
        raise Missing
    return row


def require_none_pending(case: Case) -> None:
    """Raises Conflict while somebody is asked about a run over the case, or over one of its alerts."""
    about = Q(execution__case=case) | Q(execution__alert__case=case)
    pending = Approval.objects.filter(about, status=ApprovalStatus.PENDING).first()
    if pending is not None:
        raise Conflict(f"An approval is pending: {pending.id}; decide it, or call its run off")


def expire_overdue() -> int:
    """Ends what nobody decided in time, and calls louder for what is half way there. For the scheduler."""
    now = timezone.now()
    overdue = Approval.objects.filter(status=ApprovalStatus.PENDING, expires_at__lte=now).order_by("id")
    expired = sum(_expire(approval_id) for approval_id in list(overdue.values_list("pk", flat=True)))
    pending = Approval.objects.filter(status=ApprovalStatus.PENDING, escalated_at=None, expires_at__gt=now)
    for approval in pending.order_by("id"):
        if now - approval.created_at >= approval.expires_at - now:
            _escalate(approval.id, now)
    return expired


def pending_count() -> int:
    """For the sidebar's badge."""
    return Approval.objects.filter(status=ApprovalStatus.PENDING).count()


def _request(execution: Execution, step: ExecutionStep, needed: catalog.Approval) -> None:
    approval = Approval.objects.create(
        execution=execution,
        step=step,
        action=step.action,
        parameters=step.parameters,
        reason=f"{ACTIONS[step.action].does}: {needed.reason}",
        is_reversible=ACTIONS[step.action].is_reversible,
        needed=needed.people,
        requested_by=execution.requested_by,
        requester=execution.requester,
        expires_at=timezone.now() + timedelta(seconds=settings.APPROVAL_SECONDS),
    )
    step.approval_id = approval.id  # type: ignore[attr-defined]  # as whoever reads steps with their newest question sets it
    asked = f"Approval asked for {runs.named(step)} by {execution.requested_by}: {needed.reason}"
    runs.note(execution, asked, step=step, kind=TimelineKind.APPROVAL)
    audit.record(system(execution.requested_by), "approval.requested", approval, after={"action": step.action})
    outbox.announce(events.approval_requested(approval))


def _decide(approval_id: UUID, actor: Actor, reason: str, verdict: _Verdict) -> Approval:
    actor.require(PERMISSION)
    with transaction.atomic():
        # The run first, as the engine does; the update decides which of two that come at once is the first.
        held = runs.held(find(approval_id).execution_id)
        if find(approval_id).needed > 1 and actor.key_id is not None:
            raise Denied("What cannot be undone is decided by people, not by programs")
        if not _written(approval_id, actor, reason, verdict.word):
            raise _refusal(find(approval_id), actor)
        approval = find(approval_id)
        approval.execution = held.execution
        _tell(approval, actor, verdict, reason)
        if approval.status != ApprovalStatus.PENDING:
            _go_on(approval, held, f"{verdict} by {actor.name}" + (f": {reason}" if reason else ""))
    return approval


def _written(approval_id: UUID, actor: Actor, reason: str, verdict: str) -> bool:
    by = identity_of(actor)
    line = {"by": by, "name": actor.name, "verdict": verdict, "reason": reason, "at": timezone.now()}
    values: dict[str, str | UUID] = {
        "id": approval_id,
        "by": by,
        "line": orjson.dumps([line], option=orjson.OPT_UTC_Z).decode(),
        "mine": orjson.dumps([{"by": by}]).decode(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_AFFIRM if verdict == "approved" else _REJECT, values)
        return bool(cursor.rowcount == 1)


def _refusal(approval: Approval, actor: Actor) -> Exception:
    if approval.requester == identity_of(actor):
        return Denied("Whoever asked does not decide")
    if approval.status != ApprovalStatus.PENDING:
        return Conflict(f"The approval is {approval.status} already")
    if approval.expires_at <= timezone.now():
        return Conflict("The approval has expired")
    return Conflict("You have approved it already; another person has to")


def _tell(approval: Approval, actor: Actor, verdict: _Verdict, reason: str) -> None:
    told = f"{runs.named(approval.step)} {verdict} by {actor.name}"
    if verdict.is_by_link:
        told += ", by link"
    if approval.status == ApprovalStatus.PENDING:
        told += f", {approval.granted} of {approval.needed}"
    runs.note(
        approval.execution, told + (f": {reason}" if reason else ""), step=approval.step, kind=TimelineKind.APPROVAL
    )
    after = {"status": approval.status, "reason": reason} | ({"by": "link"} if verdict.is_by_link else {})
    audit.record(actor, f"approval.{verdict}", approval, before={"status": ApprovalStatus.PENDING}, after=after)
    outbox.announce(events.approval_decided(approval))


def _go_on(approval: Approval, held: Held, told: str) -> None:
    step = held.step(approval.step_id)
    if step.status != StepState.AWAITING_APPROVAL:
        return
    if approval.status == ApprovalStatus.APPROVED:
        runs.queue(held, [step])
    else:
        runs.settle(held, step, StepState.FAILED, result={}, error=f"Its approval was {told}")


def _expire(approval_id: UUID) -> bool:
    with transaction.atomic():
        held = runs.held(find(approval_id).execution_id)
        line = {"by": CLOCK.name, "name": CLOCK.name, "verdict": "expired", "reason": "nobody decided in time"}
        line["at"] = timezone.now().isoformat()
        approval = find(approval_id)
        pending = Approval.objects.filter(pk=approval_id, status=ApprovalStatus.PENDING)
        if not pending.update(
            status=ApprovalStatus.EXPIRED, decided_at=timezone.now(), decisions=[*approval.decisions, line]
        ):
            return False
        approval = find(approval_id)
        approval.execution = held.execution
        _tell(approval, CLOCK, _Verdict("expired"), "nobody decided in time")
        _go_on(approval, held, "not decided in time")
    return True


def _escalate(approval_id: UUID, now: datetime) -> None:
    with transaction.atomic():
        execution = runs.held(find(approval_id).execution_id).execution
        waiting = Approval.objects.filter(pk=approval_id, status=ApprovalStatus.PENDING, escalated_at=None)
        if not waiting.update(escalated_at=now):
            return
        approval = find(approval_id)
        approval.execution = execution
        text = f"Half of the time to decide on {runs.named(approval.step)} is over, nobody has"
        runs.note(execution, text, step=approval.step, kind=TimelineKind.APPROVAL)
        audit.record(CLOCK, "approval.escalated", approval)
        outbox.announce(events.approval_requested(approval))
    log.warning("approval_escalated", approval=str(approval_id), action=approval.action)


def _check_again(approval: Approval, step: ExecutionStep, needed: catalog.Approval) -> None:
    """Between the decision and the act things change: what was approved, who may approve, how many it takes."""
    if approval.parameters != step.parameters:
        raise Invalid("What was approved is not what would be done now")
    holding = {one["by"] for one in approval.decisions if one["verdict"] == "approved" and may_decide(one["by"])}
    if len(holding - {approval.requester}) < max(needed.people, approval.needed):
        raise Invalid("The approval no longer holds: somebody who gave it may not decide any more")
