"""The product's own IOC store: `enrich_ioc` looks indicators up in it and keeps the verdict with them."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from agents.builtin.reputation import reputations
from agents.playbooks.actions.contract import ConnectorSettings, Order, Wired
from aurora.errors import Invalid
from cases.models import Ioc
from cases.observables import classify

SERVES = frozenset({"enrich_ioc"})
SECRETS: frozenset[str] = frozenset()
_MOST = 256


class Settings(ConnectorSettings):
    """Nothing to set."""


def act(order: Order, wired: Wired) -> dict[str, Any]:
    """Stores indicators that are not stored yet and tells what each is held to be. Saying it again changes nothing."""
    if order.undo:
        raise Invalid("A look-up leaves nothing to take back")
    found = [one for text in order.texts("indicators", "targets")[:_MOST] if (one := classify(text))]
    with transaction.atomic():
        rows = [
            Ioc.objects.get_or_create(type=one.type, value=one.value, defaults={"source": "playbook"})[0]
            for one in found
        ]
        verdicts = {
            one.ioc.value: one.verdict
            for one in reputations(iocs=rows, but_alerts=[], but_case=None, now=timezone.now())
        }
        Ioc.objects.filter(pk__in=[row.pk for row in rows]).update(updated_at=timezone.now())
    return {"indicators": [{"type": row.type, "value": row.value, "verdict": verdicts.get(row.value)} for row in rows]}


def check(wired: Wired) -> str:
    return f"{Ioc.objects.count()} indicators are stored"
