"""Intake: from what a sensor sent to stored alerts, each with its event, in one transaction.

Which detections are the same, the unique constraint on `dedup_hash` decides: everything is one `INSERT … ON CONFLICT DO UPDATE` a table, so any
number of senders may deliver the same alert at once. Rows are written in the order of their keys, alerts before IOCs, in every
transaction: two deliveries that overlap wait for each other and never deadlock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from aurora import statements
from aurora.actors import Actor
from aurora.bus import outbox
from aurora.errors import Invalid
from aurora.ids import new_id
from aurora.texts import storable
from cases import events, upserts
from cases.models import Alert, AlertSighting, IngestReceipt, IngestReject
from cases.normalizers import Ignored, NormalizedAlert, RawRecord, normalize, split
from cases.states import SEVERITIES

MOST_RECORDS = 25_000
"""Of one delivery, which is one transaction: a body within the limit can hold millions that are no alerts, each of them a row and a line of the answer."""

_KEPT_OF_A_REJECT = 64 * 1024
_LONGEST_PIVOT = 255


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that was not an alert. `index` is its place in the delivery, from 0."""

    index: int
    detail: str
    raw: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one delivery: `received = created + merged + ignored + len(rejected)`."""

    receipt: UUID
    received: int
    created: int
    merged: int
    ignored: int
    rejected: Sequence[Reject]


@dataclass(slots=True)
class _Sorted:
    """A delivery's records by what they turned out to be."""

    alerts: list[NormalizedAlert] = field(default_factory=list)
    rejected: list[Reject] = field(default_factory=list)
    ignored: int = 0


def ingest(*, source: str, payload: bytes, content_type: str = "", actor: Actor) -> Delivery:
    """Stores every alert in `payload`, and keeps what it refuses. Raises Denied; Invalid for a payload that cannot be read at all."""
    actor.require("alerts:ingest")
    records = split(source, payload, content_type, at_most=MOST_RECORDS)
    return ingest_records(source=source, records=records, actor=actor)


def ingest_records(*, source: str, records: Sequence[RawRecord], actor: Actor) -> Delivery:
    """As `ingest`, for records that were taken apart already. Raises Denied."""
    actor.require("alerts:ingest")
    found = _sort(source, records)
    with transaction.atomic():
        stored = _store(found.alerts)
        created = sum(row.is_created for row in stored)
        delivery = Delivery(
            receipt=new_id(),
            received=len(records),
            created=created,
            merged=len(found.alerts) - created,
            ignored=found.ignored,
            rejected=found.rejected,
        )
        _keep_receipt(source, delivery)
    return delivery


def submit_alert(*, alert: NormalizedAlert, actor: Actor) -> tuple[Alert, bool]:
    """Stores one alert; returns the row and whether it is new. Raises Denied."""
    if not actor.may("alerts:write"):
        actor.require("alerts:ingest")
    with transaction.atomic():
        stored = _store([alert])[0]
    return stored.alert, stored.is_created


def dedup_hash(title: str, source: str, ioc_values: Iterable[str]) -> str:
    """SHA-256 of `title|source|sorted IOC values`, in hex: what makes two detections the same."""
    text = f"{title}|{source}|{'|'.join(sorted(ioc_values))}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _sort(source: str, records: Sequence[RawRecord]) -> _Sorted:
    found = _Sorted()
    for record in records:
        try:
            result = normalize(source, record)
        except Invalid as error:
            found.rejected.append(Reject(record.index, error.detail, record.text))
            continue
        if isinstance(result, Ignored):
            found.ignored += 1
        else:
            found.alerts.append(result)
    return found


@dataclass(frozen=True, slots=True)
class _Stored:
    alert: Alert
    is_created: bool


def _store(alerts: Sequence[NormalizedAlert]) -> list[_Stored]:
    """Writes alerts, repetitions, IOCs, links and events. One result for each distinct alert."""
    groups = _distinct(alerts, timezone.now())
    rows = [_merged(group) for group in groups]
    outcomes, ioc_ids = upserts.alerts_and_iocs(rows)
    for row in rows:
        row.id = outcomes[row.dedup_hash].id
    fresh = [row for row in rows if outcomes[row.dedup_hash].is_created]
    with statements.pipeline():
        upserts.links(fresh, ioc_ids)
        upserts.pivots(rows)
        upserts.sightings(_repetitions(groups, outcomes))
        stored = [
            _Stored(outcomes[row.dedup_hash].applied_to(row), outcomes[row.dedup_hash].is_created) for row in rows
        ]
        outbox.announce_all(_event(item.alert, outcomes[item.alert.dedup_hash]) for item in stored)
    return stored


def _event(alert: Alert, outcome: upserts.Outcome) -> outbox.Event:
    if outcome.is_created:
        return events.alert_created(alert)
    return events.alert_updated(alert, is_raised=outcome.was_raised)


def _distinct(alerts: Sequence[NormalizedAlert], now: datetime) -> list[list[Alert]]:
    """Unsaved rows, those of one dedup hash together, in the order of the hashes."""
    groups: dict[str, list[Alert]] = {}
    for alert in alerts:
        row = _row_of(alert, now)
        groups.setdefault(row.dedup_hash, []).append(row)
    return [groups[key] for key in sorted(groups)]


def _merged(group: list[Alert]) -> Alert:
    """The row that stands for a group: its first, as grave as the gravest, seen as often and as long as all of it, on all their assets."""
    if len(group) == 1:
        return group[0]
    row = copy(group[0])
    row.count = len(group)
    row.severity = min((item.severity for item in group), key=SEVERITIES.index)
    row.first_seen = min(item.first_seen for item in group)
    row.last_seen = max(item.last_seen for item in group)
    for name in ("affected_assets", "users", "mitre_techniques"):
        setattr(row, name, list(dict.fromkeys(value for item in group for value in getattr(item, name))))
    return row


def _repetitions(groups: Sequence[list[Alert]], outcomes: Mapping[str, upserts.Outcome]) -> list[AlertSighting]:
    """Everything that is not the first sighting of its alert."""
    return [
        AlertSighting(alert_id=outcome.id, seen_at=item.first_seen, metadata=item.metadata, raw=item.raw)
        for group in groups
        for outcome in (outcomes[group[0].dedup_hash],)
        for item in group[1 if outcome.is_created else 0 :]
    ]


def _row_of(alert: NormalizedAlert, now: datetime) -> Alert:
    seen = alert.occurred_at or now
    return Alert(
        id=new_id(),
        title=alert.title,
        description=alert.description,
        severity=alert.severity,
        status="new",
        source=alert.source,
        category=alert.category,
        asset_type=alert.asset_type or "",
        affected_assets=[asset[:_LONGEST_PIVOT] for asset in alert.affected_assets],
        users=[user[:_LONGEST_PIVOT] for user in alert.users],
        iocs=[{"type": item.type, "value": item.value} for item in alert.observables],
        mitre_techniques=alert.mitre_techniques,
        metadata=alert.metadata,
        raw=alert.raw,
        dedup_hash=dedup_hash(alert.title, alert.source, (item.value for item in alert.observables)),
        count=1,
        first_seen=seen,
        last_seen=seen,
        created_at=now,
        updated_at=now,
    )


def _keep_receipt(source: str, delivery: Delivery) -> None:
    IngestReceipt.objects.create(
        receipt=delivery.receipt,
        source=source,
        received=delivery.received,
        created=delivery.created,
        merged=delivery.merged,
        ignored=delivery.ignored,
        rejected=len(delivery.rejected),
    )
    IngestReject.objects.bulk_create(
        IngestReject(
            receipt=delivery.receipt,
            source=source,
            index=reject.index,
            detail=reject.detail,
            raw=storable(reject.raw, _KEPT_OF_A_REJECT),
        )
        for reject in delivery.rejected
    )
