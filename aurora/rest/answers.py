"""What the system's own calls answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from aurora.rest.schemas import Answer, Id, one_of
from aurora.roles import PERMISSIONS, ROLES

RoleName = Annotated[str, one_of(tuple(ROLES))]


class Fault(Answer):
    """One fault of one input, in pydantic's words."""

    loc: list[str | int] = Field(examples=[["body", "severity"]])
    msg: str = Field(examples=["String should match pattern '^(critical|high|medium|low|info)$'"])
    type: str = Field(examples=["string_pattern_mismatch"])


class Refusal(Answer):
    """Every error: a sentence."""

    detail: str = Field(examples=["Not Found"])


class InvalidInput(Answer):
    """Invalid input: its faults. A sentence where the request itself could not be read."""

    detail: list[Fault] | str


class TokensAnswer(Answer):
    access_token: str = Field(examples=["eyJhbGciOiJIUzI1NiJ9.e30.…"])
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: int = Field(ge=1, description="Seconds.")
    role: RoleName


class MeAnswer(Answer):
    username: str = Field(examples=["ana"])
    role: RoleName
    permissions: list[Annotated[str, one_of(sorted(PERMISSIONS))]]


class AccountAnswer(Answer):
    username: str = Field(examples=["ana"])
    role: str = Field(examples=["analyst"], description="Empty for an account in no role's group.")
    is_active: bool
    last_login: datetime | None
    date_joined: datetime


class ApiKeyAnswer(Answer):
    """A program's key, without the secret."""

    id: Id
    name: str = Field(examples=["suricata sensor"])
    prefix: str = Field(examples=["aB3dE5fG"])
    role: RoleName
    networks: list[str] = Field(description="Where the key is good; empty: everywhere.", examples=[["192.0.2.0/24"]])
    created_by: str = Field(examples=["admin"])
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    rotated_from: Id | None = Field(description="The key that this one follows.")


class NewApiKeyAnswer(ApiKeyAnswer):
    """A key just made; its secret is shown this once."""

    key: str = Field(pattern="^aurora_key_", examples=["aurora_key_…"])


class ModeAnswer(Answer):
    """What works and where reads come from."""

    mode: Literal["real", "dry_run", "demo"]
    is_database_available: bool
    is_bus_available: bool
    showcase_reads_allowed: bool
    uses_showcase_data: bool
    read_data_source: Literal["database", "demo", "snapshot", "unavailable"]
    is_mutations_allowed: bool
    degraded_since: datetime | None
    snapshot_age_seconds: float | None
    spool_depth: int | None = Field(ge=0, description="Deliveries on this machine's disk; null when it cannot be read.")
    outbox_depth: int | None = Field(description="Events that are not on their stream yet.")


class AuditAnswer(Answer):
    """One change: who, from where, what."""

    id: Id
    at: datetime
    actor: str = Field(examples=["ana"])
    address: str = Field(examples=["192.0.2.7"])
    action: str = Field(examples=["alert.acknowledged"])
    target_type: str = Field(examples=["alert"])
    target_id: str
    before: dict[str, Any]
    after: dict[str, Any]
    request_id: str
    number: int | None = Field(description="Its place in the chain; null for the seconds until it is sealed.")
    digest: str = Field(
        description="SHA-256 over the entry and the digest before it, in hex; empty until it is sealed."
    )


class DeadLetterAnswer(Answer):
    """A message that no delivery could handle."""

    id: Id
    stream: str = Field(examples=["aurora:alerts"])
    group: str
    entry_id: str = Field(examples=["1764144900000-0"])
    event_id: str
    type: str = Field(examples=["alert.created"])
    data: str = Field(
        description="The payload; in a list at most its first 2,000 characters, whole when it is asked for by its id."
    )
    data_length: int = Field(ge=0, description="Characters of the whole payload.")
    traceparent: str = Field(description="Of the trace in which it was announced; empty when there was none.")
    error: str
    deliveries: int = Field(ge=0)
    created_at: datetime
    redriven_at: datetime | None


class LiveAnswer(Answer):
    status: Literal["alive"]


class DependencyAnswer(Answer):
    status: Literal["up", "down", "degraded"]
    latency_ms: float = Field(ge=0)
    error: str = Field("", description="The kind of failure, while it is down.")


class ReadyAnswer(Answer):
    status: Literal["up", "down", "degraded"]
    checks: dict[str, DependencyAnswer] = Field(examples=[{"database": {"status": "up", "latency_ms": 0.4}}])
