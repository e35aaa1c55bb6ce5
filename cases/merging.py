"""Two cases that turn out to be one: everything of the one moves into the other; it closes, and says where it goes on.

Others who work on what moves hold a part of it and then want its case (a run's step that ends, an alert that is linked). So the parts are locked
first, in one order for everybody (what `follow` names, then alerts as intake locks them), and the two cases last, by their ids: of two merges of
one pair one wins, and nobody waits in a ring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import F, Func, JSONField, Value
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor
from aurora.bus import outbox
from aurora.bus.outbox import Event
from aurora.errors import Conflict, Invalid, Missing
from cases import events, lifecycle
from cases.models import Alert, Case, CaseTask, CustodyEntry, Evidence, TimelineEntry
from cases.states import SEVERITIES, CaseStatus, CustodyAction, TimelineKind

_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that belong to a case by their `case`, others lock on their own, and whose event tells of the move."""

    model: type[models.Model]
    noun: str
    event: Callable[[Any], Event]
    related: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    """Wide fields that the event does not tell."""
    order: str = "pk"


class _Strayed(Exception):
    """A part joined the case after the others had been locked."""


_alerts = Part(
    Alert, "alert", events.alert_updated, ("assignee",), ("raw", "metadata", "description"), order="dedup_hash"
)
_parts: list[Part] = [_alerts]


def follow(part: Part) -> None:
    """For an app above, whose rows go where their case goes. Locked before those that were named earlier."""
    _parts.insert(0, part)


def merge_case(*, case_id: UUID, into: UUID, actor: Actor) -> Case:
    """Moves all of a case into another open one, and closes it for good. What went there already stays as it is. Returns the other one.

    Raises Denied, Missing; Invalid for a case and itself; Conflict when one of them is closed or has gone into a third, or an approval is pending.
    """
    actor.require("cases:write")
    if case_id == into:
        raise Invalid("A case cannot be merged into itself")
    for _ in range(_ATTEMPTS):
        try:
            with transaction.atomic():
                held = {part.noun: _hold(part, case_id) for part in _parts}
                source, target = _both(case_id, into)
                if source.merged_into_id == target.id:
                    return target
                lifecycle.require_open(source)
                lifecycle.require_open(target)
                lifecycle.require_closable(source)
                if any(held[part.noun] != _keys(part, case_id) for part in _parts):
                    raise _Strayed
                _merge(source, target, actor)
                return target
        except _Strayed:
            continue
    raise Conflict("The case changes too fast; try again")


def _hold(part: Part, case_id: UUID) -> set[Any]:
    rows = part.model._base_manager.filter(case=case_id).order_by(part.order)
    return set(rows.select_for_update().values_list("pk", flat=True))


def _keys(part: Part, case_id: UUID) -> set[Any]:
    return set(part.model._base_manager.filter(case=case_id).values_list("pk", flat=True))


def _both(case_id: UUID, into: UUID) -> tuple[Case, Case]:
    rows = Case.objects.filter(pk__in=[case_id, into]).order_by("pk").select_for_update(of=("self",))
    found = {case.id: case for case in rows}
    if len(found) < 2:
        raise Missing
    return found[case_id], found[into]


def _merge(source: Case, target: Case, actor: Actor) -> None:
    moved = {part.noun: _move(part, source, target) for part in _parts}
    moved["task"] = CaseTask.objects.filter(case=source).update(case=target)
    moved["file"], doubles = _move_evidence(source, target, actor)
    _move_timeline(source, target)
    told = _told(moved, doubles)
    before = {"status": source.status}
    source.status, source.closed_at, source.merged_into = CaseStatus.CLOSED, timezone.now(), target
    source.resolution = f"Merged into {target.reference}"
    target.severity = min(source.severity, target.severity, key=SEVERITIES.index)
    target.confidence = max(source.confidence, target.confidence)
    for case, text, other in (
        (source, f"Merged into {target.reference} “{target.title}”: {told}", {"merged_into": str(target.id)}),
        (target, f"Took in {source.reference} “{source.title}”: {told}", {"took_in": str(source.id)}),
    ):
        lifecycle.note(case=case, kind=TimelineKind.MERGED, actor=actor.name, text=text, data=other)
        lifecycle.announce_change(case)
    audit.record(actor, "case.merged", source, before=before, after={"into": str(target.id), "moved": moved})
    audit.record(actor, "case.took_in", target, after={"case": str(source.id), "moved": moved})


def _move(part: Part, source: Case, target: Case) -> int:
    """Takes the rows along, and tells of each."""
    keys = list(_keys(part, source.id))
    changes: dict[str, Any] = {"case": target}
    if part is _alerts:
        changes["updated_at"] = timezone.now()
    rows = part.model._base_manager.filter(pk__in=keys)
    rows.update(**changes)
    told = rows.select_related(*part.related).defer(*part.deferred).order_by("pk")
    outbox.announce_all(part.event(row) for row in told)
    return len(keys)


def _move_evidence(source: Case, target: Case, actor: Actor) -> tuple[int, int]:
    """How many files moved, and how many stay since the target has the same: each has a chain of custody, which nobody can make one of."""
    own = Evidence.objects.filter(case=source)
    rows = list(own.exclude(sha256__in=Evidence.objects.filter(case=target).values("sha256")))
    Evidence.objects.filter(pk__in=[row.pk for row in rows]).update(case=target)
    note = f"from {source.reference} to {target.reference}"
    CustodyEntry.objects.bulk_create(
        CustodyEntry(evidence=row, action=CustodyAction.MOVED, actor=actor.name, note=note) for row in rows
    )
    return len(rows), own.count()


def _move_timeline(source: Case, target: Case) -> None:
    """Entries keep their time and with it their place; where one comes from is noted once, and stays through further merges."""
    origin = Value({"merged_from": str(source.id)}, output_field=JSONField())
    marked = Func(origin, F("data"), template="%(expressions)s", arg_joiner=" || ", output_field=JSONField())
    TimelineEntry.objects.filter(case=source).update(case=target, data=marked)


def _told(moved: dict[str, int], doubles: int) -> str:
    parts = [f"{count} {noun if count == 1 else f'{noun}s'}" for noun, count in moved.items() if count]
    text = ", ".join(parts) or "nothing but its timeline"
    return text + (f"; {doubles} {'file' if doubles == 1 else 'files'} that both have stayed" if doubles else "")
