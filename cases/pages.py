"""What the console's pages of one alert or IOC show: their queries, and values made fit to be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import CharField, Q, QuerySet
from django.db.models.functions import Cast

from aurora.console import pretty, widgets
from aurora.console.records import Facts, facts_of
from aurora.ids import uuid_or_none
from aurora.standin import source
from cases.attack import tactic_name, technique
from cases.correlation import Related, Relation, related_alerts
from cases.models import Alert, AlertIoc, AlertPivot, AlertSighting, Case, Ioc
from cases.observables import defang, refang
from cases.states import IocType

SHOWN = 50
"""Related rows on one page; lists have the rest."""
RELATED_WITHIN = timedelta(hours=24)
RELATED_SHOWN = 8
SIGHTINGS_SHOWN = 20
LONG_VALUE = 60
"""Characters of a sensor's value from which on it takes a line of its own."""

# Other in every record of a sensor, and told by the sighting's time already.
_NEVER_ALIKE = frozenset({"flow_id", "flow_start", "wazuh_id", "rule_firedtimes", "tx_id"})

_REFERENCE = re.compile(r"(?:C-)?([0-9A-F]{6})", re.IGNORECASE)
_IOC_LABELS = dict(IocType.choices)


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


@dataclass(frozen=True, slots=True)
class RelatedLine:
    """Another alert, what ties it to this one (`asset fs-01`), and how far apart the two were seen."""

    alert: Alert
    ties: list[str]
    apart: str
    strength: float


@dataclass(frozen=True, slots=True)
class SightingLine:
    """A repetition of an alert. `differences` are the sensor's fields in which it is not as the first sighting."""

    seen_at: datetime
    differences: list[str]


@dataclass(frozen=True, slots=True)
class SensorField:
    """A field of the sensor's, its value made fit to be read; long ones and records are blocks of their own."""

    name: str
    value: object
    is_block: bool = False


def alert_page(alert: Alert) -> dict[str, Any]:
    """Everything the page of an alert shows besides its buttons."""
    return {
        "facts": _alert_facts(alert),
        "indicators": _indicators(alert),
        "techniques": [technique_line(value) for value in texts(alert.mitre_techniques)],
        "related": [_related_line(alert, one) for one in _related(alert)],
        "related_within": widgets.span(RELATED_WITHIN),
        "sightings": [_sighting_line(alert, one) for one in _sightings(alert)],
        "sighting_count": alert.count - 1,
        "shown_count": f"{alert.count:,}",
        "metadata": [_sensor_field(str(key), value) for key, value in sorted(_mapping(alert.metadata).items())],
        "raw": pretty.record(alert.raw),
        "raw_length": len(alert.raw),
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


def cases_matching(rows: QuerySet[Case, Case], words: str) -> QuerySet[Case, Case]:
    """Cases whose title holds `words`, or that have them as their reference (`C-B31810`) or id."""
    words = words.strip()
    if not words:
        return rows
    wanted = Q(title__icontains=words)
    if key := uuid_or_none(words):
        wanted |= Q(pk=key)
    if reference := _REFERENCE.fullmatch(words):
        # The last digits of an id stand in no index; cases are few beside alerts, and who asks for one has its number.
        ends = Case.objects.annotate(text=Cast("pk", CharField())).filter(text__endswith=reference[1].lower())
        wanted |= Q(pk__in=ends.values("pk"))
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
        ("Assets", widgets.chips(texts(alert.affected_assets), shown=20)),
        ("Users", widgets.chips(texts(alert.users), shown=20)),
        ("Count", f"{alert.count:,}"),
        ("Assignee", alert.assignee.username if alert.assignee else widgets.NOTHING),
        ("First seen", widgets.when(alert.first_seen)),
        ("Last seen", widgets.when(alert.last_seen)),
        ("Received", widgets.when(alert.created_at)),
        ("Acknowledged", widgets.when(alert.acknowledged_at)),
        ("Resolved", widgets.when(alert.resolved_at)),
        *([("Reopened", widgets.when(alert.reopened_at))] if alert.reopened_at else []),
    ]


def _indicators(alert: Alert) -> list[Indicator]:
    """The alert's IOCs as found, each with the store's row: an alert may name some that the store has since forgotten."""
    rows = {(row.type, row.value): row for row in alert.ioc_rows.all()[:500]}
    found = [(str(ioc.get("type", "")), str(ioc.get("value", ""))) for ioc in _mappings(alert.iocs)]
    return [
        Indicator(ioc_label(kind), defang(value, kind), rows.get((kind, value))) for kind, value in dict.fromkeys(found)
    ]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> Iterable[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else []


def _related(alert: Alert) -> list[Related]:
    if source.current() != source.DATABASE:
        return []  # what hangs together is worked out in PostgreSQL, and never from fixtures
    return related_alerts(alert=alert, window=RELATED_WITHIN, limit=RELATED_SHOWN)


def _related_line(alert: Alert, one: Related) -> RelatedLine:
    gap = widgets.span(timedelta(seconds=one.seconds_apart))
    order = "before" if one.alert.last_seen < alert.first_seen else "after"
    types = {str(ioc.get("value")): str(ioc.get("type")) for ioc in _mappings(alert.iocs)}
    return RelatedLine(
        alert=one.alert,
        ties=[_tie(relation, types.get(relation.value, "")) for relation in one.relations],
        apart=f"{gap} {order}" if one.seconds_apart >= 1 else "at the same time",
        strength=one.strength,
    )


def _tie(relation: Relation, ioc_type: str) -> str:
    if relation.kind == "ioc":
        return f"{ioc_label(ioc_type)} {defang(relation.value, ioc_type)}"
    return f"{widgets.words(relation.kind)} {relation.value}"


def _sightings(alert: Alert) -> Iterable[AlertSighting]:
    return alert.sightings.order_by("-seen_at").defer("raw")[:SIGHTINGS_SHOWN]


def _sighting_line(alert: Alert, sighting: AlertSighting) -> SightingLine:
    first = _mapping(alert.metadata)
    fields = sorted(_mapping(sighting.metadata).items())
    differing = [(name, value) for name, value in fields if name not in _NEVER_ALIKE and first.get(name) != value]
    return SightingLine(sighting.seen_at, [f"{name} {_short(value)}" for name, value in differing])


def _sensor_field(name: str, value: object) -> SensorField:
    """Scalars as they are, lists of scalars joined, moments in UTC to the second, records indented."""
    if isinstance(value, list) and not any(isinstance(entry, dict | list) for entry in value):
        value = _short(value)
    if isinstance(value, dict | list):
        return SensorField(name, pretty.record(value), is_block=True)
    text = str(value)
    if moment := _moment(text):
        return SensorField(name, widgets.when(moment))
    return SensorField(name, text, is_block=len(text) > LONG_VALUE)


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _moment(text: str) -> datetime | None:
    """An ISO 8601 date with time and zone; None for anything else, plain numbers that ISO 8601 would allow included."""
    if len(text) > 40 or text[10:11] not in ("T", " "):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
