"""Which agents there are, as configured, and how each of them fares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents import calls
from agents.calls import Call
from agents.endpoints import require_endpoint
from agents.models import Agent
from agents.states import AgentType, Health, Transport
from aurora import audit, dry_run, sealing
from aurora.actors import Actor
from aurora.errors import Conflict, Missing
from aurora.resilience import breakers
from aurora.resilience.breaker import Breaker, BreakerSettings, Conditions
from aurora.resilience.breaker_window import LEAST_CALLS, WINDOW_SECONDS

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
    AgentType.NETWORK_SECURITY: (
        "Network security",
        "Conversations with the outside: periodicity, volumes, tunnels; movement between hosts.",
    ),
    AgentType.ENDPOINT_SECURITY: (
        "Endpoint security",
        "Chains of processes, what stays behind, rare programs, impossible travel.",
    ),
    AgentType.MALWARE_ANALYST: ("Malware analyst", "Hashes, files and YARA rules: family, behaviour, confidence."),
    AgentType.FORENSIC_ANALYST: (
        "Forensic analyst",
        "The case's events in order with their sources: stages, gaps, evidence.",
    ),
    AgentType.INCIDENT_RESPONDER: (
        "Incident responder",
        "Which playbook, what to contain, what needs approval and why.",
    ),
    AgentType.REPORT_GENERATOR: ("Report generator", "The case as an executive and a technical report."),
}
"""The built-in agents: type → name and what it does."""
AILING_WITHIN, AILING_CALLS, FEWEST_CALLS, AILING_SHARE = timedelta(minutes=5), 20, 5, 0.2
"""An agent is degraded while a fifth of its last calls failed: of at most so many, so young, and at least so many."""
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
        conditions=_conditions(agent),
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
    return describe_all([agent])[0]


def describe_all(agents: Sequence[Agent]) -> list[dict[str, Any]]:
    """As `describe` of each; however many they are, one round trip for their breakers and one for their last calls."""
    latest = calls.latest_of([agent.agent_type for agent in agents])
    found = breakers.snapshots([breaker_of(agent) for agent in agents])
    return [
        _described(agent, breakers.as_json(breaker), latest[agent.agent_type])
        for agent, breaker in zip(agents, found, strict=True)
    ]


def _described(agent: Agent, breaker: Mapping[str, Any], latest: Sequence[Call]) -> dict[str, Any]:
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
        "window_seconds": agent.window_seconds,
        "minimum_calls": agent.minimum_calls,
        "failure_rate": agent.failure_rate,
        "slow_call_seconds": agent.slow_call_seconds,
        "slow_call_rate": agent.slow_call_rate,
        "timeout": timeout_of(agent),
        "max_concurrency": agent.max_concurrency,
        "health": _health(agent, breaker, latest),
        "breaker": breaker,
    }


def configure(*, agent_type: str, changes: Mapping[str, Any], actor: Actor, reason: str = "") -> Agent:
    """Sets what an operator may set; a bearer is sealed. The reason goes into the audit. Raises Denied, Missing, Invalid, Conflict."""
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
        after = _without_secrets(wanted) | ({"reason": reason} if reason else {})
        audit.record(actor, "agent.configured", agent, before=_without_secrets(before), after=after)
    return agent


def command_breaker(*, agent_type: str, action: str, actor: Actor, reason: str = "") -> Agent:
    """`reset` closes the breaker with counts zeroed; `force_open` and `force_closed` hold it until a reset. Raises Denied, Missing.

    The order follows its entry in the audit: it cannot fail, and no transaction waits for Redis.
    """
    actor.require("agents:manage")
    agent = find(agent_type)
    breaker = breaker_of(agent)
    before = {"state": breaker.snapshot().state}
    after = {"state": "open" if action == "force_open" else "closed"} | ({"reason": reason} if reason else {})
    with transaction.atomic():
        audit.record(actor, f"breaker.{action}", agent, before=before, after=after)
    if dry_run.is_preview():
        return agent  # it is shared by all processes, and no rollback reaches it
    {"reset": breaker.reset, "force_open": breaker.force_open, "force_closed": breaker.force_closed}[action]()
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
        raise Conflict("The transport a2a needs an endpoint")
    if bool(agent.slow_call_rate) != bool(agent.slow_call_seconds):
        raise Conflict("slow_call_seconds and slow_call_rate need each other")


def _conditions(agent: Agent) -> Conditions | None:
    """The rates at which the agent's breaker opens; None when there are none."""
    wanted = Conditions(
        seconds=agent.window_seconds or WINDOW_SECONDS,
        least_calls=agent.minimum_calls or LEAST_CALLS,
        failure_rate=agent.failure_rate or 0.0,
        slow_seconds=agent.slow_call_seconds or 0.0,
        slow_rate=agent.slow_call_rate or 0.0,
    )
    return None if wanted.is_off else wanted


def _without_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in fields.items() if name != "sealed_bearer"}
    if "sealed_bearer" in fields:
        shown["has_bearer"] = bool(fields["sealed_bearer"])
    return shown


def _health(agent: Agent, breaker: Mapping[str, Any], latest: Sequence[Call]) -> str:
    if not agent.enabled or breaker["state"] == "open":
        return Health.OFFLINE
    is_unsure = breaker["state"] == "half-open" or breaker["failure_count"]
    return Health.DEGRADED if is_unsure or _is_ailing(agent, latest) else Health.ONLINE


def _is_ailing(agent: Agent, latest: Sequence[Call]) -> bool:
    """Whether part of its last calls failed, or half of them took more than half of the time they may."""
    since = timezone.now() - AILING_WITHIN
    judged = [call for call in latest[:AILING_CALLS] if call.at > since]
    if len(judged) < FEWEST_CALLS:
        return False
    failed = sum(call.outcome == "failed" for call in judged)
    slow = sum(call.duration_ms > timeout_of(agent) * 500 for call in judged)
    return failed / len(judged) >= AILING_SHARE or slow * 2 >= len(judged)
