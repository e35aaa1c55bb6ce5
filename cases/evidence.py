"""Evidence of cases: files taken in, handed out, each time with an entry in the chain of custody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from io import BufferedReader
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor
from aurora.errors import Conflict, Invalid, Missing, Unavailable
from cases import evidence_store, lifecycle
from cases.models import Case, CustodyEntry, Evidence
from cases.normalizers.fields import clean
from cases.states import CustodyAction, TimelineKind

MAX_NAME = 255

log = structlog.get_logger(__name__)


def add_evidence(
    *, case_id: UUID, name: str, chunks: Iterable[bytes], actor: Actor, media_type: str = "", description: str = ""
) -> Evidence:
    """Keeps a file for an open case.

    Raises Denied, Missing; Conflict when the case is closed or has this file; Invalid for an empty one; Unavailable where the store takes nothing.
    The file is on disk before the row is written: a row without its file must never be, a file without a row harms nobody.
    """
    actor.require("cases:write")
    case = Case.objects.filter(pk=case_id).first()
    if case is None:
        raise Missing
    lifecycle.require_open(case)
    kept = _kept(chunks)
    if not kept.size:
        raise Invalid("The file is empty")
    with transaction.atomic():
        case = lifecycle.locked_case(case_id)
        lifecycle.require_open(case)
        if known := Evidence.objects.filter(case=case, sha256=kept.sha256).first():
            raise Conflict(f"The case already has this file (SHA-256 {kept.sha256}) as {known.id}")
        row = Evidence.objects.create(
            case=case,
            **asdict(kept),
            name=plain_name(name),
            media_type=clean(media_type, 127),
            description=description,
            added_by=actor.name,
        )
        _pass_on(row, CustodyAction.COLLECTED, actor, f"{row.size} bytes, SHA-256 {row.sha256}")
        data = {"evidence_id": str(row.id), "sha256": row.sha256, "size": row.size}
        lifecycle.note(
            case=case, kind=TimelineKind.EVIDENCE, actor=actor.name, text=f"Evidence added: {row.name}", data=data
        )
        audit.record(actor, "evidence.added", row, after={"case": str(case.id), "name": row.name, **data})
        lifecycle.announce_change(case)
    return row


def hand_out(*, case_id: UUID, evidence_id: UUID, actor: Actor) -> tuple[Evidence, BufferedReader]:
    """The file, opened for somebody to look at, which the chain of custody notes. Raises Denied, Missing.

    Raises Conflict when its content is gone or changed; that somebody asked for it and did not get it is noted too.
    """
    actor.require("cases:read")
    row = find(case_id, evidence_id)
    is_intact = evidence_store.is_intact(row.sha256)
    with transaction.atomic():
        note = "" if is_intact else "its content is gone, or no longer what was taken in"
        _pass_on(row, CustodyAction.READ if is_intact else CustodyAction.MISSED, actor, note)
        audit.record(actor, "evidence.read" if is_intact else "evidence.missed", row, after={"case": str(case_id)})
    if not is_intact:
        log.error("evidence_not_intact", evidence_id=str(row.id), sha256=row.sha256)
        raise Conflict("The stored file is gone, or no longer what was taken in")
    return row, evidence_store.opened(row.sha256)


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


def _kept(chunks: Iterable[bytes]) -> evidence_store.Kept:
    try:
        return evidence_store.keep(chunks)
    except OSError as error:
        log.error("evidence_not_stored", error=str(error))
        raise Unavailable("The evidence store takes nothing in") from error


def _pass_on(row: Evidence, action: str, actor: Actor, note: str) -> None:
    CustodyEntry.objects.create(evidence=row, action=action, actor=actor.name, note=note, created_at=timezone.now())
