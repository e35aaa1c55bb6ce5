"""The block list by hand: what is on it, and lifting a block before it expires, without the run that put it there being undone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents.playbooks import runs
from agents.playbooks.actions.blocklist import in_force, unprotected
from agents.playbooks.models import BlocklistEntry, ExecutionStep
from aurora import audit
from aurora.actors import Actor
from aurora.errors import Conflict, Invalid, Missing
from aurora.ids import uuid_or_none
from cases import queries

PERMISSION = "playbooks:execute"
LONGEST_REASON = 2_000


def lift(*, entry_id: UUID, reason: str, actor: Actor) -> BlocklistEntry:
    """Takes what the entry names off the list, whichever runs have put it there. Raises Denied, Missing, Invalid without a reason, Conflict.

    A step that is told again under its own key finds its entry lifted and leaves it so; another run may block the same again.
    """
    actor.require(PERMISSION)
    if not reason.strip():
        raise Invalid("Lifting a block needs a reason")
    with transaction.atomic():
        entry = BlocklistEntry.objects.filter(pk=entry_id).first()
        if entry is None:
            raise Missing
        same = in_force().filter(type=entry.type, value=entry.value).select_for_update().order_by("id")
        lifted = list(same)
        if entry.pk not in {one.pk for one in lifted}:
            raise Conflict("It is not blocked any more: the entry was lifted, or has expired")
        BlocklistEntry.objects.filter(pk__in=[one.pk for one in lifted]).update(
            lifted_at=timezone.now(), lifted_by=actor.name, lifted_because=reason[:LONGEST_REASON]
        )
        for one in lifted:
            audit.record(actor, "block.lifted", one, before=_named(one), after={"reason": reason})
        _note(lifted, f"Block of {entry.value} lifted by {actor.name}: {reason}")
        entry.refresh_from_db()
    return entry


def published(kind: str) -> set[str]:
    """What firewalls are told to block: indicators that somebody vouches for, and what playbooks have put there, but for what is protected."""
    return set(unprotected([*queries.blocklist(kind), *in_force().filter(type=kind).values_list("value", flat=True)]))


def is_still_listed(entry: BlocklistEntry) -> bool:
    """Whether firewalls are told to block it all the same: somebody vouches for it as an indicator."""
    return entry.value in published(entry.type)


def data(row: BlocklistEntry) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": row.type,
        "value": row.value,
        "reason": row.reason,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "lifted_at": row.lifted_at,
        "lifted_by": row.lifted_by or None,
        "lifted_because": row.lifted_because or None,
    }


def _named(entry: BlocklistEntry) -> dict[str, str]:
    return {"type": entry.type, "value": entry.value}


def _note(entries: Iterable[BlocklistEntry], text: str) -> None:
    """In the timeline of each case whose runs had blocked it."""
    keys = [key for entry in entries if (key := uuid_or_none(entry.key)) is not None]
    steps = ExecutionStep.objects.filter(pk__in=keys, execution__case__isnull=False)
    by_case = {step.execution.case_id: step for step in steps.select_related("execution__case").order_by("-id")}
    for step in by_case.values():
        runs.note(step.execution, text, step=step)
