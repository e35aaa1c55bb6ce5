"""The audit trail: who changed what. One row, in the change's own transaction."""

from __future__ import annotations

from typing import Any

import orjson
import structlog
from django.db import connection, models
from django.utils import timezone

from aurora import statements
from aurora.actors import Actor
from aurora.ids import new_id
from aurora.models import AuditEntry

# Written with every alert that a person reports: composing it through the ORM takes longer than PostgreSQL with all of it.
_INSERT = f"""
    INSERT INTO {AuditEntry._meta.db_table} (id, at, actor, address, action, target_type, target_id, before, after, request_id)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s::text::jsonb, %s::text::jsonb, %s)
"""


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
    values = (
        new_id(),
        timezone.now(),
        actor.name,
        actor.address,
        action,
        target._meta.model_name or "",
        str(target.pk),
        orjson.dumps(before or {}).decode(),
        orjson.dumps(after or {}).decode(),
        str(structlog.contextvars.get_contextvars().get("request_id", "")),
    )
    with statements.cursor() as cursor:
        cursor.execute(_INSERT, values)
