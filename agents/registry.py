"""Which agents there are, as configured, and how each of them fares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.models import Agent
from agents.states import AgentType, Health
from aurora import audit
from aurora.actors import Actor
from aurora.errors import Missing
from aurora.resilience import breakers
from aurora.resilience.breaker import Breaker, BreakerSettings

OFFERED: dict[str, tuple[str, str]] = {
    AgentType.SECURITY_ANALYST: (
        "Security analyst",
        "Triage: severity, IOCs, techniques, related alerts within 15 minutes.",
    ),
    AgentType.THREAT_INTEL: ("Threat intelligence", "What the IOC store and earlier cases know of each indicator."),
    AgentType.THREAT_HUNTER: (
        "Threat hunter",
        "Pivots over shared indicators and assets; the chain in time and tactic.",
    ),
    AgentType.INCIDENT_RESPONDER: (
        "Incident responder",
        "Which playbook, what to contain, what needs approval and why.",
    ),
    AgentType.REPORT_GENERATOR: ("Report generator", "The case as an executive and a technical report."),
}
"""The built-in agents: type → name and what it does."""


def ensure_agents() -> None:
    """Makes the rows of the built-in agents that are not there yet. For the start of an installation."""
    for agent_type, (name, description) in OFFERED.items():
        Agent.objects.get_or_create(agent_type=agent_type, defaults={"name": name, "description": description})


def find(agent_type: str) -> Agent:
    """The agent of that type. Raises Missing."""
    row = Agent.objects.filter(agent_type=agent_type).first()
    if row is None:
        raise Missing
    return row


def breaker_of(agent: Agent) -> Breaker:
    """The breaker before an agent, with the agent's own settings or the installation's."""
    wanted = BreakerSettings(
        failure_threshold=agent.failure_threshold or settings.BREAKER_FAILURES,
        reset_timeout=agent.reset_timeout or settings.BREAKER_RESET_SECONDS,
        probe_lease=timeout_of(agent) + 5,
    )
    return breakers.get(f"agent:{agent.agent_type}", wanted)


def timeout_of(agent: Agent) -> float:
    """Seconds that one call to the agent may take."""
    return agent.timeout or settings.AGENT_TIMEOUT_SECONDS


def describe(agent: Agent) -> dict[str, Any]:
    """An agent with its health and its breaker, as `GET /agents` shows it."""
    breaker = breakers.as_json(breaker_of(agent).snapshot())
    return {
        "agent_type": agent.agent_type,
        "name": agent.name,
        "description": agent.description,
        "enabled": agent.enabled,
        "transport": agent.transport,
        "endpoint": agent.endpoint or None,
        "failure_threshold": agent.failure_threshold or settings.BREAKER_FAILURES,
        "reset_timeout": agent.reset_timeout or settings.BREAKER_RESET_SECONDS,
        "timeout": timeout_of(agent),
        "max_concurrency": agent.max_concurrency,
        "health": _health(agent, breaker),
        "breaker": breaker,
    }


def configure(*, agent_type: str, changes: Mapping[str, Any], actor: Actor) -> Agent:
    """Sets what an operator may set. Raises Denied, Missing."""
    actor.require("agents:manage")
    with transaction.atomic():
        agent = Agent.objects.select_for_update().filter(pk=agent_type).first()
        if agent is None:
            raise Missing
        before = {name: getattr(agent, name) for name in changes}
        for name, value in changes.items():
            setattr(agent, name, value)
        agent.updated_at = timezone.now()
        agent.save()
        audit.record(actor, "agent.configured", agent, before=before, after=dict(changes))
    return agent


def command_breaker(*, agent_type: str, action: str, actor: Actor) -> Agent:
    """`reset` closes the breaker with counts zeroed, `force_open` opens it until a reset. Raises Denied, Missing."""
    actor.require("agents:manage")
    agent = find(agent_type)
    breaker = breaker_of(agent)
    with transaction.atomic():
        audit.record(actor, f"breaker.{action}", agent, before={"state": breaker.snapshot().state})
        if action == "reset":
            breaker.reset()
        else:
            breaker.force_open()
    return agent


def _health(agent: Agent, breaker: Mapping[str, Any]) -> str:
    if not agent.enabled or breaker["state"] == "open":
        return Health.OFFLINE
    if breaker["state"] == "half-open" or breaker["failure_count"]:
        return Health.DEGRADED
    return Health.ONLINE
