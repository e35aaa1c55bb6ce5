"""Which agents an investigation asks, in which order, and why. Pure: what is enabled goes in, a plan comes out.

The workflow of the domain: triage first; intelligence and hunting side by side; the specialists that the alert's category calls for; the
responder, who reads them all; the report last.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agents.states import AgentType
from aurora.errors import Invalid


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One agent to ask. Steps of a stage run side by side; a stage begins when the one before has ended."""

    agent_type: str
    stage: int
    reason: str


_CORE: tuple[tuple[str, int, str], ...] = (
    (AgentType.SECURITY_ANALYST, 1, "Every investigation begins with triage"),
    (AgentType.THREAT_INTEL, 2, "What is known of the indicators decides how far to look"),
    (AgentType.THREAT_HUNTER, 2, "Shared indicators, assets and users may tie the alert to others"),
    (AgentType.INCIDENT_RESPONDER, 4, "The findings call for a containment plan"),
    (AgentType.REPORT_GENERATOR, 5, "The case is reported as it stands"),
)
_SPECIALISTS: dict[str, tuple[str, ...]] = {
    "network": (AgentType.NETWORK_SECURITY,),
    "endpoint": (AgentType.ENDPOINT_SECURITY, AgentType.MALWARE_ANALYST, AgentType.FORENSIC_ANALYST),
    "identity": (AgentType.ENDPOINT_SECURITY,),
    "email": (AgentType.MALWARE_ANALYST,),
    "web": (AgentType.NETWORK_SECURITY,),
    "cps": (AgentType.NETWORK_SECURITY, AgentType.FORENSIC_ANALYST),
}


def plan(*, category: str, enabled: Collection[str], wanted: Sequence[str] | None = None) -> list[PlannedStep]:
    """The steps for an alert of `category`, of agents that are `enabled`; only those `wanted`, when any are named.

    Raises Invalid when an agent is wanted that is not enabled, or when none is left.
    """
    absent = sorted(set(wanted or ()) - set(enabled))
    if absent:
        raise Invalid(f"Not available: {', '.join(absent)}")
    steps = [PlannedStep(*step) for step in _CORE]
    for agent_type in wanted or _SPECIALISTS.get(category, ()):
        if agent_type not in {step.agent_type for step in steps}:
            steps.append(PlannedStep(agent_type, 3, f"The alert is of category {category}"))
    chosen = set(wanted or enabled)
    kept = [step for step in sorted(steps, key=lambda step: step.stage) if step.agent_type in chosen]
    if not kept:
        raise Invalid("No agent is enabled")
    return kept
