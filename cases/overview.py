"""What the console's first page and the live page tell of alerts and cases: a handful of queries, each along an index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Avg, Count, F, QuerySet, Sum
from django.db.models.functions import TruncHour, TruncMinute
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from aurora.console import charts, widgets
from aurora.console.overview import Figure, Panel, Part, capped_count, shown
from aurora.errors import Unavailable
from aurora.resilience import spool
from cases.attack import technique
from cases.models import Alert, AlertPivot, Case, IngestReceipt
from cases.states import CLOSED_CASES, SEVERITIES, URGENT, AlertStatus, PivotKind, Severity

HOURS = 24
MINUTES = 60
TOP = 8

_OPEN = tuple(
    status.value for status in AlertStatus if status not in (AlertStatus.RESOLVED, AlertStatus.FALSE_POSITIVE)
)


@dataclass(frozen=True, slots=True)
class Today:
    """Alerts last seen since midnight UTC, by severity; open alerts nobody has acknowledged; cases not closed."""

    by_severity: dict[str, int]
    unacknowledged: int
    open_cases: int

    @property
    def alerts(self) -> int:
        return sum(self.by_severity.values())


def part(*, permissions: frozenset[str], now: datetime) -> Part:
    """Alerts, intake and cases for the console's first page; empty for readers who may not see alerts."""
    if "alerts:read" not in permissions:
        return Part()
    hours = _by_hour(now)
    figures = [*_alert_figures(hours, now), *_case_figures(permissions), *_work_figures(now), *_spool_figures()]
    panels = [_hourly_panel(hours, now), _techniques_panel(now), _sources_panel(now), _latest_panel()]
    return Part(figures=figures, panels=panels)


def today(now: datetime | None = None) -> Today:
    """Today's counts, for the live page."""
    moment = now or timezone.now()
    return Today(
        by_severity=_today(_by_hour(moment), moment),
        unacknowledged=capped_count(_waiting()),
        open_cases=open_cases(),
    )


def alerts_per_minute(now: datetime | None = None) -> list[int]:
    """Alerts last seen in each of the past `MINUTES` minutes, the current one last."""
    moment = (now or timezone.now()).replace(second=0, microsecond=0)
    since = moment - timedelta(minutes=MINUTES - 1)
    rows = Alert.objects.filter(last_seen__gte=since).order_by().annotate(minute=TruncMinute("last_seen"))
    counted = dict(rows.values_list("minute").annotate(total=Count("pk")))
    return [counted.get(since + timedelta(minutes=at), 0) for at in range(MINUTES)]


def new_critical_alerts() -> int:
    """For the sidebar's badge."""
    return capped_count(_waiting().filter(severity=Severity.CRITICAL))


def open_cases() -> int:
    """For the sidebar's badge."""
    return capped_count(Case.objects.exclude(status__in=CLOSED_CASES))


def _waiting() -> QuerySet[Alert, Alert]:
    """Open alerts that no person has acknowledged. The agents' work is no answer to "who has seen this?": it moves the status alone."""
    return Alert.objects.filter(status__in=_OPEN, acknowledged_at=None)


def _by_hour(now: datetime) -> Counter[tuple[datetime, str]]:
    """Alerts last seen in each of the past `HOURS` hours by severity: one query for the chart and for today's figures."""
    since = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    rows = Alert.objects.filter(last_seen__gte=since).order_by().annotate(hour=TruncHour("last_seen"))
    grouped = rows.values_list("hour", "severity").annotate(total=Count("pk"))
    return Counter({(hour, severity): total for hour, severity, total in grouped})


def _today(hours: Counter[tuple[datetime, str]], now: datetime) -> dict[str, int]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    totals = dict.fromkeys(SEVERITIES, 0)
    for (hour, severity), total in hours.items():
        if hour >= midnight:
            totals[severity] += total
    return totals


def _alert_figures(hours: Counter[tuple[datetime, str]], now: datetime) -> list[Figure]:
    by_severity = _today(hours, now)
    url = reverse("admin:cases_alert_changelist")
    waiting = capped_count(_waiting())
    urgent = capped_count(_waiting().filter(severity__in=URGENT))
    return [
        Figure(
            "Alerts today",
            f"{sum(by_severity.values()):,}",
            "seen since 00:00 UTC",
            "notifications",
            url=f"{url}?seen=today",
        ),
        *(
            Figure(
                f"{widgets.words(name)} today",
                f"{by_severity[name]:,}",
                "",
                icon,
                name,
                f"{url}?severity__exact={name}&seen=today",
            )
            for name, icon in (("critical", "crisis_alert"), ("high", "priority_high"))
        ),
        Figure(
            "Unacknowledged",
            shown(waiting),
            f"{shown(urgent)} of them critical or high" if urgent else "none of them critical or high",
            "mark_chat_unread",
            "high" if urgent else "good",
            f"{url}?status__in={','.join(_OPEN)}&acknowledged_at__isnull=True",
        ),
    ]


def _case_figures(permissions: frozenset[str]) -> list[Figure]:
    if "cases:read" not in permissions:
        return []
    url = reverse("admin:cases_case_changelist")
    return [Figure("Open cases", shown(open_cases()), "not yet closed", "work", url=f"{url}?state=open")]


def _work_figures(now: datetime) -> list[Figure]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    intake = IngestReceipt.objects.filter(stored_at__gte=midnight).aggregate(
        merged=Sum("merged"), received=Sum("received")
    )
    since = now - timedelta(days=1)
    # `updated_at` is indexed and never older than the acknowledgement: it narrows, the second condition decides.
    acknowledged = Alert.objects.filter(updated_at__gte=since, acknowledged_at__gte=since)
    mean = acknowledged.aggregate(mean=Avg(F("acknowledged_at") - F("created_at")))["mean"]
    return [
        Figure(
            "Merged duplicates",
            f"{intake['merged'] or 0:,}",
            f"of {intake['received'] or 0:,} records received today",
            "merge",
            url=reverse("admin:cases_ingestreceipt_changelist"),
        ),
        Figure("Time to acknowledge", widgets.span(mean) if mean else "—", "mean of the last 24 hours", "timer"),
    ]


def _spool_figures() -> list[Figure]:
    """What waits on this machine's disk, and what there needs an operator; nothing while there is neither."""
    try:
        standing = spool.shared().standing()
    except Unavailable as error:
        return [Figure("Spool", "—", error.detail, "save", "high")]
    if not (standing.depth or standing.set_aside or standing.damaged_files):
        return []
    faults = [f"{standing.set_aside} set aside"] if standing.set_aside else []
    faults += [f"damaged file {name}" for name in standing.damaged_files]
    return [
        Figure("Spool", f"{standing.depth:,}", ", ".join(faults) or "being stored", "save", "high" if faults else "")
    ]


def _hourly_panel(hours: Counter[tuple[datetime, str]], now: datetime) -> Panel:
    last = now.replace(minute=0, second=0, microsecond=0)
    moments = [last - timedelta(hours=HOURS - 1 - at) for at in range(HOURS)]
    series = {name: [hours[moment, name] for moment in moments] for name in SEVERITIES}
    chart = charts.stacked_bars([f"{moment:%H}:00" for moment in moments], series, label_every=4)
    return Panel(
        "Alerts per hour",
        "admin/aurora/stacked_bars.html",
        {"chart": chart, "unit": "hour"},
        "wide",
        hint="last 24 hours, UTC",
    )


def _techniques_panel(now: datetime) -> Panel:
    pivots = AlertPivot.objects.filter(kind=PivotKind.TECHNIQUE, alert__last_seen__gte=now - timedelta(hours=HOURS))
    counted = pivots.values_list("value").annotate(total=Count("pk")).order_by("-total", "value")[:TOP]
    url = reverse("admin:cases_alert_changelist")
    rows = [(value, _technique_name(value), total, f"{url}?{urlencode({'q': value})}") for value, total in counted]
    return _ranking("Top ATT&CK techniques", rows, "No technique was named in the last 24 hours.")


def _sources_panel(now: datetime) -> Panel:
    seen = Alert.objects.filter(last_seen__gte=now - timedelta(hours=HOURS)).order_by()
    counted = seen.values_list("source").annotate(total=Count("pk")).order_by("-total", "source")[:TOP]
    url = reverse("admin:cases_alert_changelist")
    rows = [(source, "", total, f"{url}?{urlencode({'source': source})}") for source, total in counted]
    return _ranking("Top sources", rows, "No sensor reported in the last 24 hours.")


def _ranking(title: str, rows: Sequence[tuple[str, str, int, str]], empty: str) -> Panel:
    context = {"rows": charts.ranking(rows), "empty": empty}
    return Panel(title, "admin/aurora/ranking.html", context, "narrow", hint="last 24 hours")


def _latest_panel() -> Panel:
    urgent = Alert.objects.filter(severity__in=URGENT).order_by("-last_seen")
    rows = list(urgent.defer("raw", "metadata", "description", "iocs")[:TOP])
    url = f"{reverse('admin:cases_alert_changelist')}?severity__in=critical,high"
    return Panel("Latest critical and high alerts", "admin/cases/latest_alerts.html", {"alerts": rows}, "half", url)


def _technique_name(technique_id: str) -> str:
    known = technique(technique_id)
    return known.name if known else "not in ATT&CK 18"
