"""Intake while PostgreSQL is away: what is accepted then goes to this machine's spool, and from there through the ordinary intake.

A delivery has its receipt before anything is tried, and the receipt's row is written with the delivery's alerts. So the request that meets the
failure in its own transaction may be spooled although nobody knows whether that transaction was committed: if it was, the receipt is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from aurora import dry_run
from aurora.actors import Actor
from aurora.errors import Missing, Unavailable
from aurora.ids import new_id
from aurora.resilience import spool
from aurora.resilience.availability import is_outage
from aurora.resilience.spool import Accepted, Claim, Entry, Waiting
from aurora.rest import idempotency
from aurora.rest.bodies import validated
from cases import intake
from cases.intake import Parcel, Reject
from cases.models import IngestReceipt
from cases.normalizers import NormalizedAlert, RawRecord
from cases.schemas import AlertIn
from cases.submission import alert_of

STATUS = 202
"""With which a spooled delivery is answered."""
ALERT, RECORDS = "alert", "records"
"""The routes by which deliveries come: `POST /alerts`, and `POST /ingest/{source}`."""

_COUNTS = ("received", "created", "merged", "ignored", "rejected")
T = TypeVar("T")
log = structlog.get_logger(__name__)


def entry_of_alert(*, alert: NormalizedAlert, payload: bytes, actor: Actor, claim: Claim | None) -> Entry:
    """One alert as a delivery. Raises Denied."""
    intake.require_submitter(actor)
    return Entry(new_id(), ALERT, alert.source, "application/json", payload, 1, actor, timezone.now(), claim)


def entry_of_records(
    *, source: str, payload: bytes, content_type: str, actor: Actor, claim: Claim | None = None
) -> tuple[Entry, list[RawRecord]]:
    """A sensor's delivery and its records. Raises Denied; Invalid for one that cannot be read at all."""
    actor.require("alerts:ingest")
    records = intake.records_of(source=source, payload=payload, content_type=content_type)
    return Entry(new_id(), RECORDS, source, content_type, payload, len(records), actor, timezone.now(), claim), records


def stored_or_spooled(entry: Entry, store: Callable[[], T]) -> T | Accepted:
    """What `store` returns; while PostgreSQL is away, what the spool says. Raises Unavailable when that cannot take it either; Conflict."""
    try:
        return store()
    except DatabaseError as error:
        if not is_outage(error) or dry_run.is_preview():
            raise
        log.debug("delivery_spooled", receipt=str(entry.receipt), source=entry.source, reason=str(error).strip()[:200])
    return spool.shared().put(entry)


def answer_of(accepted: Accepted) -> dict[str, Any]:
    """The contract's answer to a spooled delivery."""
    return {"receipt": accepted.receipt, "received": accepted.received, "spooled": accepted.received}


def receipt_data(receipt: UUID) -> dict[str, Any]:
    """What became of a delivery. Raises Missing; Unavailable or Django's own error when it cannot be known now."""
    # The spool first: an entry leaves it after its row was committed, so what is on its way between the two is seen in one of them.
    entry, failure = _spooled(receipt)
    try:
        row = IngestReceipt.objects.using("default").filter(pk=receipt).first()
    except DatabaseError as error:
        if entry is None or not is_outage(error):
            raise
        row = None
    if row is not None:
        counts = {name: getattr(row, name) for name in _COUNTS}
        return {"receipt": row.receipt, "status": "stored", "source": row.source, **counts}
    if entry is None:
        raise failure or Missing
    counts = dict.fromkeys(_COUNTS, 0) | {"received": entry.received}
    return {"receipt": entry.receipt, "status": "spooled", "source": entry.source, **counts}


def store(waiting: Sequence[Waiting]) -> int:
    """Stores spooled deliveries in one transaction, each once whatever happened before; how many were not there yet."""
    entries = [item.entry for item in waiting]
    parcels = {entry.receipt: _parcel_of(entry) for entry in entries}
    claims = {entry.claim: answer_of(Accepted(entry.receipt, entry.received)) for entry in entries if entry.claim}
    with transaction.atomic():
        # Keys before receipts, as requests take them.
        taken = idempotency.claim_all(claims, STATUS)
        known = set(IngestReceipt.objects.filter(pk__in=list(parcels)).values_list("pk", flat=True))
        fresh = [entry for entry in entries if entry.receipt not in known]
        intake.store([_unless_taken(entry, parcels[entry.receipt], taken) for entry in fresh])
    return len(fresh)


def _spooled(receipt: UUID) -> tuple[Entry | None, Unavailable | None]:
    """The spool's entry; or why it cannot be asked, which is of no concern to what PostgreSQL has."""
    try:
        return spool.shared().find(receipt), None
    except Unavailable as error:
        return None, error


def _parcel_of(entry: Entry) -> Parcel:
    """Taken apart as it would have been on arrival. Raises Invalid."""
    if entry.route == ALERT:
        parcel = intake.parcel_of(alert_of(validated(AlertIn, entry.payload)), entry.receipt)
    else:
        records = intake.records_of(source=entry.source, payload=entry.payload, content_type=entry.content_type)
        parcel = intake.sort(source=entry.source, records=records, receipt=entry.receipt)
    for alert in parcel.alerts:
        alert.occurred_at = alert.occurred_at or entry.accepted_at
    return parcel


def _unless_taken(entry: Entry, parcel: Parcel, taken: dict[Claim, str]) -> Parcel:
    """The parcel; or, under an Idempotency-Key that was used before, nothing to store: the same request again, or another one, which is refused."""
    if entry.claim is None or entry.claim not in taken:
        return parcel
    if taken[entry.claim] == entry.claim.request_hash:
        return Parcel(entry.receipt, entry.source, entry.received, ignored=entry.received)
    text = entry.payload.decode("utf-8", "replace")
    refused = [Reject(0, idempotency.OTHER_REQUEST, text)]
    return Parcel(entry.receipt, entry.source, entry.received, rejected=refused, ignored=entry.received - 1)
