"""What the console's pages of one alert, case or IOC show: their queries, and values made fit to be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from aurora.console import pretty, widgets
from aurora.console.records import Facts, facts_of
from aurora.ids import uuid_or_none
from cases.attack import tactic_name, technique
from cases.models import Alert, AlertIoc, AlertPivot, Case, Ioc
from cases.observables import defang, refang
from cases.states import IocType, TimelineKind

SHOWN = 50
"""Related rows on one page; lists have the rest."""
TIMELINE_SHOWN = 300

_IOC_LABELS = dict(IocType.choices)
_TIMELINE_ICONS = {
    TimelineKind.OPENED: "flag",
    TimelineKind.ALERT_LINKED: "add_link",
    TimelineKind.AGENT_FINDING: "smart_toy",
    TimelineKind.AGENT_FAILED: "error",
    TimelineKind.INVESTIGATION: "travel_explore",
    TimelineKind.STATUS_CHANGED: "swap_horiz",
    TimelineKind.ASSIGNED: "person_add",
    TimelineKind.COMMENT: "chat",
    TimelineKind.PLAYBOOK: "play_circle",
    TimelineKind.APPROVAL: "gavel",
    TimelineKind.MERGED: "merge",
}


@dataclass(frozen=True, slots=True)
class Indicator:
    """An IOC as a page shows it; `row` is what the store knows of it, if anything."""

    type: str
    value: str
    row: Ioc | None = None


@dataclass(frozen=True, slots=True)
class TechniqueLine:
    id: str
    name: str
    tactics: str


def alert_page(alert: Alert) -> dict[str, Any]:
    """Everything the page of an alert shows besides its buttons."""
    return {
        "facts": _alert_facts(alert),
        "indicators": _indicators(alert),
        "techniques": [technique_line(value) for value in _texts(alert.mitre_techniques)],
        "metadata": [(key, _plain(value)) for key, value in sorted(_mapping(alert.metadata).items())],
        "raw": pretty.record(alert.raw),
        "raw_length": len(alert.raw),
    }


def case_page(case: Case) -> dict[str, Any]:
    """Everything the page of a case shows besides its buttons."""
    alerts = case.alerts.select_related("assignee").defer("raw", "metadata", "description")
    entries = list(case.timeline.order_by("-id")[:TIMELINE_SHOWN])
    alerts_shown = list(alerts[:SHOWN])
    names = [name for alert in alerts_shown for name in _texts(alert.mitre_techniques)]
    return {
        "facts": _case_facts(case),
        "timeline": [(entry, _TIMELINE_ICONS.get(TimelineKind(entry.kind), "circle")) for entry in entries],
        "alerts": alerts_shown,
        "alert_count": case.alerts.count(),
        "techniques": [technique_line(name) for name in dict.fromkeys(names)],
        "indicators": _case_indicators(case),
    }


def ioc_page(ioc: Ioc) -> dict[str, Any]:
    """Everything the page of an IOC shows."""
    names = ("source", "sightings", "first_seen", "last_seen", "expires_at", "created_at", "updated_at")
    alerts: QuerySet[Alert, Alert] = (
        ioc.alerts.order_by("-id").select_related("case").defer("raw", "metadata", "description")
    )
    rows = list(alerts[:SHOWN])
    cases = {alert.case_id: alert.case for alert in rows if alert.case}
    facts: Facts = [
        ("Confidence", widgets.percent(ioc.confidence)),
        ("TLP", widgets.badge("tlp", ioc.tlp, f"TLP:{ioc.tlp.upper()}")),
    ]
    return {
        "original": None,  # unfold would write the value into the breadcrumbs as it is
        "ioc": ioc,
        "title": defanged(ioc),
        "facts": [*facts, *facts_of(ioc, names)],
        "alerts": rows,
        "cases": list(cases.values()),
    }


def alerts_matching(rows: QuerySet[Alert, Alert], words: str) -> QuerySet[Alert, Alert]:
    """Alerts whose title holds `words`, or that carry them whole as an IOC (defanged or not), asset, user, technique or id."""
    words = words.strip()
    if not words:
        return rows
    value = refang(words)
    pivots = AlertPivot.objects.filter(value__in={value.lower(), value.upper()}).values("alert")
    carriers = AlertIoc.objects.filter(ioc__value__in={value, value.lower()}).values("alert")
    wanted = Q(title__icontains=words) | Q(pk__in=pivots) | Q(pk__in=carriers)
    if key := uuid_or_none(words):
        wanted |= Q(pk=key)
    return rows.filter(wanted)


def defanged(ioc: Ioc) -> str:
    """The value, safe to be read aloud, copied and mailed."""
    return defang(ioc.value, ioc.type)


def ioc_label(ioc_type: str) -> str:
    label = str(_IOC_LABELS.get(ioc_type, ioc_type))
    return label[:1].upper() + label[1:]


def technique_line(technique_id: str) -> TechniqueLine:
    """An ATT&CK id with the name and tactics that the data package knows."""
    known = technique(technique_id)
    if known is None:
        return TechniqueLine(technique_id, "not in the ATT&CK data", "")
    return TechniqueLine(known.id, known.name, ", ".join(tactic_name(tactic) for tactic in known.tactics))


def _alert_facts(alert: Alert) -> Facts:
    return [
        ("Source", alert.source),
        ("Category", widgets.words(alert.category)),
        ("Asset type", widgets.words(alert.asset_type) or widgets.NOTHING),
        ("Assets", widgets.chips(_texts(alert.affected_assets), shown=20)),
        ("Users", widgets.chips(_texts(alert.users), shown=20)),
        ("Count", f"{alert.count:,}"),
        ("Assignee", alert.assignee.username if alert.assignee else widgets.NOTHING),
        ("First seen", widgets.when(alert.first_seen)),
        ("Last seen", widgets.when(alert.last_seen)),
        ("Received", widgets.when(alert.created_at)),
        ("Acknowledged", widgets.when(alert.acknowledged_at)),
        ("Resolved", widgets.when(alert.resolved_at)),
    ]


def _case_facts(case: Case) -> Facts:
    return [
        ("Reference", case.reference),
        ("Confidence", widgets.percent(case.confidence)),
        ("Assignee", case.assignee.username if case.assignee else widgets.NOTHING),
        ("Opened by", case.opened_by),
        ("Opened", widgets.when(case.created_at)),
        ("Updated", widgets.when(case.updated_at)),
        ("Closed", widgets.when(case.closed_at)),
    ]


def _indicators(alert: Alert) -> list[Indicator]:
    """The alert's IOCs as found, each with the store's row: an alert may name some that the store has since forgotten."""
    rows = {(row.type, row.value): row for row in alert.ioc_rows.all()[:500]}
    found = [(str(ioc.get("type", "")), str(ioc.get("value", ""))) for ioc in _mappings(alert.iocs)]
    return [
        Indicator(ioc_label(kind), defang(value, kind), rows.get((kind, value))) for kind, value in dict.fromkeys(found)
    ]


def _case_indicators(case: Case) -> list[Indicator]:
    rows = Ioc.objects.filter(alert_links__alert__case=case).distinct()[:SHOWN]
    return [Indicator(ioc_label(row.type), defanged(row), row) for row in rows]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> Iterable[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else []


def _plain(value: object) -> object:
    return pretty.record(value) if isinstance(value, dict | list) else str(value)
