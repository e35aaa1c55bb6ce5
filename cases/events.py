"""What this app announces: the types of its events and what their data holds. Sockets and workers read exactly this."""

from __future__ import annotations

from typing import Any

from aurora.bus import streams
from aurora.bus.outbox import Event
from cases.models import Alert, Case

ALERT_CREATED = "alert.created"
ALERT_UPDATED = "alert.updated"
CASE_UPDATED = "case.updated"


def alert_created(alert: Alert) -> Event:
    return _alert_event(ALERT_CREATED, alert)


def alert_updated(alert: Alert, *, is_raised: bool = False, is_reopened: bool = False) -> Event:
    """`is_raised`: its severity has just become graver. `is_reopened`: it was resolved, and has just been seen again."""
    said = {"is_raised": is_raised, "is_reopened": is_reopened}
    return _alert_event(ALERT_UPDATED, alert, {name: True for name, is_so in said.items() if is_so})


def case_updated(case: Case) -> Event:
    return Event(streams.CASES, CASE_UPDATED, f"case:{case.id}", case_data(case))


def alert_data(alert: Alert) -> dict[str, Any]:
    """An alert as lists and sockets show it: everything but the long texts."""
    return {
        "id": alert.id,
        "title": alert.title,
        "severity": alert.severity,
        "status": alert.status,
        "source": alert.source,
        "category": alert.category,
        "asset_type": alert.asset_type or None,
        "count": alert.count,
        "affected_assets": alert.affected_assets,
        "users": alert.users,
        "iocs": alert.iocs,
        "mitre_techniques": alert.mitre_techniques,
        "first_seen": alert.first_seen,
        "last_seen": alert.last_seen,
        "created_at": alert.created_at,
        "updated_at": alert.updated_at,
        "assignee": alert.assignee.username if alert.assignee else None,
        "case_id": alert.case_id,
        "dedup_hash": alert.dedup_hash,
    }


def case_data(case: Case) -> dict[str, Any]:
    """A case as lists and sockets show it."""
    return {
        "id": case.id,
        "reference": case.reference,
        "title": case.title,
        "severity": case.severity,
        "status": case.status,
        "confidence": case.confidence,
        "assignee": case.assignee.username if case.assignee else None,
        "opened_by": case.opened_by,
        "created_at": case.created_at,
        "updated_at": case.updated_at,
        "closed_at": case.closed_at,
        "merged_into": case.merged_into_id,
    }


def _alert_event(event_type: str, alert: Alert, more: dict[str, Any] | None = None) -> Event:
    return Event(streams.ALERTS, event_type, f"alert:{alert.id}", alert_data(alert) | (more or {}))
