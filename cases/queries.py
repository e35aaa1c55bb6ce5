"""Reading: lists by filter, single things by id, figures for the overview."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from aurora.errors import Missing
from cases.attack import technique
from cases.events import alert_data, case_data
from cases.models import Alert, AlertPivot, Case, CaseTask, Evidence, IngestReject, Ioc, TimelineEntry
from cases.observables import classify, refang
from cases.schemas import AlertQuery, CaseQuery, CaseTaskQuery, IocQuery, RejectQuery
from cases.states import IocStatus

_LONG_TEXTS = ("description", "raw", "metadata")
_CUSTODY = 10_000
_ALERT_LOOKUPS = {
    "severity": "severity",
    "status": "status",
    "source": "source",
    "assignee": "assignee__username",
    "since": "last_seen__gte",
    "until": "first_seen__lte",
    "updated_since": "updated_at__gte",
}


def alerts(query: AlertQuery) -> QuerySet[Alert]:
    """Alerts by the contract's filters, without their long texts."""
    rows = Alert.objects.select_related("assignee").defer(*_LONG_TEXTS)
    rows = rows.filter(**{lookup: value for name, lookup in _ALERT_LOOKUPS.items() if (value := getattr(query, name))})
    if query.ioc:
        rows = rows.filter(ioc_links__ioc__in=Ioc.objects.filter(_same_value(query.ioc)).values("pk"))
    if query.technique:
        rows = rows.filter(pivots__kind="technique", pivots__value=query.technique)
    if query.q:
        rows = rows.filter(Q(title__icontains=query.q) | Q(pk__in=_carriers(query.q)))
    return rows


def alert(alert_id: UUID) -> dict[str, Any]:
    """One alert with everything. Raises Missing."""
    row = Alert.objects.select_related("assignee").filter(pk=alert_id).first()
    if row is None:
        raise Missing
    return alert_detail(row)


def alert_detail(row: Alert) -> dict[str, Any]:
    return alert_data(row) | {
        "description": row.description,
        "metadata": row.metadata,
        "raw_log": row.raw,
        "acknowledged_at": row.acknowledged_at,
        "resolved_at": row.resolved_at,
        "reopened_at": row.reopened_at,
        "techniques": [
            {"id": known.id, "name": known.name, "tactics": list(known.tactics)}
            for known in map(technique, row.mitre_techniques)
            if known
        ],
    }


def cases(query: CaseQuery) -> QuerySet[Case]:
    rows = Case.objects.select_related("assignee")
    for name in ("severity", "status"):
        if value := getattr(query, name):
            rows = rows.filter(**{name: value})
    if query.assignee:
        rows = rows.filter(assignee__username=query.assignee)
    if query.q:
        rows = rows.filter(Q(title__icontains=query.q) | Q(description__icontains=query.q))
    if query.updated_since:
        rows = rows.filter(updated_at__gte=query.updated_since)
    return rows


def case(case_id: UUID) -> dict[str, Any]:
    """One case with its alerts. Raises Missing."""
    row = Case.objects.select_related("assignee").filter(pk=case_id).first()
    if row is None:
        raise Missing
    members = row.alerts.select_related("assignee").defer(*_LONG_TEXTS).order_by("-pk")[:200]
    return case_data(row) | {
        "description": row.description,
        "resolution": row.resolution,
        "alerts": [alert_data(member) for member in members],
    }


def timeline(case_id: UUID) -> QuerySet[TimelineEntry]:
    """What happened to a case, to be ordered by the caller. Raises Missing."""
    if not Case.objects.filter(pk=case_id).exists():
        raise Missing
    return TimelineEntry.objects.filter(case_id=case_id)


def timeline_data(entry: TimelineEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "kind": entry.kind,
        "actor": entry.actor,
        "text": entry.text,
        "data": entry.data,
        "created_at": entry.created_at,
    }


def tasks(case_id: UUID, query: CaseTaskQuery) -> QuerySet[CaseTask]:
    """What is to be done for a case, to be ordered by the caller. Raises Missing."""
    if not Case.objects.filter(pk=case_id).exists():
        raise Missing
    rows = CaseTask.objects.filter(case_id=case_id).select_related("assignee")
    return rows.filter(status=query.status) if query.status else rows


def task_data(task: CaseTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "case_id": task.case_id,
        "title": task.title,
        "description": task.description,
        "status": task.status,
        "assignee": task.assignee.username if task.assignee else None,
        "due_at": task.due_at,
        "created_by": task.created_by,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "done_by": task.done_by or None,
        "done_at": task.done_at,
    }


def evidence(case_id: UUID) -> QuerySet[Evidence]:
    """The files of a case, to be ordered by the caller. Raises Missing."""
    if not Case.objects.filter(pk=case_id).exists():
        raise Missing
    return Evidence.objects.filter(case_id=case_id)


def evidence_data(row: Evidence) -> dict[str, Any]:
    names = ("id", "case_id", "name", "media_type", "size", "sha256", "sha1", "md5", "description", "added_by")
    return {name: getattr(row, name) for name in (*names, "created_at")}


def evidence_detail(row: Evidence) -> dict[str, Any]:
    names = ("id", "action", "actor", "note", "created_at")
    links = row.custody.order_by("id")[:_CUSTODY]
    return evidence_data(row) | {"custody": [{name: getattr(link, name) for name in names} for link in links]}


def iocs(query: IocQuery) -> QuerySet[Ioc]:
    rows = Ioc.objects.all()
    if query.type:
        rows = rows.filter(type=query.type)
    if query.status:
        rows = rows.filter(status=query.status)
    if query.q:
        rows = rows.filter(Q(value__icontains=refang(query.q)) | Q(description__icontains=query.q))
    return rows


def ioc(ioc_id: UUID) -> dict[str, Any]:
    """One IOC with the newest alerts that carried it. Raises Missing."""
    row = Ioc.objects.filter(pk=ioc_id).first()
    if row is None:
        raise Missing
    carriers = row.alerts.select_related("assignee").defer(*_LONG_TEXTS).order_by("-pk")[:50]
    return ioc_data(row) | {"alerts": [alert_data(carrier) for carrier in carriers]}


def iocs_of_value(value: str) -> list[dict[str, Any]]:
    """What is known under a value, defanged or not, of whatever type."""
    return [ioc_data(row) for row in Ioc.objects.filter(_same_value(value))]


def ioc_data(row: Ioc) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": row.type,
        "value": row.value,
        "source": row.source,
        "description": row.description,
        "confidence": row.confidence,
        "status": row.status,
        "tlp": row.tlp,
        "sightings": row.sightings,
        "first_seen": row.first_seen,
        "last_seen": row.last_seen,
        "expires_at": row.expires_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def rejects(query: RejectQuery) -> QuerySet[IngestReject]:
    rows = IngestReject.objects.all()
    if query.source:
        rows = rows.filter(source=query.source)
    if query.receipt:
        rows = rows.filter(receipt=query.receipt)
    return rows


def reject_data(row: IngestReject) -> dict[str, Any]:
    return {
        "id": row.id,
        "receipt": row.receipt,
        "source": row.source,
        "index": row.index,
        "detail": row.detail,
        "raw": row.raw,
        "created_at": row.created_at,
    }


def blocklist(ioc_type: str) -> list[str]:
    """Active, unexpired indicators of a type that an analyst or feed vouches for (confidence ≥ 0.7), for firewalls."""
    now = timezone.now()
    rows = Ioc.objects.filter(type=ioc_type, status=IocStatus.ACTIVE, confidence__gte=0.7)
    return list(
        rows.filter(Q(expires_at=None) | Q(expires_at__gt=now)).order_by("value").values_list("value", flat=True)
    )


def _carriers(value: str) -> QuerySet[AlertPivot, Any]:
    """The alerts that name an asset, a user or a technique."""
    return AlertPivot.objects.filter(value__in={value.lower(), value.upper()}).values("alert_id")


def _same_value(value: str) -> Q:
    known = classify(value)
    plain = Q(value=refang(value.strip()))
    return plain | Q(type=known.type, value=known.value) if known else plain
