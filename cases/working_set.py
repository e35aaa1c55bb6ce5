"""What of alerts and cases is still to be read while PostgreSQL is away: the newest alerts, cases open or recent, every IOC."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from aurora.standin.working_set import Part, register
from cases.models import (
    Alert,
    AlertIoc,
    AlertPivot,
    AlertSighting,
    Case,
    CaseTask,
    CustodyEntry,
    Evidence,
    IngestReceipt,
    IngestReject,
    Ioc,
    TimelineEntry,
)
from cases.states import CLOSED_CASES

ALERTS = 20_000
RECENT = timedelta(days=30)
_LOGS = 2_000
_TIED = 200_000


def register_all() -> None:
    register(Part(Case, cases))
    register(Part(TimelineEntry, lambda: TimelineEntry.objects.filter(case__in=cases()), newest=_TIED))
    register(Part(CaseTask, lambda: CaseTask.objects.filter(case__in=cases()), newest=_TIED))
    register(Part(Evidence, lambda: Evidence.objects.filter(case__in=cases()), newest=_TIED))
    register(Part(CustodyEntry, lambda: CustodyEntry.objects.filter(evidence__case__in=cases()), newest=_TIED))
    register(Part(Alert, Alert.objects.all, newest=ALERTS))
    register(Part(AlertSighting, lambda: AlertSighting.objects.filter(alert__in=_alerts()), newest=ALERTS))
    register(Part(Ioc, Ioc.objects.all, newest=_TIED))
    register(Part(AlertIoc, lambda: AlertIoc.objects.filter(alert__in=_alerts()), newest=_TIED))
    register(Part(AlertPivot, lambda: AlertPivot.objects.filter(alert__in=_alerts()), newest=_TIED))
    register(Part(IngestReceipt, IngestReceipt.objects.all, newest=_LOGS))
    register(Part(IngestReject, IngestReject.objects.all, newest=_LOGS))


def cases() -> QuerySet[Case, Case]:
    """Cases that are somebody's work, or were within the last 30 days."""
    return Case.objects.filter(~Q(status__in=CLOSED_CASES) | Q(updated_at__gte=timezone.now() - RECENT))


def _alerts() -> QuerySet[Alert, Any]:
    return Alert.objects.order_by("-pk").values("pk")[:ALERTS]
