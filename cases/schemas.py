"""Request bodies and queries of alerts, intake, cases and IOCs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from aurora.rest.schemas import Body, Line, Moment, Number, PageQuery, Query, Text, one_of
from cases.states import (
    AlertStatus,
    CaseStatus,
    IocStatus,
    IocType,
    Severity,
    TaskStatus,
    Tlp,
)

SeverityWord = Annotated[str, one_of(Severity.values)]
AlertStatusWord = Annotated[str, one_of(AlertStatus.values)]
CaseStatusWord = Annotated[str, one_of(CaseStatus.values)]
TaskStatusWord = Annotated[str, one_of(TaskStatus.values)]
IocTypeWord = Annotated[str, one_of(IocType.values)]
IocStatusWord = Annotated[str, one_of(IocStatus.values)]
TlpWord = Annotated[str, one_of(Tlp.values)]
TechniqueId = Annotated[str, Field(pattern=r"^T[0-9]{4}(\.[0-9]{3})?$", examples=["T1110.003"])]
Title = Annotated[Line, Field(max_length=500)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
# Windows of days are laid around an alert's time; nearer to the ends of the calendar they would leave it.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class IocIn(Body):
    type: IocTypeWord
    value: Text = Field(min_length=1, max_length=2048, examples=["203.0.113.77"])


class AlertIn(Body):
    """`POST /alerts`."""

    title: Title
    severity: SeverityWord
    source: Annotated[Line, Field(max_length=64)]
    description: Text = Field("", max_length=100_000)
    iocs: list[Annotated[Text, Field(min_length=1, max_length=2048)] | IocIn] = Field([], max_length=256)
    mitre_techniques: list[TechniqueId] = Field([], max_length=64)
    affected_assets: list[Annotated[Text, Field(min_length=1, max_length=255)]] = Field([], max_length=256)
    raw_log: Text = Field("", max_length=1_000_000)
    occurred_at: Annotated[Moment, Field(ge=_EARLIEST, le=_LATEST)] | None = None


class AlertPatch(Body):
    """`PATCH /alerts/{id}`: what is absent stays."""

    status: AlertStatusWord | None = None
    assignee: Text | None = None


class CaseLink(Body):
    case_id: UUID


class BulkAlerts(Body):
    """`POST /alerts/bulk`: one action on up to 200 alerts, each on its own."""

    ids: list[UUID] = Field(min_length=1, max_length=200)
    action: Literal["acknowledge", "status", "assign", "case-link"]
    status: AlertStatusWord | None = None
    assignee: Text | None = None
    case_id: UUID | None = None


class AlertQuery(PageQuery):
    """Filters of `GET /alerts`. `since` and `until` speak of when the sensor saw it."""

    severity: SeverityWord | None = None
    status: AlertStatusWord | None = None
    source: Text | None = Field(None, max_length=64)
    assignee: Text | None = Field(None, max_length=150)
    ioc: Text | None = Field(None, max_length=2048)
    technique: TechniqueId | None = None
    q: Text | None = Field(None, min_length=1, max_length=200)
    since: Moment | None = None
    until: Moment | None = None
    updated_since: Moment | None = None


class RejectQuery(PageQuery):
    source: Text | None = Field(None, max_length=32)
    receipt: UUID | None = None


class CaseIn(Body):
    title: Title
    severity: SeverityWord
    description: Text = Field("", max_length=100_000)


class CasePatch(Body):
    """`PATCH /cases/{id}`. `reason` goes with a change of status that needs one."""

    title: Title | None = None
    severity: SeverityWord | None = None
    description: Text | None = Field(None, max_length=100_000)
    assignee: Text | None = None
    status: CaseStatusWord | None = None
    reason: Text = Field("", max_length=10_000)


class CaseQuery(PageQuery):
    severity: SeverityWord | None = None
    status: CaseStatusWord | None = None
    assignee: Text | None = Field(None, max_length=150)
    q: Text | None = Field(None, min_length=1, max_length=200)
    updated_since: Moment | None = None


class CommentIn(Body):
    text: Text = Field(min_length=1, max_length=20_000)


class MergeIn(Body):
    """`POST /cases/{id}/merge`."""

    into: UUID


class CaseTaskIn(Body):
    """`POST /cases/{id}/tasks`."""

    title: Title = Field(examples=["Ask the user about the download"])
    description: Text = Field("", max_length=20_000)
    assignee: Text | None = Field(None, max_length=150)
    due_at: Moment | None = None


class CaseTaskPatch(Body):
    """`PATCH /cases/{id}/tasks/{task_id}`: what is absent stays; null takes the assignee or the date away."""

    title: Title | None = None
    description: Text | None = Field(None, max_length=20_000)
    status: TaskStatusWord | None = None
    assignee: Text | None = Field(None, max_length=150)
    due_at: Moment | None = None


class CaseTaskQuery(PageQuery):
    status: TaskStatusWord | None = None


class EvidenceIn(Body):
    """The fields beside the file of `POST /cases/{id}/evidence`."""

    description: Text = Field("", max_length=10_000)


class NewIoc(IocIn):
    """`POST /iocs`."""

    source: Text | None = Field(None, max_length=64)
    description: Text = Field("", max_length=10_000)
    confidence: Fraction = 0.5
    tlp: TlpWord = "amber"
    expires_at: Moment | None = None


class IocPatch(Body):
    source: Annotated[Text, Field(max_length=64)] = ""
    description: Annotated[Text, Field(max_length=10_000)] = ""
    confidence: Fraction = 0.5
    status: IocStatusWord = "active"
    tlp: TlpWord = "amber"
    expires_at: Moment | None = None


class IocQuery(PageQuery):
    type: IocTypeWord | None = None
    status: IocStatusWord | None = None
    q: Text | None = Field(None, min_length=1, max_length=200)


class ImportQuery(Query):
    """`POST /iocs/import`: what holds for entries that do not say."""

    source: Text | None = Field(None, min_length=1, max_length=64)
    confidence: float | None = Field(None, ge=0, le=1)
    tlp: TlpWord | None = None
    expires_at: Moment | None = None


class IocLookup(Query):
    value: Text = Field(min_length=1, max_length=2048)


class BlocklistQuery(Query):
    type: Annotated[str, one_of(("ip", "domain", "url"))]
