"""Evidence of cases: files taken in, handed out, each time with an entry in the chain of custody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor
from aurora.bus import outbox
from aurora.errors import Conflict, Invalid, Missing
from cases import events, evidence_store, lifecycle
from cases.models import Case, CustodyEntry, Evidence
from cases.normalizers.fields import clean
from cases.states import CustodyAction, TimelineKind

MAX_NAME = 255


def add_evidence(
    *, case_id: UUID, name: str, chunks: Iterable[bytes], actor: Actor, media_type: str = "", description: str = ""
) -> Evidence:
    """Keeps a file for an open case. Raises Denied, Missing; Conflict when the case is closed or has this file; Invalid for an empty one.

    The file is on disk before the row is written: a row without its file must never be, a file without a row harms nobody.
    """
    actor.require("cases:write")
    case = Case.objects.filter(pk=case_id).first()
    if case is None:
        raise Missing
    lifecycle.require_open(case)
    sha256, size = evidence_store.keep(chunks)
    if not size:
        raise Invalid("The file is empty")
    with transaction.atomic():
        case = lifecycle.locked_case(case_id)
        lifecycle.require_open(case)
        if Evidence.objects.filter(case=case, sha256=sha256).exists():
            raise Conflict(f"The case already has this file (SHA-256 {sha256})")
        row = Evidence.objects.create(
            case=case,
            sha256=sha256,
            size=size,
            name=plain_name(name),
            media_type=clean(media_type, 127),
            description=description,
            added_by=actor.name,
        )
        _pass_on(row, CustodyAction.COLLECTED, actor, f"{size} bytes, SHA-256 {sha256}")
        data = {"evidence_id": str(row.id), "sha256": sha256, "size": size}
        lifecycle.note(
            case=case, kind=TimelineKind.EVIDENCE, actor=actor.name, text=f"Evidence added: {row.name}", data=data
        )
        audit.record(actor, "evidence.added", row, after={"case": str(case.id), "name": row.name, **data})
        outbox.announce(events.case_updated(case))
    return row


def hand_out(*, case_id: UUID, evidence_id: UUID, actor: Actor) -> tuple[Evidence, Iterator[bytes]]:
    """The file for somebody to look at, which the chain of custody notes. Raises Denied, Missing; Conflict when its content is gone or changed."""
    actor.require("cases:read")
    row = find(case_id, evidence_id)
    if not evidence_store.is_intact(row.sha256):
        raise Conflict("The stored file is gone, or no longer what was taken in")
    content = evidence_store.chunks_of(row.sha256)
    with transaction.atomic():
        _pass_on(row, CustodyAction.READ, actor, "")
        audit.record(actor, "evidence.read", row)
    return row, content


def find(case_id: UUID, evidence_id: UUID) -> Evidence:
    """Raises Missing."""
    row = Evidence.objects.select_related("case").filter(pk=evidence_id, case_id=case_id).first()
    if row is None:
        raise Missing
    return row


def plain_name(name: str) -> str:
    """The last part of what the sender called the file, without controls and quotes: it names nothing but the download."""
    last = clean(name.replace("\\", "/").rpartition("/")[2], MAX_NAME).replace('"', "'")
    return last.strip(". ") or "unnamed"


def _pass_on(row: Evidence, action: str, actor: Actor, note: str) -> None:
    CustodyEntry.objects.create(evidence=row, action=action, actor=actor.name, note=note, created_at=timezone.now())
