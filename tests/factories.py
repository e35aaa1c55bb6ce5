"""Builders, valid by default. What an alert names (assets, users, techniques, IOCs) is linked as intake links it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any

from cases import observables
from cases.models import Alert, AlertIoc, AlertPivot, Case, Ioc

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
_numbers = count(1)


def make_alert(**overrides: Any) -> Alert:
    """An alert at `NOW`. `iocs` may be bare strings, (type, value) pairs, `{type, value}` or rows; `last_seen` follows `first_seen`."""
    number = next(_numbers)
    rows = [_ioc_row(item) for item in overrides.pop("iocs", ())]
    first_seen = overrides.pop("first_seen", NOW)
    alert = Alert.objects.create(
        **{
            "title": f"Suspicious activity {number}",
            "source": "suricata",
            "category": "network",
            "dedup_hash": hashlib.sha256(f"alert {number}".encode()).hexdigest(),
            "first_seen": first_seen,
            "last_seen": first_seen,
            "iocs": [{"type": row.type, "value": row.value} for row in rows],
        }
        | overrides
    )
    AlertIoc.objects.bulk_create(AlertIoc(alert=alert, ioc=row) for row in rows)
    AlertPivot.objects.bulk_create(_pivots(alert))
    return alert


def make_case(*, alerts: Iterable[Alert] = (), **overrides: Any) -> Case:
    """An open case that holds `alerts`."""
    number = next(_numbers)
    case = Case.objects.create(**{"title": f"Incident {number}", "opened_by": "analyst"} | overrides)
    for alert in alerts:
        alert.case = case
        alert.save(update_fields=["case"])
    return case


def make_ioc(value: str = "", **overrides: Any) -> Ioc:
    """An indicator; its type follows from its value. Without a value, an address of its own outside."""
    number = next(_numbers)
    value = value or f"198.18.{number // 250 % 250}.{number % 250 + 1}"
    ioc_type = overrides.pop("type", None)
    if ioc_type is None:
        found = observables.classify(value)
        if found is None:
            raise ValueError(f"{value!r} is no observable; name its type")
        ioc_type, value = found
    return Ioc.objects.create(**{"type": ioc_type, "value": value, "first_seen": NOW, "last_seen": NOW} | overrides)


def _pivots(alert: Alert) -> list[AlertPivot]:
    keys = dict.fromkeys(
        [("asset", name.lower()) for name in alert.affected_assets]
        + [("user", name.lower()) for name in alert.users]
        + [("technique", name) for name in alert.mitre_techniques]
    )
    return [AlertPivot(alert=alert, kind=kind, value=value) for kind, value in keys]


def _ioc_row(item: Any) -> Ioc:
    if isinstance(item, Ioc):
        return item
    if isinstance(item, str):
        item = observables.classify(item)
    ioc_type, value = (item["type"], item["value"]) if isinstance(item, dict) else item
    row = Ioc.objects.filter(type=ioc_type, value=value).first()
    return row or make_ioc(value, type=ioc_type)
