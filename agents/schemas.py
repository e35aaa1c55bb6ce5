"""Request bodies and queries of agents and investigations."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from agents.states import AgentType, InvestigationStatus
from aurora.rest.schemas import Body, Flag, Number, PageQuery, Query, Text, Whole, one_of

AgentWord = Annotated[str, one_of(AgentType.values)]
InvestigationStatusWord = Annotated[str, one_of(InvestigationStatus.values)]


class InvestigationIn(Body):
    """`POST /investigations`: of an alert or of a case."""

    alert_id: UUID | None = None
    case_id: UUID | None = None
    agents: list[AgentWord] | None = Field(None, min_length=1, max_length=9)


class InvestigationQuery(PageQuery):
    status: InvestigationStatusWord | None = None
    alert_id: UUID | None = None
    case_id: UUID | None = None


class EventQuery(PageQuery):
    limit: int = Field(200, ge=1, le=200)


_NAME = "[a-z0-9]{1,20}(-[a-z0-9]{1,20})?"
_ENDPOINT = rf"^https://({_NAME}\.)*[a-z][a-z0-9]{{0,20}}(-[a-z0-9]{{1,20}})?(:[1-9][0-9]{{0,3}})?(/[A-Za-z0-9_~-]+)*$"
"""For the schema's readers; `agents.endpoints` decides, and takes plain HTTP and bare addresses where they are allowed."""


class AgentPatch(Body):
    """`PATCH /agents/{agent_type}`: what is absent stays; null takes the installation's default. The reason goes into the audit."""

    reason: Text = Field("", max_length=500)
    enabled: Flag = True
    transport: Literal["builtin", "a2a"] = "builtin"
    endpoint: Text | None = Field(
        None,
        min_length=1,
        max_length=500,
        examples=["https://agents.example.org/hunter"],
        json_schema_extra={"pattern": _ENDPOINT},
    )
    bearer: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[!-~]+$")] | None = Field(
        None, description="As it stands after `Bearer ` in the header: visible ASCII."
    )
    failure_threshold: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    reset_timeout: Number | None = Field(None, ge=0.1, le=86_400)
    longest_reset: Number | None = Field(None, ge=0.1, le=86_400)
    window_seconds: Number | None = Field(None, ge=1, le=86_400)
    minimum_calls: Annotated[Whole, Field(ge=1, le=100_000)] | None = None
    failure_rate: Number | None = Field(None, ge=0.001, le=1)
    slow_call_seconds: Number | None = Field(None, ge=0.001, le=3_600)
    slow_call_rate: Number | None = Field(None, ge=0.001, le=1)
    timeout: Number | None = Field(None, ge=0.1, le=3_600)
    max_concurrency: Whole = Field(4, ge=1, le=256)


class BreakerCommand(Body):
    action: Literal["reset", "force_open", "force_closed"]
    reason: Text = Field("", max_length=500)


class DispatchIn(Body):
    """`POST /orchestrator/dispatch`."""

    agent_type: AgentWord
    prompt: Text = Field(min_length=1, max_length=10_000)
    case_id: UUID | None = None
    alert_id: UUID | None = None


class ReportQuery(Query):
    format: Annotated[str, one_of(("md", "html", "pdf", "json", "stix"))] = "md"
