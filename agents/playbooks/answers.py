"""What the calls of playbooks, runs, approvals and connectors answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from agents.answers import BreakerAnswer, Count
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.states import ApprovalStatus, BlockType, ConnectorKind, ExecutionStatus, StepState
from aurora.rest.schemas import Answer, Id, one_of

ActionWord = Annotated[str, one_of(list(ACTIONS))]


class PlaybookAnswer(Answer):
    """A playbook as lists show it."""

    id: Id
    name: str = Field(examples=["malware_response"])
    title: str
    description: str
    trigger: str
    enabled: bool
    version: Count
    is_shipped: bool
    created_at: datetime
    updated_at: datetime


class PlaybookDetailAnswer(PlaybookAnswer):
    """A playbook with its present version."""

    steps: list[dict[str, Any]]
    source: str


class VersionAnswer(Answer):
    """One version of a playbook."""

    id: Id
    version: Count
    definition: dict[str, Any]
    source: str
    created_by: str
    created_at: datetime


class ExecutionAnswer(Answer):
    """A run as lists show it."""

    id: Id
    reference: str = Field(examples=["E-1A2B3C"])
    playbook_id: Id
    playbook: str = Field(examples=["malware_response"])
    version: Count
    case_id: Id | None
    alert_id: Id | None
    status: Annotated[str, one_of(ExecutionStatus.values)]
    dry_run: bool
    is_paused: bool
    requested_by: str
    parameters: dict[str, Any]
    summary: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ExecutionStepAnswer(Answer):
    """One step of a run."""

    id: Id
    name: str
    action: ActionWord
    branch: Count
    after: list[str]
    status: Annotated[str, one_of(StepState.values)]
    parameters: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    note: str | None
    attempts: Count
    approval_id: Id | None
    rollback: dict[str, Any] | None
    started_at: datetime | None
    finished_at: datetime | None


class ExecutionDetailAnswer(ExecutionAnswer):
    """A run with its steps."""

    steps: list[ExecutionStepAnswer]


class RuleAnswer(Answer):
    """A rule; `held_back` counts alerts beyond its bound, or with nothing new in them; `error` says why it last did not run."""

    id: Id
    name: str = Field(examples=["brute force"])
    playbook_id: Id
    playbook: str = Field(examples=["brute_force_mitigation"])
    condition: str
    enabled: bool
    dry_run: bool
    max_per_minute: Count
    held_back: Count
    error: str | None
    created_by: str
    updated_at: datetime


class RuleExampleAnswer(Answer):
    id: Id
    title: str
    severity: str


class RulePreviewAnswer(Answer):
    """Of the newest alerts, how many the rule would have been for."""

    looked_at: Count
    matching: Count
    examples: list[RuleExampleAnswer]


class DecisionAnswer(Answer):
    name: str
    verdict: Annotated[str, one_of(["approved", "rejected", "expired"])]
    reason: str
    at: datetime


class ApprovalAnswer(Answer):
    """A question to people, and what they said."""

    id: Id
    execution_id: Id
    case_id: Id | None
    step: str
    status: Annotated[str, one_of(ApprovalStatus.values)]
    action: ActionWord
    parameters: dict[str, Any]
    reason: str
    is_reversible: bool
    needed: Count
    granted: Count
    decisions: list[DecisionAnswer]
    requested_by: str
    created_at: datetime
    expires_at: datetime
    escalated_at: datetime | None
    decided_at: datetime | None


class ConnectorAnswer(Answer):
    """A connector without its secrets; `secrets` names those that are set."""

    id: Id
    name: str
    kind: Annotated[str, one_of(ConnectorKind.values)]
    enabled: bool
    actions: list[ActionWord]
    priority: Count
    settings: dict[str, Any]
    secrets: list[str]
    max_in_flight: Count
    breaker: BreakerAnswer
    tested_at: datetime | None
    test_error: str | None


class ConnectorTestAnswer(Answer):
    is_working: bool
    detail: str


class WebhookDeliveryAnswer(Answer):
    """One message to a webhook."""

    id: Id
    connector_id: Id
    event_id: str
    body: str
    status: Count | None
    error: str | None
    is_replay: bool
    sent_at: datetime


class BlocklistEntryAnswer(Answer):
    """Something that a playbook has firewalls block; in force until it expires or is lifted."""

    id: Id
    type: Annotated[str, one_of(BlockType.values)]
    value: str = Field(examples=["198.51.100.7"])
    reason: str
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lifted_because: str | None
