"""What this app announces: the types of its events and what their data holds."""

from __future__ import annotations

from typing import Any

from agents.models import Investigation, InvestigationEvent, InvestigationStep
from aurora.bus import streams
from aurora.bus.outbox import Event

AGENT_TASK = "agent.task"
AGENT_RESULT = "agent.result"
AGENT_THOUGHT = "agent.thought"
INVESTIGATION_UPDATED = "investigation.updated"


def agent_task(step: InvestigationStep, investigation: Investigation) -> Event:
    """The task envelope: a step that some worker is to run."""
    data = {
        "task_id": step.id,
        "agent_type": step.agent_type,
        "priority": 5,
        "investigation_id": investigation.id,
        "alert_id": investigation.alert_id,
        "case_id": investigation.case_id,
    }
    return Event(streams.AGENT_TASKS, AGENT_TASK, f"investigation:{investigation.id}", data)


def agent_result(step: InvestigationStep) -> Event:
    """That a step has ended; its row says how."""
    data = {"task_id": step.id, "investigation_id": step.investigation_id, "agent_type": step.agent_type}
    return Event(
        streams.AGENT_RESULTS, AGENT_RESULT, f"investigation:{step.investigation_id}", data | {"status": step.status}
    )


def agent_thought(event: InvestigationEvent, investigation: Investigation) -> Event:
    data = event_data(event) | {"alert_id": investigation.alert_id, "case_id": investigation.case_id}
    return Event(streams.AGENT_RESULTS, AGENT_THOUGHT, f"investigation:{investigation.id}", data)


def investigation_updated(investigation: Investigation) -> Event:
    aggregate = f"investigation:{investigation.id}"
    return Event(streams.AGENT_RESULTS, INVESTIGATION_UPDATED, aggregate, investigation_data(investigation))


def investigation_data(row: Investigation) -> dict[str, Any]:
    """An investigation as lists and sockets show it."""
    return {
        "id": row.id,
        "alert_id": row.alert_id,
        "case_id": row.case_id,
        "status": row.status,
        "requested_by": row.requested_by,
        "summary": row.summary,
        "confidence": row.confidence,
        "event_count": row.event_count,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def event_data(row: InvestigationEvent) -> dict[str, Any]:
    """One numbered line of an investigation's log."""
    return {
        "id": row.id,
        "investigation_id": row.investigation_id,
        "number": row.number,
        "kind": row.kind,
        "agent_type": row.agent_type or None,
        "text": row.text,
        "data": row.data,
        "created_at": row.created_at,
    }


def step_data(row: InvestigationStep) -> dict[str, Any]:
    return {
        "task_id": row.id,
        "agent_type": row.agent_type,
        "stage": row.stage,
        "reason": row.reason,
        "status": row.status,
        "attempts": row.attempts,
        "output": row.output,
        "error": row.error or None,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }
