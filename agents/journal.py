"""An investigation's log: numbered lines, appended one by one, each announced as a thought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from agents import events
from agents.models import Investigation, InvestigationEvent
from aurora.bus import outbox


def append(
    *, investigation_id: UUID, kind: str, text: str, agent_type: str = "", data: Mapping[str, Any] | None = None
) -> InvestigationEvent:
    """Appends a line. Raising the count locks the investigation's row, so the numbers have no gap and no double however many agents write at once."""
    with transaction.atomic():
        Investigation.objects.filter(pk=investigation_id).update(event_count=F("event_count") + 1)
        investigation = Investigation.objects.only("event_count", "alert_id", "case_id").get(pk=investigation_id)
        line = InvestigationEvent.objects.create(
            investigation_id=investigation_id,
            number=investigation.event_count,
            kind=kind,
            agent_type=agent_type,
            text=text,
            data=orjson.loads(orjson.dumps(dict(data or {}), default=str)),
            created_at=timezone.now(),
        )
        outbox.announce(events.agent_thought(line, investigation))
    return line
