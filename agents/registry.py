"""Which agents there are, as configured, and how each of them fares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.endpoints import require_endpoint
from agents.models import Agent
from agents.states import AgentType, Health, Transport
from aurora import audit, sealing
from aurora.actors import Actor
from aurora.errors import Invalid, Missing
from aurora.resilience import breakers
from aurora.resilience.breaker import Breaker, BreakerSettings
from aurora.rest.problems import problem

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
_PREFIX = "agent:"
BEARER = "agent-bearer"
"""What the agents' bearers are sealed for."""


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
        longest_reset=agent.longest_reset or 0.0,
    )
    return breakers.get(f"{_PREFIX}{agent.agent_type}", wanted)


def agent_type_of(breaker: str) -> str | None:
    """Whose breaker that is; None for one that stands before something else."""
    return breaker.removeprefix(_PREFIX) if breaker.startswith(_PREFIX) else None


def timeout_of(agent: Agent) -> float:
    """Seconds that one call to the agent may take."""
    return agent.timeout or settings.AGENT_TIMEOUT_SECONDS


def bearer_of(agent: Agent) -> str:
    """What the agent's service asks for; empty when it asks for nothing. Raises Conflict when it cannot be read any more."""
    return sealing.unseal(agent.sealed_bearer, purpose=BEARER) if agent.sealed_bearer else ""


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
        "has_bearer": bool(agent.sealed_bearer),
        "failure_threshold": agent.failure_threshold or settings.BREAKER_FAILURES,
        "reset_timeout": agent.reset_timeout or settings.BREAKER_RESET_SECONDS,
        "longest_reset": agent.longest_reset,
        "timeout": timeout_of(agent),
        "max_concurrency": agent.max_concurrency,
        "health": _health(agent, breaker),
        "breaker": breaker,
    }


def configure(*, agent_type: str, changes: Mapping[str, Any], actor: Actor) -> Agent:
    """Sets what an operator may set; a bearer is sealed. Raises Denied, Missing, Invalid."""
    actor.require("agents:manage")
    with transaction.atomic():
        agent = Agent.objects.select_for_update().filter(pk=agent_type).first()
        if agent is None:
            raise Missing
        wanted = _as_kept(agent, changes)
        before = {name: getattr(agent, name) for name in wanted}
        for name, value in wanted.items():
            setattr(agent, name, value)
        _require_callable(agent)
        agent.updated_at = timezone.now()
        agent.save()
        audit.record(actor, "agent.configured", agent, before=_without_secrets(before), after=_without_secrets(wanted))
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


def _as_kept(agent: Agent, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes as fields. A bearer does not follow its agent to another address: whoever may name one would be sent the secret."""
    wanted = {name: value for name, value in changes.items() if name not in ("endpoint", "bearer")}
    if "endpoint" in changes:
        endpoint = changes["endpoint"]
        wanted["endpoint"] = require_endpoint(endpoint) if endpoint else ""
        if agent.sealed_bearer and wanted["endpoint"] != agent.endpoint:
            wanted["sealed_bearer"] = ""
    if "bearer" in changes:
        bearer = changes["bearer"]
        wanted["sealed_bearer"] = sealing.seal(bearer, purpose=BEARER) if bearer else ""
    return wanted


def _require_callable(agent: Agent) -> None:
    if agent.transport == Transport.A2A and not agent.endpoint:
        raise Invalid(problems=[problem(["body", "endpoint"], "The transport a2a needs an endpoint", "missing")])


def _without_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in fields.items() if name != "sealed_bearer"}
    if "sealed_bearer" in fields:
        shown["has_bearer"] = bool(fields["sealed_bearer"])
    return shown


def _health(agent: Agent, breaker: Mapping[str, Any]) -> str:
    if not agent.enabled or breaker["state"] == "open":
        return Health.OFFLINE
    if breaker["state"] == "half-open" or breaker["failure_count"]:
        return Health.DEGRADED
    return Health.ONLINE
