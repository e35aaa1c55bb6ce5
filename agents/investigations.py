"""Investigations: begun for an alert or a case, carried from stage to stage, concluded.

Each change is one transaction with its events. Tasks go out by the outbox, results come back by the bus, and `advance` is what each result
calls: whichever ends last moves the investigation on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from agents import events, incidents, journal
from agents.builtin import ANALYSES
from agents.models import Agent, Investigation, InvestigationStep
from agents.planning import PlannedStep, plan
from agents.states import (
    ENDED_INVESTIGATIONS,
    ENDED_STEPS,
    NO_CONFIDENCE,
    OPEN_STEPS,
    AgentType,
    EventKind,
    InvestigationStatus,
    StepStatus,
)
from aurora import audit
from aurora.actors import Actor, system
from aurora.bus import outbox
from aurora.errors import Invalid, Missing
from cases import events as case_events
from cases import lifecycle, triage
from cases.models import Alert, Case
from cases.states import CLOSED_CASES, ENDED_ALERTS, URGENT, AlertStatus, TimelineKind

ORCHESTRATOR = system("orchestrator")

RESUME_WITHIN = timedelta(days=1)
MOST_OWED = 200
FIRST_PAUSE = timedelta(minutes=1)
"""Between a step that failed although its agent was back, and the next time it is begun; doubled each time."""

_AS_NEW: dict[str, Any] = {
    "status": StepStatus.PENDING,
    "output": {},
    "attempts": 0,
    "error": "",
    "is_owed": False,
    "started_at": None,
    "finished_at": None,
    "noted_at": None,
}
"""A step as the plan made it."""
_CASE_LOCK = 0x41C5E5
"""Advisory lock under which alerts choose their case (two alerts of one incident at once must not open two) and are begun unasked."""


def start(
    *, alert_id: UUID | None = None, case_id: UUID | None = None, actor: Actor, agents: Sequence[str] | None = None
) -> Investigation:
    """Begins an investigation of an alert (in its case; one is found or opened) or of a whole case, by all enabled agents or those named.

    Raises Denied, Missing, Invalid; Conflict for a case that has gone into another one.
    """
    actor.require("investigations:run")
    with transaction.atomic():
        alert, case = subject(alert_id, case_id)
        steps = plan(category=alert.category if alert else "other", enabled=_enabled(), wanted=agents)
        investigation = Investigation.objects.create(alert=alert, case=case, requested_by=actor.name)
        InvestigationStep.objects.bulk_create(
            InvestigationStep(
                investigation=investigation, agent_type=step.agent_type, stage=step.stage, reason=step.reason
            )
            for step in steps
        )
        audit.record(
            actor, "investigation.started", investigation, after={"alert": str(alert_id), "case": str(case.id)}
        )
        _journal_plan(investigation, alert, steps)
        outbox.announce(events.investigation_updated(investigation))
        _queue_next_stage(investigation)
    return investigation


def start_unasked(*, alert_id: UUID) -> Investigation | None:
    """Begins what an urgent alert is owed: one investigation, unless it has one, or has ended. Raises Invalid while no agent is enabled."""
    with transaction.atomic():
        _take_turn()
        owed = Alert.objects.filter(pk=alert_id, severity__in=URGENT, investigations__isnull=True)
        if not owed.exclude(status__in=ENDED_ALERTS).exists():
            return None
        return start(alert_id=alert_id, actor=ORCHESTRATOR)


def advance(*, task_id: UUID) -> None:
    """Takes in the end of a step: into the case's timeline, the alert's status, and on to the next stage or the conclusion.

    Once a step: a result that comes again, under whichever event's id, changes nothing. Must be called in a transaction.
    """
    step = InvestigationStep.objects.filter(pk=task_id, status__in=ENDED_STEPS).first()
    if step is None:
        return
    # The lock makes results of one investigation take turns, so exactly one of them sees its stage complete.
    investigation = Investigation.objects.select_for_update().get(pk=step.investigation_id)
    if not InvestigationStep.objects.filter(pk=task_id, noted_at=None).update(noted_at=timezone.now()):
        return
    _note_in_case(investigation, step)
    if investigation.status in ENDED_INVESTIGATIONS:
        return
    if step.agent_type == AgentType.SECURITY_ANALYST and step.status == StepStatus.COMPLETED:
        _advance_alert(investigation, AlertStatus.TRIAGED)
    if not _queue_next_stage(investigation):
        _conclude(investigation)


def resume(*, agent_type: str, limit: int = MOST_OWED) -> int:
    """Begins again what investigations lack because the agent was down, now that it is back; how many. Their reports are written anew.

    Steps older than a day are left, and those of closed cases: what they would find is no longer what was asked. One that was begun again in
    vain waits: a breaker closes by an operator's hand, too, or for an agent that falls over at once.
    """
    now = timezone.now()
    owed = InvestigationStep.objects.filter(
        agent_type=agent_type, is_owed=True, finished_at__gt=now - RESUME_WITHIN
    ).exclude(investigation__case__status__in=CLOSED_CASES)
    due = [step for step in owed.order_by("resumptions", "id")[:MOST_OWED] if _is_due(step, now)]
    begun = [_resume(step) for step in due[:limit]]
    return sum(begun)


def find(investigation_id: UUID) -> Investigation:
    """Raises Missing."""
    row = Investigation.objects.filter(pk=investigation_id).first()
    if row is None:
        raise Missing
    return row


def _is_due(owed: InvestigationStep, now: datetime) -> bool:
    if not owed.resumptions or owed.finished_at is None:
        return True
    return bool(owed.finished_at + FIRST_PAUSE * 2 ** (owed.resumptions - 1) <= now)


def _resume(owed: InvestigationStep) -> bool:
    with transaction.atomic():
        investigation = Investigation.objects.select_for_update().get(pk=owed.investigation_id)
        steps = InvestigationStep.objects.filter(investigation=investigation)
        mine = steps.filter(pk=owed.pk, is_owed=True, status=StepStatus.FAILED)
        if not mine.update(resumptions=F("resumptions") + 1, **_AS_NEW):
            return False
        # What was written without it is written again; the other steps stand.
        steps.filter(agent_type=AgentType.REPORT_GENERATOR, stage__gt=owed.stage, status__in=ENDED_STEPS).update(
            **_AS_NEW
        )
        journal.append(
            investigation_id=investigation.id,
            kind=EventKind.RESUMED,
            agent_type=owed.agent_type,
            text=f"{owed.agent_type.replace('_', ' ').capitalize()} is back: its step is done now",
        )
        if investigation.status in ENDED_INVESTIGATIONS:
            Investigation.objects.filter(pk=investigation.pk).update(
                status=InvestigationStatus.RUNNING, finished_at=None
            )
            investigation.refresh_from_db()
            outbox.announce(events.investigation_updated(investigation))
        _queue_next_stage(investigation)
    return True


def subject(alert_id: UUID | None, case_id: UUID | None) -> tuple[Alert | None, Case]:
    """The alert and the case that a request names, for an alert the case it belongs to; what is named is locked, and so cannot go elsewhere meanwhile.

    In a transaction. Raises Missing, Invalid; Conflict for a case that has gone into another one.
    """
    if (alert_id is None) == (case_id is None):
        raise Invalid("Either `alert_id` or `case_id` is needed, not both")
    if case_id is not None:
        return None, lifecycle.locked_case(case_id)
    assert alert_id is not None  # noqa: S101 - exactly one is given
    _take_turn()
    alert = triage.locked_alert(alert_id)
    return alert, alert.case or _case_for(alert)


def _take_turn() -> None:
    """Waits until no other transaction chooses a case or begins what an alert is owed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CASE_LOCK])


def _case_for(alert: Alert) -> Case:
    """The open case that the alert hangs together with most strongly, otherwise a new one; the others and it name each other."""
    ties = incidents.ties(alert=alert)
    if not ties:
        return lifecycle.promote_alert(alert_id=alert.id, actor=ORCHESTRATOR)
    case = lifecycle.link_alert(alert_id=alert.id, case_id=ties[0].case_id, actor=ORCHESTRATOR)
    incidents.name_each_other(case=case, alert=alert, others=ties[1:], actor=ORCHESTRATOR)
    return case


def _enabled() -> list[str]:
    return [
        agent.agent_type
        for agent in Agent.objects.filter(enabled=True)
        if agent.transport != "builtin" or agent.agent_type in ANALYSES
    ]


def _journal_plan(investigation: Investigation, alert: Alert | None, steps: Sequence[PlannedStep]) -> None:
    subject = f"alert “{alert.title}” ({alert.severity})" if alert else f"case {investigation.case.reference}"
    names = " → ".join(step.agent_type.replace("_", " ") for step in steps)
    data = {"steps": [{"agent_type": s.agent_type, "stage": s.stage, "reason": s.reason} for s in steps]}
    journal.append(
        investigation_id=investigation.id, kind=EventKind.PLANNED, text=f"Plan for {subject}: {names}", data=data
    )
    text = f"Investigation started by {investigation.requested_by}: {names}"
    lifecycle.note(
        case=investigation.case,
        kind=TimelineKind.INVESTIGATION,
        actor=investigation.requested_by,
        text=text,
        data={"investigation_id": str(investigation.id)},
    )


def _queue_next_stage(investigation: Investigation) -> bool:
    """Sends out the next stage's tasks when nothing of an earlier one is left. False when there is nothing more to do."""
    steps = list(investigation.steps.order_by("stage", "id"))
    if any(step.status in OPEN_STEPS for step in steps):
        return True
    waiting = [step for step in steps if step.status == StepStatus.PENDING]
    if not waiting:
        return False
    stage = [step for step in waiting if step.stage == waiting[0].stage]
    if investigation.status == InvestigationStatus.QUEUED and len(waiting) < len(steps):
        investigation.status = InvestigationStatus.RUNNING
        investigation.save(update_fields=["status"])
        outbox.announce(events.investigation_updated(investigation))
    if any(step.status in ENDED_STEPS for step in steps):
        _advance_alert(investigation, AlertStatus.INVESTIGATING)
    InvestigationStep.objects.filter(pk__in=[step.pk for step in stage]).update(status=StepStatus.QUEUED)
    outbox.announce_all(events.agent_task(step, investigation) for step in stage)
    return True


def _advance_alert(investigation: Investigation, status: str) -> None:
    if investigation.alert_id:
        triage.advance_status(alert_id=investigation.alert_id, status=status, actor=ORCHESTRATOR)


def _note_in_case(investigation: Investigation, step: InvestigationStep) -> None:
    is_done = step.status == StepStatus.COMPLETED
    data: dict[str, Any] = {"investigation_id": str(investigation.id), "task_id": str(step.id)}
    if is_done:
        data |= {"confidence": step.output.get("confidence"), "findings": len(step.output.get("findings", []))}
    lifecycle.note(
        case=investigation.case,
        kind=TimelineKind.AGENT_FINDING if is_done else TimelineKind.AGENT_FAILED,
        actor=step.agent_type,
        text=str(step.output.get("summary", "")) if is_done else f"The step failed: {step.error}",
        data=data,
    )
    outbox.announce(case_events.case_updated(investigation.case))


def _conclude(investigation: Investigation) -> None:
    steps = list(investigation.steps.order_by("stage", "id"))
    done = [step for step in steps if step.status == StepStatus.COMPLETED]
    investigation.status = _verdict(len(done), len(steps))
    investigation.finished_at = timezone.now()
    investigation.summary = str(done[-1].output.get("summary", "")) if done else "No agent could answer."
    investigation.confidence = _confidence(done)
    investigation.save(update_fields=["status", "finished_at", "summary", "confidence"])
    case = investigation.case
    if investigation.confidence is not None and investigation.confidence > case.confidence:
        case.confidence = investigation.confidence
        case.save(update_fields=["confidence"])
    missing = [step.agent_type for step in steps if step not in done]
    text = f"Investigation {investigation.status}: {investigation.summary}"
    if missing:
        text += f" (without {', '.join(missing)})"
    if owed := [step.agent_type for step in steps if step.is_owed]:
        text += f"; {', '.join(owed)} will follow when back"
    journal.append(
        investigation_id=investigation.id,
        kind=EventKind.CONCLUDED,
        text=text,
        data={"status": investigation.status, "missing": missing, "owed": owed},
    )
    outbox.announce(events.investigation_updated(investigation))


def _verdict(done: int, planned: int) -> str:
    if done == planned:
        return InvestigationStatus.COMPLETED
    return InvestigationStatus.PARTIAL if done else InvestigationStatus.FAILED


def _confidence(done: Sequence[InvestigationStep]) -> float | None:
    """The mean over the agents that judge; the report only repeats them, and foreign agents state none."""
    judging = [step for step in done if step.agent_type != AgentType.REPORT_GENERATOR]
    judged = [
        float(step.output["confidence"]) for step in judging if not step.output.get("data", {}).get(NO_CONFIDENCE)
    ]
    return round(sum(judged) / len(judged), 2) if judged else None
