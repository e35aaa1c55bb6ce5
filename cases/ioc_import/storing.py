"""Stores an imported list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor
from aurora.ids import new_id
from cases.ioc_import.entries import Entry
from cases.models import Ioc
from cases.observables import Observable
from cases.states import IocStatus

_BATCH = 1_000
_CHANGED = ("confidence", "expires_at", "status", "description", "updated_at")
_DEFAULTS: Mapping[str, Any] = {"confidence": 0.5, "tlp": "amber", "expires_at": None}


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a list: `received = created + merged + ignored + rejected`, in indicators and, for the last two, elements."""

    receipt: UUID
    received: int
    created: int
    merged: int
    ignored: int
    rejected: list[Entry]


def import_iocs(
    *,
    entries: Sequence[Entry],
    source: str,
    actor: Actor,
    defaults: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> Imported:
    """Adds what is new under `source`, and lets what is known gain by it, in one transaction. Raises Denied.

    `defaults` (confidence, tlp, expires_at) hold for entries that do not say. Of a known IOC the higher confidence and the later end stay, an
    expired one that is told again lives again, a false positive stays one.
    """
    actor.require("iocs:write")
    now = now or timezone.now()
    told: dict[Observable, Entry] = {}
    for entry in entries:
        if entry.observable:
            told.setdefault(entry.observable, entry)
    wanted = {**_DEFAULTS, **{name: value for name, value in (defaults or {}).items() if value is not None}}
    with transaction.atomic():
        created = _store(sorted(told.items()), source, wanted, now)
        result = _counted(entries, created)
        counts = {"created": result.created, "merged": result.merged, "rejected": len(result.rejected)}
        # An import has no row of its own: its receipt stands in the trail as the target.
        audit.record(actor, "ioc.imported", Ioc(id=result.receipt), after={"source": source, **counts})
    return result


def _store(told: Sequence[tuple[Observable, Entry]], source: str, defaults: Mapping[str, Any], now: datetime) -> int:
    """How many were new."""
    created = 0
    for start in range(0, len(told), _BATCH):
        batch = dict(told[start : start + _BATCH])
        known = _locked(batch)
        new = [_row(entry, source, defaults, now) for observable, entry in batch.items() if observable not in known]
        created += len(new)
        # Intake may add the same ones meanwhile: theirs stay as they are.
        Ioc.objects.bulk_create(new, ignore_conflicts=True)
        for observable, row in known.items():
            _gain(row, batch[observable], defaults, now)
        Ioc.objects.bulk_update(known.values(), _CHANGED)
    return created


def _locked(batch: Mapping[Observable, Entry]) -> dict[Observable, Ioc]:
    """Rows of the batch that are there, locked in the order in which intake locks them."""
    values = {observable.value for observable in batch}
    rows = Ioc.objects.filter(value__in=values).order_by("type", "value").select_for_update()
    found = {Observable(row.type, row.value): row for row in rows}
    return {observable: row for observable, row in found.items() if observable in batch}


def _row(entry: Entry, source: str, defaults: Mapping[str, Any], now: datetime) -> Ioc:
    assert entry.observable is not None  # noqa: S101 - only such entries are stored
    return Ioc(
        type=entry.observable.type,
        value=entry.observable.value,
        source=source,
        description=entry.description,
        confidence=defaults["confidence"] if entry.confidence is None else entry.confidence,
        tlp=entry.tlp or defaults["tlp"],
        expires_at=entry.expires_at or defaults["expires_at"],
        first_seen=now,
        last_seen=now,
    )


def _gain(row: Ioc, entry: Entry, defaults: Mapping[str, Any], now: datetime) -> None:
    row.confidence = max(row.confidence, defaults["confidence"] if entry.confidence is None else entry.confidence)
    end = entry.expires_at or defaults["expires_at"]
    row.expires_at = max(row.expires_at, end) if row.expires_at and end else None
    lives = row.expires_at is None or row.expires_at > now
    if row.status == IocStatus.EXPIRED and lives:
        row.status = IocStatus.ACTIVE
    row.description = row.description or entry.description
    row.updated_at = now


def _counted(entries: Sequence[Entry], created: int) -> Imported:
    ignored = sum(entry.is_ignored for entry in entries)
    failed = [entry for entry in entries if entry.error]
    merged = len(entries) - ignored - len(failed) - created
    return Imported(new_id(), len(entries), created, merged, ignored, failed)
