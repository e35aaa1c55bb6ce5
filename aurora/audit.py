"""The audit trail: who changed what. One row, in the change's own transaction."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import connection, models

from aurora.actors import Actor
from aurora.models import AuditEntry


def record(
    actor: Actor,
    action: str,
    target: models.Model,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Notes that `actor` did `action` (`noun.verb`) to `target`. Must be called in the change's transaction: RuntimeError otherwise."""
    if not connection.in_atomic_block:
        raise RuntimeError("an audit entry must be written in the transaction of its change")
    AuditEntry.objects.create(
        actor=actor.name,
        address=actor.address,
        action=action,
        target_type=target._meta.model_name or "",
        target_id=str(target.pk),
        before=before or {},
        after=after or {},
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
    )
