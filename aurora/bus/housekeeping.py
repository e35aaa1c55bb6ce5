"""What the scheduler clears away: finished stream entries and rows that have served their purpose."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from aurora.bus import keeping, schedule, trimming
from aurora.models import IdempotencyKey, ProcessedEvent, PublishedEvent, RefreshToken

PROCESSED_EVENTS_KEPT = timedelta(days=7)
"""Longer than an event can take to be delivered a second time; dead letters are put back for one group only, so they need no memory."""
IDEMPOTENCY_KEYS_KEPT = timedelta(hours=24)
BATCH = 5_000
"""Rows a statement: a delete of millions would hold its locks for minutes."""


def register() -> None:
    """Tells the scheduler."""
    schedule.register("let-go-of-finished-events", every=10, function=keeping.let_go)
    schedule.register("trim-streams", every=60, function=trim_streams)
    schedule.register("forget-processed-events", every=3_600, function=forget_processed_events)
    schedule.register("forget-refresh-tokens", every=3_600, function=forget_refresh_tokens)
    schedule.register("forget-idempotency-keys", every=3_600, function=forget_idempotency_keys)


def trim_streams() -> dict[str, int]:
    """What is finished is let go of first: what is trimmed and still kept would be taken for lost after a restart of Redis."""
    keeping.let_go()
    return trimming.trim_all()


def forget_processed_events(*, now: datetime | None = None) -> int:
    """Not of events that are kept because another group has not finished them: what Redis forgets of those, all groups are given again."""
    before = (now or timezone.now()) - PROCESSED_EVENTS_KEPT
    is_kept = Exists(PublishedEvent.objects.filter(event_id=OuterRef("event_id")))
    return delete_by_batches(ProcessedEvent.objects.filter(~is_kept, processed_at__lt=before))


def forget_refresh_tokens(*, now: datetime | None = None) -> int:
    """Those that have expired, used or not."""
    return delete_by_batches(RefreshToken.objects.filter(expires_at__lt=now or timezone.now()))


def forget_idempotency_keys(*, now: datetime | None = None) -> int:
    before = (now or timezone.now()) - IDEMPOTENCY_KEYS_KEPT
    return delete_by_batches(IdempotencyKey.objects.filter(created_at__lt=before))


def delete_by_batches(rows: QuerySet[Any]) -> int:
    """Deletes them batch by batch; how many."""
    total = 0
    while True:
        batch = rows.model._default_manager.filter(pk__in=rows.order_by().values("pk")[:BATCH])
        deleted: int = batch.delete()[0]
        total += deleted
        if deleted < BATCH:
            return total
