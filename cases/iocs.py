"""IOCs as rows: added by hand, corrected, ended. Finding them in text is `cases.observables`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor
from aurora.errors import Conflict, Missing
from cases.models import Ioc
from cases.observables import canonical


def add_ioc(*, ioc_type: str, value: str, actor: Actor, details: Mapping[str, Any] | None = None) -> Ioc:
    """A new IOC in canonical form; `details` may set source, description, confidence, tlp, expires_at.

    Raises Denied; Invalid for a value that is not of its type; Conflict when the same type and value is there.
    """
    actor.require("iocs:write")
    observable = canonical(ioc_type, value)
    fields = {"source": actor.name[:64], **(details or {})}
    try:
        with transaction.atomic():
            ioc = Ioc.objects.create(type=observable.type, value=observable.value, **fields)
            audit.record(actor, "ioc.added", ioc, after={"type": ioc.type, "value": ioc.value})
    except IntegrityError:
        known = Ioc.objects.filter(type=observable.type, value=observable.value).first()
        if known is None:
            raise
        raise Conflict(f"The IOC {observable.type} {observable.value} exists: {known.pk}") from None
    return ioc


def edit_ioc(*, ioc_id: UUID, changes: Mapping[str, Any], actor: Actor) -> Ioc:
    """Sets source, description, confidence, status, tlp or expires_at. Raises Denied, Missing."""
    actor.require("iocs:write")
    with transaction.atomic():
        ioc = _locked(ioc_id)
        before = {name: str(getattr(ioc, name)) for name in changes}
        for name, value in changes.items():
            setattr(ioc, name, value)
        ioc.updated_at = timezone.now()
        ioc.save()
        audit.record(
            actor, "ioc.edited", ioc, before=before, after={name: str(value) for name, value in changes.items()}
        )
    return ioc


def delete_ioc(*, ioc_id: UUID, actor: Actor) -> None:
    """Forgets an IOC and its links. Raises Denied, Missing."""
    actor.require("iocs:write")
    with transaction.atomic():
        ioc = _locked(ioc_id)
        audit.record(actor, "ioc.deleted", ioc, before=_told(ioc))
        ioc.delete()


def _told(ioc: Ioc) -> dict[str, str]:
    """All that is forgotten with it."""
    names = ("type", "value", "source", "description", "confidence", "status", "tlp", "expires_at")
    return {name: str(getattr(ioc, name)) for name in names}


def _locked(ioc_id: UUID) -> Ioc:
    ioc = Ioc.objects.select_for_update().filter(pk=ioc_id).first()
    if ioc is None:
        raise Missing
    return ioc
