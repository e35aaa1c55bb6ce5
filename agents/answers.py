"""What the calls of investigations and agents answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.schemas import AgentWord, InvestigationStatusWord
from agents.states import EventKind, Health, StepStatus, Transport
from aurora.rest.schemas import Answer, Id, one_of
from cases.states import AlertStatus, Severity

Confidence = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class InvestigationAnswer(Answer):
    """An investigation as lists and sockets show it."""

    id: Id
    alert_id: Id | None
    case_id: Id
    status: InvestigationStatusWord
    requested_by: str = Field(examples=["orchestrator"])
    summary: str
    confidence: Confidence | None
    event_count: Count
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class StepAnswer(Answer):
    """One agent's task within an investigation."""

    task_id: Id
    agent_type: AgentWord
    stage: Count
    reason: str
    status: Annotated[str, one_of(StepStatus.values)]
    attempts: Count
    output: dict[str, Any]
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None


class ModelStatementAnswer(Answer):
    """One sentence of a language model's, with the findings it rests on."""

    text: str
    cites: list[str] = Field(examples=[["F1", "F3"]])


class CitedFindingAnswer(Answer):
    """A computed finding that the model was told under this id."""

    id: str = Field(examples=["F1"])
    agent_type: AgentWord
    title: str
    confidence: Confidence


class ModelWordingAnswer(Answer):
    """What a language model made of the computed findings. Text for people: nothing in the product is decided by it."""

    model: str = Field(examples=["llama-3.1-8b-instruct"])
    summary: list[ModelStatementAnswer]
    ranking: list[str] = Field(description="Ids of findings, what to look at first at the head.")
    hypotheses: list[ModelStatementAnswer] = Field(description="What the findings suggest and do not prove.")
    findings: list[CitedFindingAnswer]
    dropped: Count = Field(description="Sentences left out because their citations did not bear them out.")


class InvestigationDetailAnswer(InvestigationAnswer):
    """One investigation with its steps. `model_wording` is null without a language model, or without an answer of it that stands."""

    steps: list[StepAnswer]
    model_wording: ModelWordingAnswer | None


class QueuedInvestigation(Answer):
    id: Id
    status: Literal["queued"]
    case_id: Id


class EventAnswer(Answer):
    """One numbered line of an investigation's log."""

    id: Id
    investigation_id: Id
    number: int = Field(ge=1)
    kind: Annotated[str, one_of(EventKind.values)]
    agent_type: AgentWord | None
    text: str = Field(examples=["Three alerts share 203.0.113.77"])
    data: dict[str, Any]
    created_at: datetime


class BreakerAnswer(Answer):
    """What stands between the product and an agent."""

    state: Literal["closed", "open", "half-open"]
    is_forced: bool
    failure_count: Count
    failure_threshold: int = Field(ge=1)
    reset_timeout: float = Field(gt=0, description="Seconds.")
    opened_at: datetime | None
    next_probe_at: datetime | None
    last_error: str | None
    trips: Count
    successes: Count
    failures: Count
    rejected: Count
    shared: bool = Field(description="False: it speaks for this process only.")


class AgentAnswer(Answer):
    """An agent with its health and its breaker."""

    agent_type: AgentWord
    name: str = Field(examples=["Security analyst"])
    description: str
    enabled: bool
    transport: Annotated[str, one_of(Transport.values)]
    endpoint: str | None
    has_bearer: bool = Field(description="Whether a bearer token is kept for the endpoint; it is never shown.")
    failure_threshold: int = Field(ge=1)
    reset_timeout: float = Field(gt=0, description="Seconds.")
    longest_reset: float | None = Field(
        description="Seconds up to which each failed probe doubles the open time; null: it stays."
    )
    window_seconds: float | None = Field(description="Seconds over which rates are taken; null: 60.")
    minimum_calls: int | None = Field(description="Calls from which a rate counts; null: 20.")
    failure_rate: float | None = Field(description="Share of failed calls that opens the breaker; null: none does.")
    slow_call_seconds: float | None = Field(description="Seconds from which an answered call is slow; null: none is.")
    slow_call_rate: float | None = Field(description="Share of slow calls that opens the breaker; null: none does.")
    timeout: float = Field(gt=0, description="Seconds.")
    max_concurrency: int = Field(ge=1)
    health: Annotated[str, one_of(Health.values)]
    breaker: BreakerAnswer


class DispatchAnswer(Answer):
    """What an agent said to one question."""

    task_id: Id
    agent_type: AgentWord
    output: dict[str, Any] = Field(examples=[{"summary": "…", "confidence": 0.8, "findings": [], "thoughts": []}])
    attempts: int = Field(ge=1)
    duration_ms: float = Field(ge=0)


class StatsAnswer(Answer):
    """Alerts of the last 24 hours, and what is open now."""

    since: datetime
    alerts_by_severity: dict[Annotated[str, one_of(Severity.values)], Count]
    alerts_by_status: dict[Annotated[str, one_of(AlertStatus.values)], Count]
    open_cases: Count
    running_investigations: Count
    active_iocs: Count
