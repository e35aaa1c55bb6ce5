"""The log of webhooks' messages, and sending one again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents.playbooks import connectors
from agents.playbooks.actions import webhook
from agents.playbooks.models import Delivery
from aurora import audit, dry_run
from aurora.actors import Actor
from aurora.bus import housekeeping
from aurora.errors import Conflict, Missing, Unavailable

KEPT = timedelta(days=90)


def replay(*, delivery_id: UUID, actor: Actor) -> Delivery:
    """Sends a message again, under its own event id and freshly signed; its new line of the log. Raises Denied, Missing, Conflict, Unavailable."""
    actor.require("agents:manage")
    row = Delivery.objects.select_related("connector").filter(pk=delivery_id).first()
    if row is None:
        raise Missing
    if row.connector.kind != "webhook" or not row.connector.enabled:
        raise Conflict(f"The connector {row.connector.name} is disabled")
    if dry_run.is_on():
        raise Conflict("A dry run sends nothing")
    with transaction.atomic():
        audit.record(actor, "delivery.replayed", row, after={"event_id": row.event_id})
    try:
        webhook.deliver(connectors.wired(row.connector), row.event_id, row.body, timeout=10, is_replay=True)
    except OSError as error:
        raise Unavailable(f"The receiver did not take it: {str(error)[:300]}") from None
    return Delivery.objects.filter(connector=row.connector, event_id=row.event_id).latest("id")


def forget(*, now: datetime | None = None) -> int:
    """Forgets what was sent longer ago; how many. For the scheduler."""
    return housekeeping.delete_by_batches(Delivery.objects.filter(sent_at__lt=(now or timezone.now()) - KEPT))


def data(row: Delivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "connector_id": row.connector_id,
        "event_id": row.event_id,
        "body": row.body,
        "status": row.status,
        "error": row.error or None,
        "is_replay": row.is_replay,
        "sent_at": row.sent_at,
    }
