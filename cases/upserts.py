"""Intake's SQL: one statement a table for any number of rows, which travel as one JSON text.

A parameter for each column, an array, was measured: Django's cursor writes arrays in Python, escaping every string by a regular expression,
which took longer than PostgreSQL with everything else.
`xmax = 0` tells an inserted row from an updated one: PostgreSQL writes the locking transaction into `xmax` of a row that existed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from aurora import statements
from aurora.ids import new_id
from cases.models import Alert, AlertIoc, AlertPivot, AlertSighting, IngestReceipt, Ioc
from cases.states import SEVERITIES

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


def _gravity(row: str) -> str:
    """SQL for how grave a row's severity is; the gravest is the smallest."""
    return f"array_position(ARRAY[{', '.join(repr(severity) for severity in SEVERITIES)}], {row}.severity::text)"


# What is seen again after somebody had resolved it is not resolved: it is new, and nobody's reaction has begun. A record from before then (a sensor
# that was cut off, the spool) says nothing against the resolution; nor does anything against a false positive, which is about what such records mean.
_COMES_BACK = (
    f"{_ALERT}.status = 'resolved' AND ({_ALERT}.resolved_at IS NULL OR excluded.last_seen > {_ALERT}.resolved_at)"
)
# A repetition that is graver raises the alert: otherwise what began as a warning would stay one. What the severity was before comes from a
# look at the row as the statement found it, which its own update does not change.
_UPSERT_ALERTS = f"""
    INSERT INTO {_ALERT} ({", ".join(name for name, _ in _ALERT_COLUMNS)})
    SELECT * FROM json_to_recordset(%s::json) AS row ({", ".join(f"{name} {kind}" for name, kind in _ALERT_COLUMNS)})
    ON CONFLICT (dedup_hash) DO UPDATE SET
        count = {_ALERT}.count + excluded.count,
        severity = CASE WHEN {_gravity("excluded")} < {_gravity(_ALERT)} THEN excluded.severity ELSE {_ALERT}.severity END,
        affected_assets = {_union("affected_assets")},
        users = {_union("users")},
        mitre_techniques = {_union("mitre_techniques")},
        first_seen = least({_ALERT}.first_seen, excluded.first_seen),
        last_seen = greatest({_ALERT}.last_seen, excluded.last_seen),
        status = CASE WHEN {_COMES_BACK} THEN 'new' ELSE {_ALERT}.status END,
        acknowledged_at = CASE WHEN {_COMES_BACK} THEN NULL ELSE {_ALERT}.acknowledged_at END,
        resolved_at = CASE WHEN {_COMES_BACK} THEN NULL ELSE {_ALERT}.resolved_at END,
        reopened_at = CASE WHEN {_COMES_BACK} THEN excluded.updated_at ELSE {_ALERT}.reopened_at END,
        updated_at = excluded.updated_at
    RETURNING dedup_hash, xmax = 0, id, severity, status, count, first_seen, last_seen, created_at,
        case_id, assignee_id, affected_assets, users, mitre_techniques, reopened_at IS NOT DISTINCT FROM updated_at,
        CASE WHEN xmax <> 0 THEN (SELECT before.severity FROM {_ALERT} before WHERE before.id = {_ALERT}.id) END
"""
_IOC = Ioc._meta.db_table
_UPSERT_IOCS = f"""
    INSERT INTO {_IOC} (id, type, value, source, description, confidence, status, tlp,
                        sightings, first_seen, last_seen, created_at, updated_at)
    SELECT id, type, value, source, '', 0.5, 'active', 'amber', sightings, first_seen, last_seen, updated_at, updated_at
    FROM json_to_recordset(%s::json)
         AS row (id uuid, type text, value text, source text, sightings bigint, first_seen timestamptz,
                 last_seen timestamptz, updated_at timestamptz)
    ON CONFLICT (value, type) DO UPDATE SET
        sightings = {_IOC}.sightings + excluded.sightings,
        first_seen = least({_IOC}.first_seen, excluded.first_seen),
        last_seen = greatest({_IOC}.last_seen, excluded.last_seen),
        updated_at = excluded.updated_at
    RETURNING type, value, id
"""
_INSERT_LINKS = f"""
    INSERT INTO {AlertIoc._meta.db_table} (alert_id, ioc_id)
    SELECT * FROM json_to_recordset(%s::json) AS row (alert_id uuid, ioc_id uuid)
"""
_INSERT_PIVOTS = f"""
    INSERT INTO {AlertPivot._meta.db_table} (alert_id, kind, value)
    SELECT * FROM json_to_recordset(%s::json) AS row (alert_id uuid, kind text, value text)
    ON CONFLICT (kind, value, alert_id) DO NOTHING
"""
_INSERT_SIGHTINGS = f"""
    INSERT INTO {AlertSighting._meta.db_table} (alert_id, seen_at, metadata, raw)
    SELECT * FROM json_to_recordset(%s::json) AS row (alert_id uuid, seen_at timestamptz, metadata jsonb, raw text)
"""
_INSERT_RECEIPTS = f"""
    INSERT INTO {IngestReceipt._meta.db_table} (receipt, source, received, created, merged, ignored, rejected, stored_at)
    SELECT * FROM json_to_recordset(%s::json) AS row (
        receipt uuid, source text, received int, created int, merged int, ignored int, rejected int, stored_at timestamptz
    )
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
    was_reopened: bool
    """Whether this very delivery brought a resolved alert back."""
    severity_before: str | None
    """None for a new alert, and for one that another transaction stored while this one ran."""

    @property
    def was_raised(self) -> bool:
        """Whether this delivery made a known alert graver. Of deliveries at once more than one may say so."""
        return not self.is_created and self.severity != self.severity_before

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


def alerts_and_iocs(rows: Sequence[Alert]) -> tuple[dict[str, Outcome], IocIds]:
    """Inserts alerts and their IOCs, or raises the counts of those that are there.

    Returns how each alert now stands, by dedup hash, and the IOCs' ids by type and value.
    """
    if not rows:
        return {}, {}
    sent = [{name: getattr(row, name) for name, _ in _ALERT_COLUMNS} for row in rows]
    with statements.cursor() as alerts, statements.cursor() as iocs:
        with statements.pipeline():
            alerts.execute(_UPSERT_ALERTS, [_json(sent)])
            iocs.execute(_UPSERT_IOCS, [_json(_iocs_of(rows))])
        # Asked for within the pipeline, the answers would cost a second round trip.
        outcomes = {found[0]: Outcome(*found[1:]) for found in alerts.fetchall()}
        return outcomes, {(kind, value): ioc_id for kind, value, ioc_id in iocs.fetchall()}


def links(rows: Sequence[Alert], ioc_ids: IocIds) -> None:
    """Ties new alerts to their IOCs."""
    _insert(
        _INSERT_LINKS,
        [{"alert_id": row.id, "ioc_id": ioc_ids[ioc["type"], ioc["value"]]} for row in rows for ioc in row.iocs],
    )


def pivots(rows: Sequence[Alert]) -> None:
    """Indexes alerts by asset, user and technique; what is indexed already stays."""
    _insert(
        _INSERT_PIVOTS,
        [{"alert_id": row.id, "kind": kind, "value": value} for row in rows for kind, value in _pivots_of(row)],
    )


def sightings(rows: Sequence[AlertSighting]) -> None:
    """Keeps repetitions."""
    names = ("alert_id", "seen_at", "metadata", "raw")
    _insert(_INSERT_SIGHTINGS, [{name: getattr(row, name) for name in names} for row in rows])


def receipts(rows: Sequence[dict[str, Any]]) -> None:
    """Notes what became of deliveries. One that is noted already is an IntegrityError, and with it nothing of the transaction is kept."""
    _insert(_INSERT_RECEIPTS, rows)


def _iocs_of(rows: Sequence[Alert]) -> list[dict[str, Any]]:
    """The distinct IOCs of the alerts in the order of their keys."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        for ioc in row.iocs:
            key = (ioc["value"], ioc["type"])
            if key not in merged:
                merged[key] = _unseen(ioc, row)
            known = merged[key]
            known["sightings"] += row.count
            known["first_seen"] = min(known["first_seen"], row.first_seen)
            known["last_seen"] = max(known["last_seen"], row.last_seen)
    return [merged[key] for key in sorted(merged)]


def _unseen(ioc: dict[str, str], row: Alert) -> dict[str, Any]:
    """An IOC as its first alert brings it, not counted yet."""
    times = {"first_seen": row.first_seen, "last_seen": row.last_seen, "updated_at": row.updated_at}
    return {"id": new_id(), "type": ioc["type"], "value": ioc["value"], "source": row.source, "sightings": 0, **times}


def _pivots_of(row: Alert) -> set[tuple[str, str]]:
    assets = {("asset", asset.lower()) for asset in row.affected_assets}
    # `j.doe@corp.example` is found as `j.doe` too: mail and sign-in logs name people by address, hosts by account.
    names = {name for user in row.users for name in (user.lower(), user.lower().partition("@")[0]) if name}
    return (
        assets | {("user", name) for name in names} | {("technique", technique) for technique in row.mitre_techniques}
    )


def _insert(sql: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        with statements.cursor() as cursor:
            cursor.execute(sql, [_json(rows)])


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
