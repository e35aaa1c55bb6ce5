"""All that a report can state: the case's alerts and timeline, the agents' answers, the indicators' reputations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from agents.builtin import previous
from agents.builtin.contract import Task
from agents.builtin.pivoting import Reach, Web
from agents.builtin.previous import Answer, Gap, Planned, Said, Supposed
from agents.builtin.reputation import Reputation, reputations
from agents.builtin.scope import Scope, alerts_of, in_order, named_by, scope_of
from agents.builtin.situation import hunted_alerts
from agents.models import InvestigationStep
from agents.states import AgentType, StepStatus
from cases.models import Case, CaseTask, Evidence, Ioc, TimelineEntry

_MAX_ENTRIES = 200
_MAX_TASKS = 200
_MAX_FILES = 200


@dataclass(frozen=True)
class Dossier:
    """`scope` holds the case's alerts and those that the hunt ties to them, which are in no case or in another (`hunted`).

    `answers` and `said` are by agent type, in the order in which the agents work; `iocs` are the longest first.
    """

    scope: Scope
    hunted: frozenset[UUID]
    iocs: list[Ioc]
    entries: list[TimelineEntry]
    answers: dict[str, Answer]
    said: dict[str, list[Said]]
    supposed: list[Supposed]
    planned: list[Planned]
    gaps: list[Gap]
    reputations: list[Reputation]
    host_names: dict[str, str]
    tasks: list[CaseTask]
    files: list[Evidence]

    @cached_property
    def web(self) -> Web:
        """The scope with hosts by their names and accounts apart from them."""
        alerts = self.scope.alerts
        reached = {alert.id: Reach(0, 1.0, ()) for alert in alerts}
        return Web(self.scope, reached, alerts[0].first_seen, alerts[-1].last_seen, known_names=self.host_names)


def dossier(task: Task) -> Dossier:
    """Raises as `scope_of` does; a case without alerts is reported as such."""
    own = scope_of(task, may_be_empty=True)
    outputs = _outputs(task, own.case)
    supposed = previous.hypotheses(outputs.get("threat_hunter"))
    held = {alert.id: alert for alert in (*alerts_of(own.case), *own.alerts)}
    tied = {alert.id: alert for alert in hunted_alerts(supposed) if alert.id not in held}
    alerts = in_order((held | tied).values())
    scope = Scope(alerts, own.case, own.focus, named_by(alerts))
    answers = {agent: answer for agent, output in outputs.items() if (answer := previous.answer(output))}
    now = max((alert.last_seen for alert in alerts), default=None)
    return Dossier(
        scope=scope,
        hunted=frozenset(tied),
        iocs=sorted(scope.iocs, key=lambda ioc: (-len(ioc.value), ioc.value)),
        entries=list(own.case.timeline.order_by("-id")[:_MAX_ENTRIES])[::-1] if own.case else [],
        answers=answers,
        said={agent: previous.findings(outputs[agent]) for agent in answers},
        supposed=supposed,
        planned=previous.plan(outputs.get("incident_responder")),
        gaps=previous.gaps(outputs.get("threat_hunter")),
        reputations=reputations(iocs=scope.iocs, but_alerts=alerts, but_case=own.case, now=now) if now else [],
        host_names=previous.host_names(outputs.get("threat_hunter")),
        tasks=list(own.case.tasks.select_related("assignee")[:_MAX_TASKS]) if own.case else [],
        files=list(own.case.evidence.order_by("id")[:_MAX_FILES]) if own.case else [],
    )


def _outputs(task: Task, case: Case | None) -> Mapping[str, Any]:
    """What the steps before gave; of agents that were not asked in this run, their latest answer on the case."""
    found: dict[str, Any] = {}
    if case:
        steps = InvestigationStep.objects.filter(investigation__case=case, status=StepStatus.COMPLETED).order_by("id")
        found = dict(steps.values_list("agent_type", "output"))
    found |= task.earlier
    return {agent: found[agent] for agent in AgentType.values if agent in found and agent != task.agent_type}
