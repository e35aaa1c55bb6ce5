"""Intake: from what a sensor sent to stored alerts, each with its event, in one transaction.

Which detections are the same, the unique constraint on `dedup_hash` decides: everything is one `INSERT … ON CONFLICT DO UPDATE` a table, so any
number of senders may deliver the same alert at once. Rows are written in the order of their keys, alerts before IOCs, in every
transaction: two deliveries that overlap wait for each other and never deadlock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Model
from django.utils import timezone

from aurora import audit, statements
from aurora.actors import Actor, system
from aurora.bus import outbox
from aurora.errors import Invalid
from aurora.ids import new_id
from aurora.texts import storable
from cases import events, lifecycle, upserts
from cases.models import Alert, AlertSighting, Case, IngestReceipt, IngestReject
from cases.normalizers import Ignored, NormalizedAlert, RawRecord, normalize, split
from cases.states import SEVERITIES, TimelineKind

MOST_RECORDS = 25_000
"""Of one delivery, which is one transaction: a body within the limit can hold millions that are no alerts, each of them a row and a line of the answer."""

_KEPT_OF_A_REJECT = 64 * 1024
_LONGEST_PIVOT = 255
_ACTOR = system("intake")


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
    source: str
    received: int
    created: int
    merged: int
    ignored: int
    rejected: Sequence[Reject]


@dataclass(slots=True)
class Parcel:
    """One delivery taken apart: what is to be stored under `receipt`."""

    receipt: UUID
    source: str
    received: int
    alerts: list[NormalizedAlert] = field(default_factory=list)
    rejected: list[Reject] = field(default_factory=list)
    ignored: int = 0


def ingest(
    *, source: str, payload: bytes, content_type: str = "", actor: Actor, receipt: UUID | None = None
) -> Delivery:
    """Stores every alert in `payload`, and keeps what it refuses. Raises Denied; Invalid for a payload that cannot be read at all."""
    actor.require("alerts:ingest")
    records = records_of(source=source, payload=payload, content_type=content_type)
    return ingest_records(source=source, records=records, actor=actor, receipt=receipt)


def ingest_records(*, source: str, records: Sequence[RawRecord], actor: Actor, receipt: UUID | None = None) -> Delivery:
    """As `ingest`, for records that were taken apart already. Raises Denied."""
    actor.require("alerts:ingest")
    parcel = sort(source=source, records=records, receipt=receipt or new_id())

    def note(deliveries: Sequence[Delivery], _: Sequence[Stored]) -> None:
        for delivery in deliveries:
            figures = {"source": source, "received": delivery.received, "created": delivery.created}
            _note_by_hand(actor, "alert.delivered", IngestReceipt(receipt=delivery.receipt), figures)

    with transaction.atomic():
        (delivery,), _ = store([parcel], note=note)
    return delivery


def submit_alert(*, alert: NormalizedAlert, actor: Actor, receipt: UUID | None = None) -> tuple[Alert, bool]:
    """Stores one alert; returns the row and whether it is new. Raises Denied."""
    require_submitter(actor)

    def note(_: Sequence[Delivery], stored: Sequence[Stored]) -> None:
        for row, is_created in stored:
            after = {"title": row.title, "severity": row.severity, "is_new": is_created}
            _note_by_hand(actor, "alert.reported", row, after)

    with transaction.atomic():
        _, ((row, is_created),) = store([parcel_of(alert, receipt or new_id())], note=note)
    return row, is_created


def _note_by_hand(actor: Actor, action: str, target: Model, after: dict[str, Any]) -> None:
    """What a person does is a change like others. What programs deliver is not: alerts and receipts are its record, and there are thousands a second."""
    if actor.user_id is not None:
        audit.record(actor, action, target, after=after)


def require_submitter(actor: Actor) -> None:
    """Analysts may report an alert, programs may deliver one. Raises Denied."""
    if not actor.may("alerts:write"):
        actor.require("alerts:ingest")


def records_of(*, source: str, payload: bytes, content_type: str = "") -> list[RawRecord]:
    """The records of a delivery. Raises Invalid for one that cannot be read at all, or has too many."""
    return split(source, payload, content_type, at_most=MOST_RECORDS)


def parcel_of(alert: NormalizedAlert, receipt: UUID) -> Parcel:
    """The delivery that is a single alert."""
    return Parcel(receipt, alert.source, received=1, alerts=[alert])


def sort(*, source: str, records: Sequence[RawRecord], receipt: UUID) -> Parcel:
    """A delivery's records by what they turn out to be."""
    found = Parcel(receipt, source, received=len(records))
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


def store(
    parcels: Sequence[Parcel], *, note: Callable[[Sequence[Delivery], Sequence[Stored]], None] | None = None
) -> tuple[list[Delivery], list[Stored]]:
    """Writes deliveries with their receipts, in the caller's transaction: what became of each, and each distinct alert of them all.

    `note` is told of both and may write about them; its statements travel with the rows.
    """
    with _writing([alert for parcel in parcels for alert in parcel.alerts]) as stored:
        # Inside the block: the receipts travel with the rows.
        deliveries = _deliveries(parcels, {row.dedup_hash for row, is_created in stored if is_created})
        upserts.receipts([_receipt_row(delivery) for delivery in deliveries])
        if note is not None:
            note(deliveries, stored)
    _keep_rejects(deliveries)
    return deliveries, stored


def dedup_hash(title: str, source: str, ioc_values: Iterable[str]) -> str:
    """SHA-256 of `title|source|sorted IOC values`, in hex: what makes two detections the same."""
    text = f"{title}|{source}|{'|'.join(sorted(ioc_values))}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


class Stored(NamedTuple):
    """An alert as it now stands."""

    alert: Alert
    is_created: bool


@contextmanager
def _writing(alerts: Sequence[NormalizedAlert]) -> Iterator[list[Stored]]:
    """Writes alerts, repetitions, IOCs, links and events, one result for each distinct alert; statements of the block travel with the last of them."""
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
        stored = [Stored(outcomes[row.dedup_hash].applied_to(row), outcomes[row.dedup_hash].is_created) for row in rows]
        outbox.announce_all(_event(item.alert, outcomes[item.alert.dedup_hash]) for item in stored)
        yield stored
    _note_reopened([item.alert for item in stored if outcomes[item.alert.dedup_hash].was_reopened])


def _note_reopened(alerts: Sequence[Alert]) -> None:
    """That what somebody had resolved is open again, where it is looked for: in the audit trail, and in the timeline of the alert's case."""
    cases = Case.objects.select_related("assignee").in_bulk({alert.case_id for alert in alerts if alert.case_id})
    for alert in alerts:
        audit.record(_ACTOR, "alert.reopened", alert, before={"status": "resolved"}, after={"status": alert.status})
        if case := cases.get(alert.case_id):
            text = f"Seen again after it was resolved: {alert.title}"
            kind, data = TimelineKind.ALERT_REOPENED, {"alert_id": str(alert.id)}
            lifecycle.note(case=case, kind=kind, actor=_ACTOR.name, text=text, data=data)
            outbox.announce(events.case_updated(case))


def _deliveries(parcels: Sequence[Parcel], created: set[str]) -> list[Delivery]:
    """Of an alert that several of them brought, the first has made it; `created` are the hashes of new ones."""
    unseen = set(created)
    deliveries = []
    for parcel in parcels:
        news = {_hash_of(alert) for alert in parcel.alerts} & unseen
        unseen -= news
        merged = len(parcel.alerts) - len(news)
        deliveries.append(
            Delivery(
                receipt=parcel.receipt,
                source=parcel.source,
                received=parcel.received,
                created=len(news),
                merged=merged,
                ignored=parcel.ignored,
                rejected=parcel.rejected,
            )
        )
    return deliveries


def _event(alert: Alert, outcome: upserts.Outcome) -> outbox.Event:
    if outcome.is_created:
        return events.alert_created(alert)
    return events.alert_updated(alert, is_raised=outcome.was_raised, is_reopened=outcome.was_reopened)


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
        dedup_hash=_hash_of(alert),
        count=1,
        first_seen=seen,
        last_seen=seen,
        created_at=now,
        updated_at=now,
    )


def _hash_of(alert: NormalizedAlert) -> str:
    return dedup_hash(alert.title, alert.source, (item.value for item in alert.observables))


def _receipt_row(delivery: Delivery) -> dict[str, Any]:
    names = ("receipt", "source", "received", "created", "merged", "ignored")
    return {name: getattr(delivery, name) for name in names} | {
        "rejected": len(delivery.rejected),
        "stored_at": timezone.now(),
    }


def _keep_rejects(deliveries: Sequence[Delivery]) -> None:
    rows = [
        IngestReject(
            receipt=delivery.receipt,
            source=delivery.source,
            index=reject.index,
            detail=reject.detail,
            raw=storable(reject.raw, _KEPT_OF_A_REJECT),
        )
        for delivery in deliveries
        for reject in delivery.rejected
    ]
    if rows:
        IngestReject.objects.bulk_create(rows)
