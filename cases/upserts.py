"""Intake's SQL: one statement a table for any number of rows, arrays instead of parameters a row.

`xmax = 0` tells an inserted row from an updated one: PostgreSQL writes the locking transaction into `xmax` of a row that existed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from aurora.ids import new_id
from cases.models import Alert, AlertIoc, AlertPivot, AlertSighting, Ioc

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
_LONGEST_LIST = 256
"""A detection seen on more assets than this lists the first ones; the pivots know them all."""


def _union(column: str) -> str:
    """SQL for what a stored list becomes when the same alert comes again: the stored values first, new ones behind them."""
    old, new = f"{_ALERT}.{column}", f"excluded.{column}"
    return f"""CASE WHEN {old} @> {new} OR jsonb_array_length({old}) >= {_LONGEST_LIST} THEN {old}
        ELSE {old} || (SELECT jsonb_agg(value) FROM jsonb_array_elements({new}) WHERE NOT {old} @> value) END"""


_UPSERT_ALERTS = f"""
    INSERT INTO {_ALERT} ({", ".join(name for name, _ in _ALERT_COLUMNS)})
    SELECT * FROM unnest({", ".join(f"%s::{kind}[]" for _, kind in _ALERT_COLUMNS)})
    ON CONFLICT (dedup_hash) DO UPDATE SET
        count = {_ALERT}.count + excluded.count,
        affected_assets = {_union("affected_assets")},
        users = {_union("users")},
        mitre_techniques = {_union("mitre_techniques")},
        first_seen = least({_ALERT}.first_seen, excluded.first_seen),
        last_seen = greatest({_ALERT}.last_seen, excluded.last_seen),
        updated_at = excluded.updated_at
    RETURNING dedup_hash, xmax = 0, id, severity, status, count, first_seen, last_seen, created_at,
        case_id, assignee_id, affected_assets, users, mitre_techniques
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
    ON CONFLICT (kind, value, alert_id) DO NOTHING
"""
_INSERT_SIGHTINGS = f"""
    INSERT INTO {AlertSighting._meta.db_table} (alert_id, seen_at, metadata, raw)
    SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::jsonb[], %s::text[])
"""


class Outcome(NamedTuple):
    """How an alert stands after its upsert."""

    is_created: bool
    id: UUID
    severity: str
    status: str
    times: int
    first_seen: datetime
    last_seen: datetime
    created_at: datetime
    case_id: UUID | None
    assignee_id: int | None
    affected_assets: str
    users: str
    mitre_techniques: str

    def applied_to(self, row: Alert) -> Alert:
        """`row`, as sent, with what is stored."""
        for name in ("id", "severity", "status", "first_seen", "last_seen", "created_at"):
            setattr(row, name, getattr(self, name))
        row.count = self.times
        row.case_id, row.assignee_id = self.case_id, self.assignee_id
        if not self.is_created:
            row.affected_assets = orjson.loads(self.affected_assets)
            row.users = orjson.loads(self.users)
            row.mitre_techniques = orjson.loads(self.mitre_techniques)
        row._state.adding = False
        return row


def alerts(rows: Sequence[Alert]) -> dict[str, Outcome]:
    """Inserts the rows, or raises the count of those that are there. Returns how each now stands, by dedup hash."""
    if not rows:
        return {}
    columns = [[_alert_value(row, name, kind) for row in rows] for name, kind in _ALERT_COLUMNS]
    return {found[0]: Outcome(*found[1:]) for found in _execute(_UPSERT_ALERTS, columns)}


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
    """Indexes alerts by asset, user and technique; what is indexed already stays."""
    found = [(row.id, kind, value) for row in rows for kind, value in _pivots_of(row)]
    if found:
        _execute(_INSERT_PIVOTS, [list(column) for column in zip(*found, strict=True)])


def sightings(rows: Sequence[AlertSighting]) -> None:
    """Keeps repetitions."""
    if rows:
        columns = [
            [row.alert_id for row in rows],
            [row.seen_at for row in rows],
            [orjson.dumps(row.metadata).decode() for row in rows],
            [row.raw for row in rows],
        ]
        _execute(_INSERT_SIGHTINGS, columns)


def _pivots_of(row: Alert) -> set[tuple[str, str]]:
    assets = {("asset", asset.lower()) for asset in row.affected_assets}
    # `j.doe@corp.example` is found as `j.doe` too: mail and sign-in logs name people by address, hosts by account.
    names = {name for user in row.users for name in (user.lower(), user.lower().partition("@")[0]) if name}
    return (
        assets | {("user", name) for name in names} | {("technique", technique) for technique in row.mitre_techniques}
    )


def _alert_value(row: Alert, name: str, kind: str) -> object:
    value = getattr(row, name)
    return orjson.dumps(value).decode() if kind == "jsonb" else value


def _execute(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []
