"""What the console's pages of one investigation or agent show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agents import calls
from agents.models import Agent, Investigation, InvestigationStep
from agents.states import AgentType, EventKind, StepStatus, Transport
from aurora.console import widgets
from aurora.console.records import Facts
from aurora.resilience.breaker_window import LEAST_CALLS, WINDOW_SECONDS
from cases.models import Case

EVENTS_SHOWN = 500
STEPS_SHOWN = 20

_EVENT_ICONS = {
    EventKind.PLANNED: "route",
    EventKind.STEP_STARTED: "play_arrow",
    EventKind.THOUGHT: "psychology",
    EventKind.FINDING: "lightbulb",
    EventKind.STEP_COMPLETED: "check_circle",
    EventKind.STEP_FAILED: "error",
    EventKind.CONCLUDED: "flag",
    EventKind.RESUMED: "replay",
    EventKind.MODEL: "smart_toy",
}


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step with what its agent answered, whatever the agent answered: a foreign one may answer anything."""

    step: InvestigationStep
    summary: str
    confidence: float | None
    took: str
    output: Mapping[str, Any]


def investigation_page(investigation: Investigation) -> dict[str, Any]:
    """Steps by stage and the numbered log, the newest `EVENTS_SHOWN` lines of it."""
    events = list(investigation.events.order_by("-number")[:EVENTS_SHOWN])[::-1]
    return {
        "facts": _investigation_facts(investigation),
        "steps": step_lines(investigation),
        "events": [(event, _EVENT_ICONS.get(EventKind(event.kind), "circle")) for event in events],
        "left_out": max(investigation.event_count - len(events), 0),
        "wording": investigation.model_wording,
    }


def agent_page(agent: Agent, live: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration beside live state; `live` is `agents.registry.describe`, contract §5."""
    latest, is_shared = calls.latest(agent.agent_type)
    return {
        "facts": [
            ("Type", agent.agent_type),
            ("Enabled", widgets.badge("status", "yes" if agent.enabled else "no")),
            ("Transport", transport_label(agent)),
            ("Endpoint", agent.endpoint or widgets.NOTHING),
            ("Bearer", widgets.badge("status", "yes" if live["has_bearer"] else "no")),
            ("Timeout", _seconds(live["timeout"])),
            ("Failure threshold", f"{live['failure_threshold']}"),
            ("Breaker reset", _seconds(live["reset_timeout"])),
            ("Longest reset", _seconds(live["longest_reset"]) if live["longest_reset"] else widgets.NOTHING),
            ("Opens at a rate", _rates(agent)),
            ("Calls at once", f"{agent.max_concurrency}"),
            ("Updated", widgets.when(agent.updated_at)),
        ],
        "health": live["health"],
        **breaker_box(live["breaker"]),
        "recent": list(_recent_steps(agent)),
        "calls": latest,
        "are_calls_shared": is_shared,
    }


def breaker_box(breaker: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates of a breaker show, whatever it stands before; `breaker` is the contract's object."""
    return {
        "breaker": breaker,
        "breaker_label": f"Breaker {breaker['state']}",
        "breaker_facts": [
            ("Opened", widgets.when(_moment(breaker["opened_at"]))),
            ("Next probe", widgets.when(_moment(breaker["next_probe_at"]))),
            ("Last error", breaker["last_error"] or widgets.NOTHING),
        ],
    }


def step_lines(investigation: Investigation) -> list[StepLine]:
    """The steps by stage, with what their agents answered."""
    return [_step_line(step) for step in investigation.steps.all()[:STEPS_SHOWN]]


def newest_report(case: Case) -> InvestigationStep | None:
    """The newest answer of a report generator on the case that holds a report."""
    steps = InvestigationStep.objects.filter(
        investigation__case=case, agent_type=AgentType.REPORT_GENERATOR, status=StepStatus.COMPLETED
    )
    step = steps.order_by("-finished_at").first()
    data = step.output.get("data") if step and isinstance(step.output, dict) else None
    return step if isinstance(data, dict) and isinstance(data.get("markdown"), str) else None


def transport_label(agent: Agent) -> str:
    return "Built in" if agent.transport == Transport.BUILTIN else agent.get_transport_display()


def _investigation_facts(investigation: Investigation) -> Facts:
    return [
        ("Requested by", investigation.requested_by),
        ("Confidence", widgets.percent(investigation.confidence)),
        ("Log", f"{investigation.event_count:,} lines"),
        ("Requested", widgets.when(investigation.created_at)),
        ("Started", widgets.when(investigation.started_at)),
        ("Finished", widgets.when(investigation.finished_at)),
    ]


def _step_line(step: InvestigationStep) -> StepLine:
    output = step.output if isinstance(step.output, dict) else {}
    confidence = output.get("confidence")
    took = _took(step.finished_at - step.started_at) if step.started_at and step.finished_at else ""
    return StepLine(
        step=step,
        summary=str(output.get("summary", "")),
        confidence=float(confidence) if isinstance(confidence, int | float) else None,
        took=took,
        output=output,
    )


def _took(duration: timedelta) -> str:
    """Built-in agents answer in less than a second: `340 ms`; others as everywhere."""
    if duration < timedelta(seconds=1):
        return f"{duration / timedelta(milliseconds=1):.0f} ms"
    return widgets.span(duration)


def _recent_steps(agent: Agent) -> Any:
    steps = InvestigationStep.objects.filter(agent_type=agent.agent_type).select_related(
        "investigation__alert", "investigation__case"
    )
    return steps.order_by("-id")[:10]


def _moment(value: datetime | str | None) -> datetime | None:
    """A breaker tells its times as the API does, as text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _rates(agent: Agent) -> str:
    """`50% failed, 80% slower than 5 s; of 20 calls in 60 s`."""
    told = [f"{agent.failure_rate:.0%} failed"] if agent.failure_rate else []
    if agent.slow_call_rate and agent.slow_call_seconds:
        told.append(f"{agent.slow_call_rate:.0%} slower than {_seconds(agent.slow_call_seconds)}")
    if not told:
        return widgets.NOTHING
    least, seconds = agent.minimum_calls or LEAST_CALLS, agent.window_seconds or WINDOW_SECONDS
    return f"{', '.join(told)}; of {least} calls or more in {_seconds(seconds)}"


def _seconds(value: float) -> str:
    return f"{value:g} s"
