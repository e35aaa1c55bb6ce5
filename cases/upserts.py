"""Intake's SQL: one statement a table for any number of rows, arrays instead of parameters a row.

`xmax = 0` tells an inserted row from an updated one: PostgreSQL writes the locking transaction into `xmax` of a row that existed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from aurora.ids import new_id
from cases.models import Alert, AlertIoc, AlertPivot, Ioc

IocIds = Mapping[tuple[str, str], UUID]

_ALERT_COLUMNS: tuple[tuple[str, str], ...] = (
    ("id", "uuid"),
    ("title", "text"),
    ("description", "text"),
    ("severity", "text"),
    ("status", "text"),
    ("source", "text"),
    ("category", "text"),
    ("asset_type", "text"),
    ("affected_assets", "jsonb"),
    ("users", "jsonb"),
    ("iocs", "jsonb"),
    ("mitre_techniques", "jsonb"),
    ("metadata", "jsonb"),
    ("raw", "text"),
    ("dedup_hash", "text"),
    ("count", "bigint"),
    ("first_seen", "timestamptz"),
    ("last_seen", "timestamptz"),
    ("created_at", "timestamptz"),
    ("updated_at", "timestamptz"),
)
_ALERT = Alert._meta.db_table
_UPSERT_ALERTS = f"""
    INSERT INTO {_ALERT} ({", ".join(name for name, _ in _ALERT_COLUMNS)})
    SELECT * FROM unnest({", ".join(f"%s::{kind}[]" for _, kind in _ALERT_COLUMNS)})
    ON CONFLICT (dedup_hash) DO UPDATE SET
        count = {_ALERT}.count + excluded.count,
        first_seen = least({_ALERT}.first_seen, excluded.first_seen),
        last_seen = greatest({_ALERT}.last_seen, excluded.last_seen),
        updated_at = excluded.updated_at
    RETURNING dedup_hash, xmax = 0, id, severity, status, count, first_seen, last_seen, created_at, case_id, assignee_id
"""
_IOC = Ioc._meta.db_table
_UPSERT_IOCS = f"""
    INSERT INTO {_IOC} (id, type, value, source, description, confidence, status, tlp,
                        sightings, first_seen, last_seen, created_at, updated_at)
    SELECT id, type, value, source, '', 0.5, 'active', 'amber', sightings, first_seen, last_seen, updated_at, updated_at
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[],
                %s::timestamptz[])
         AS row (id, type, value, source, sightings, first_seen, last_seen, updated_at)
    ON CONFLICT (value, type) DO UPDATE SET
        sightings = {_IOC}.sightings + excluded.sightings,
        first_seen = least({_IOC}.first_seen, excluded.first_seen),
        last_seen = greatest({_IOC}.last_seen, excluded.last_seen),
        updated_at = excluded.updated_at
    RETURNING type, value, id
"""
_INSERT_LINKS = f"""
    INSERT INTO {AlertIoc._meta.db_table} (alert_id, ioc_id)
    SELECT * FROM unnest(%s::uuid[], %s::uuid[])
"""
_INSERT_PIVOTS = f"""
    INSERT INTO {AlertPivot._meta.db_table} (alert_id, kind, value)
    SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[])
"""


def alerts(rows: Sequence[Alert]) -> list[tuple[Alert, bool]]:
    """Inserts the rows, or raises the count of those that are there. Returns each as it now stands, and whether it is new."""
    if not rows:
        return []
    columns = [[_alert_value(row, name, kind) for row in rows] for name, kind in _ALERT_COLUMNS]
    by_hash = {row.dedup_hash: row for row in rows}
    return [_as_stored(by_hash[found[0]], found) for found in _execute(_UPSERT_ALERTS, columns)]


def iocs(rows: Sequence[Alert]) -> IocIds:
    """Inserts the IOCs of the alerts, or raises their sightings. Returns their ids by type and value."""
    merged: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        for ioc in row.iocs:
            key = (ioc["value"], ioc["type"])
            known = merged.setdefault(key, [row.source, 0, row.first_seen, row.last_seen, row.updated_at])
            known[1] += row.count
            known[2], known[3] = min(known[2], row.first_seen), max(known[3], row.last_seen)
    if not merged:
        return {}
    ordered = sorted(merged)
    columns = [
        [new_id() for _ in ordered],
        [kind for _, kind in ordered],
        [value for value, _ in ordered],
        *([merged[key][place] for key in ordered] for place in range(5)),
    ]
    return {(kind, value): ioc_id for kind, value, ioc_id in _execute(_UPSERT_IOCS, columns)}


def links(rows: Sequence[Alert], ioc_ids: IocIds) -> None:
    """Ties new alerts to their IOCs."""
    pairs = [(row.id, ioc_ids[ioc["type"], ioc["value"]]) for row in rows for ioc in row.iocs]
    if pairs:
        _execute(_INSERT_LINKS, [list(column) for column in zip(*pairs, strict=True)])


def pivots(rows: Sequence[Alert]) -> None:
    """Indexes new alerts by asset, user and technique."""
    found = [(row.id, kind, value) for row in rows for kind, value in _pivots_of(row)]
    if found:
        _execute(_INSERT_PIVOTS, [list(column) for column in zip(*found, strict=True)])


def _pivots_of(row: Alert) -> set[tuple[str, str]]:
    assets = {("asset", asset.lower()) for asset in row.affected_assets}
    users = {("user", user.lower()) for user in row.users}
    return assets | users | {("technique", technique) for technique in row.mitre_techniques}


def _alert_value(row: Alert, name: str, kind: str) -> object:
    value = getattr(row, name)
    return orjson.dumps(value).decode() if kind == "jsonb" else value


def _as_stored(row: Alert, found: Sequence[Any]) -> tuple[Alert, bool]:
    _, is_new, row.id, row.severity, row.status, row.count, row.first_seen, row.last_seen, row.created_at = found[:9]
    row.case_id, row.assignee_id = found[9:]
    row._state.adding = False
    return row, bool(is_new)


def _execute(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []
