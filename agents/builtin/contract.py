"""What every built-in agent takes and gives, and how it thinks aloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Think = Callable[[str, dict[str, Any]], None]
"""`think("Three alerts share 203.0.113.77", {"alert_ids": […]})`: one numbered line in the investigation's log."""

EvidenceKind = Literal["alert", "ioc", "case", "pivot", "file", "timeline"]


@dataclass(frozen=True, slots=True)
class Task:
    """What an agent is asked. `earlier` holds the outputs (`Output.as_json()`) of the steps before, by agent type."""

    task_id: str
    agent_type: str
    prompt: str
    alert_id: str | None
    case_id: str | None
    earlier: Mapping[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A row that bears a finding out. `id` is its primary key as text; a pivot's is `kind:value`, a file's that of the case's evidence."""

    kind: EvidenceKind
    id: str
    note: str


@dataclass(slots=True)
class Finding:
    """One conclusion. `confidence` is 0–1, `techniques` are ATT&CK ids, `iocs` are `{type, value}`."""

    title: str
    detail: str
    confidence: float
    evidence: list[Evidence] = field(default_factory=list)
    techniques: list[str] = field(default_factory=list)
    iocs: list[dict[str, Any]] = field(default_factory=list)
    recommended_actions: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Output:
    """An agent's answer. `data` is its own part, in the terms of its trade; JSON-safe like all the rest."""

    summary: str
    confidence: float
    confidence_reason: str
    findings: list[Finding] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The answer as plain dictionaries, lists, strings and numbers."""
        return asdict(self)


Analysis = Callable[[Task, Think], Output]
