"""What the calls of alerts, intake, cases and IOCs answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from aurora.rest.schemas import Answer, Id, one_of
from cases.schemas import (
    AlertStatusWord,
    CaseStatusWord,
    IocStatusWord,
    IocTypeWord,
    SeverityWord,
    TaskStatusWord,
    TlpWord,
)
from cases.states import AssetType, Category, CustodyAction, TimelineKind

Count = Annotated[int, Field(ge=0)]
Technique = Annotated[str, Field(examples=["T1110.003"])]


class Observable(Answer):
    """A value as an alert carried it."""

    type: IocTypeWord
    value: str = Field(examples=["203.0.113.77"])


class AlertAnswer(Answer):
    """An alert as lists and sockets show it."""

    id: Id
    title: str = Field(examples=["Password spraying against VPN"])
    severity: SeverityWord
    status: AlertStatusWord
    source: str = Field(examples=["suricata"])
    category: Annotated[str, one_of(Category.values)]
    asset_type: Annotated[str, one_of(AssetType.values)] | None
    count: int = Field(ge=1, description="How often it was seen.")
    affected_assets: list[Annotated[str, Field(examples=["vpn-01"])]]
    users: list[Annotated[str, Field(examples=["j.doe"])]]
    iocs: list[Observable]
    mitre_techniques: list[Technique]
    first_seen: datetime
    last_seen: datetime
    created_at: datetime
    updated_at: datetime
    assignee: str | None
    case_id: Id | None
    dedup_hash: str = Field(pattern="^[0-9a-f]{64}$", examples=["0" * 64])


class KnownTechnique(Answer):
    """A technique by ATT&CK."""

    id: Technique
    name: str = Field(examples=["Password Spraying"])
    tactics: list[Annotated[str, Field(examples=["credential-access"])]]


class AlertDetailAnswer(AlertAnswer):
    """One alert with everything."""

    description: str
    metadata: dict[str, Any]
    raw_log: str
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    reopened_at: datetime | None = Field(description="When it was last seen again after it had been resolved.")
    techniques: list[KnownTechnique]


class NotDone(Answer):
    """An alert of a bulk action for which it failed."""

    id: Id
    detail: str = Field(examples=["Not Found"])


class BulkAnswer(Answer):
    done: list[Id]
    failed: list[NotDone]


class RejectedRecord(Answer):
    index: Count
    detail: str = Field(examples=["a JSON object was expected, not a number"])


class DeliveryAnswer(Answer):
    """What became of a delivery: `received = created + merged + ignored + rejected`."""

    receipt: Id
    received: Count
    created: Count
    merged: Count
    ignored: Count
    rejected: list[RejectedRecord]


class SpooledAnswer(Answer):
    """While PostgreSQL is away: the delivery is on the disk, and is stored when it is back. The receipt tells how far it is."""

    receipt: Id
    received: Count
    spooled: Count


class TakenInAnswer(RootModel[DeliveryAnswer | SpooledAnswer]):
    """What became of a delivery, or that it was spooled."""


class ReceiptAnswer(Answer):
    """The same at any later time, in numbers."""

    receipt: Id
    status: Literal["spooled", "stored"]
    source: str = Field(examples=["suricata"])
    received: Count
    created: Count
    merged: Count
    ignored: Count
    rejected: Count


class RejectAnswer(Answer):
    """A record that was no alert."""

    id: Id
    receipt: Id
    source: str = Field(examples=["suricata"])
    index: Count
    detail: str = Field(examples=["a JSON object was expected, not a number"])
    raw: str
    created_at: datetime


class CaseAnswer(Answer):
    """A case as lists and sockets show it."""

    id: Id
    reference: str = Field(examples=["CASE-2B8A41"])
    title: str = Field(examples=["Password spraying against VPN"])
    severity: SeverityWord
    status: CaseStatusWord
    confidence: float = Field(ge=0, le=1)
    assignee: str | None
    opened_by: str = Field(examples=["ana"])
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    merged_into: Id | None = Field(description="The case in which it goes on; it itself never changes again.")


class CaseDetailAnswer(CaseAnswer):
    """One case with its newest alerts."""

    description: str
    resolution: str
    alerts: list[AlertAnswer]


class TimelineAnswer(Answer):
    """One thing that happened to a case."""

    id: Id
    kind: Annotated[str, one_of(TimelineKind.values)]
    actor: str = Field(examples=["ana"])
    text: str = Field(examples=["Asked the user: not her."])
    data: dict[str, Any]
    created_at: datetime


class CaseTaskAnswer(Answer):
    """Something to be done for a case."""

    id: Id
    case_id: Id
    title: str = Field(examples=["Ask the user about the download"])
    description: str
    status: TaskStatusWord
    assignee: str | None
    due_at: datetime | None
    created_by: str = Field(examples=["ana"], description="A user's name, or the part of the product that left it.")
    created_at: datetime
    updated_at: datetime
    done_by: str | None
    done_at: datetime | None


class EvidenceAnswer(Answer):
    """A file of a case. Its content is at `/content`."""

    id: Id
    case_id: Id
    name: str = Field(examples=["invoice.docm"])
    media_type: str = Field(examples=["application/msword"], description="As its sender declared it; never believed.")
    size: int = Field(ge=1, description="Bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", examples=["0" * 64])
    sha1: str = Field(examples=["0" * 40])
    md5: str = Field(examples=["0" * 32])
    description: str
    added_by: str = Field(examples=["ana"])
    created_at: datetime


class CustodyAnswer(Answer):
    """One link of the chain of custody."""

    id: Id
    action: Annotated[str, one_of(CustodyAction.values)]
    actor: str = Field(examples=["ana"])
    note: str
    created_at: datetime


class EvidenceDetailAnswer(EvidenceAnswer):
    """A file of a case with its chain of custody, oldest first."""

    custody: list[CustodyAnswer]


class IocAnswer(Answer):
    """An indicator and what is known of it."""

    id: Id
    type: IocTypeWord
    value: str = Field(examples=["203.0.113.77"])
    source: str = Field(examples=["alert"])
    description: str
    confidence: float = Field(ge=0, le=1)
    status: IocStatusWord
    tlp: TlpWord
    sightings: Count
    first_seen: datetime
    last_seen: datetime
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


class IocDetailAnswer(IocAnswer):
    """One indicator with the newest alerts that carried it."""

    alerts: list[AlertAnswer]


class IocLookupAnswer(Answer):
    items: list[IocAnswer]
