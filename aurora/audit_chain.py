"""The audit trail's chain: each entry's digest covers the entry and the digest before it, and the last one is signed.

Entries are sealed a few seconds after their commit, by one job at a time: a chain that grew inside of every change would have all changes
wait for each other (docs/decisions/0015-the-audit-trail-is-sealed-by-a-job.md). Entries not sealed yet are not protected. What is sealed is announced on
`aurora:audit`, entry by entry in the order of the chain, for whoever keeps a copy where the database's owner cannot reach it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import QuerySet, Subquery
from django.utils import timezone
from django.utils.crypto import salted_hmac

from aurora import statements
from aurora.bus import outbox, schedule, streams
from aurora.errors import Conflict
from aurora.models import AuditEntry, AuditHead

SEAL_SECONDS = 2.0
CHECK_SECONDS = 300.0
CHECKED_AT_ONCE = 50_000
"""Entries that one run of the scheduled check looks at: about two seconds of the scheduler's time."""
LONGEST_CHANGE = timedelta(hours=1)
"""An entry that tells of a time so long before the sealing that preceded its own was not written by a change of that time."""

AUDIT_RECORDED = "audit.recorded"
_TOLD = ("id", "at", "actor", "address", "action", "target_type", "target_id", "before", "after", "request_id")
_HEAD = 1
_BATCH = 2_000
_MOST_FAULTS = 100
_SEAL = f"""
    UPDATE {AuditEntry._meta.db_table} AS entry SET number = sealed.number, digest = sealed.digest, sealed_at = %s
    FROM unnest(%s::uuid[], %s::bigint[], %s::text[]) AS sealed (id, number, digest) WHERE entry.id = sealed.id
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Anchor:
    """An entry's number and digest as somebody noted them outside of the database."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


@dataclass(slots=True)
class Verdict:
    """What a look at the chain found. `faults` is empty when all is as it was sealed."""

    head: Anchor
    looked_at: int = 0
    last: int = 0
    """The number up to which was looked."""
    waiting: int = 0
    faults: list[str] = field(default_factory=list)


def register() -> None:
    """Tells the scheduler."""
    schedule.register("seal-audit", every=SEAL_SECONDS, function=seal)
    schedule.register("check-audit", every=CHECK_SECONDS, function=check)


def seal() -> int:
    """Takes every committed entry that waits into the chain; how many. None behind a head that is not ours: nothing may hide that."""
    now, total = timezone.now(), 0
    if not _waiting().exists():
        return 0
    with transaction.atomic():
        head = _locked_head()
        if fault := _fault_of_head(head, _head_and_highest()[1]):
            log.error("audit_chain_broken", faults=[fault])
            return 0
        while batch := list(_waiting().order_by("id")[:_BATCH]):
            _append(head, batch, now)
            total += len(batch)
        head.sealed_at = now
        head.signature = _signature(head)
        head.save(update_fields=["number", "digest", "sealed_at", "signature"])
    # The one copy of the head that whoever owns the database cannot take back.
    log.info("audit_sealed", head=str(head), entries=total)
    return total


def verify(*, after: int = 0, at_most: int | None = None, anchors: tuple[Anchor, ...] = ()) -> Verdict:
    """Recomputes the chain after entry `after`, at most so many entries, and holds it against the head and against `anchors`."""
    head, highest = _head_and_highest()
    verdict = Verdict(head=Anchor(head.number, head.digest), waiting=_waiting().count(), last=after)
    _note(verdict, _fault_of_head(head, highest))
    for anchor in anchors:
        _note(verdict, _fault_of_anchor(anchor))
    _walk(verdict, after, at_most)
    if (at_most is None or verdict.looked_at < at_most) and verdict.last < head.number:
        _note(verdict, _missing(verdict.last, head.number + 1))
    if highest > head.number:
        _note(verdict, f"entries up to {highest} bear numbers, but only {head.number} were given")
    return verdict


def check() -> Verdict:
    """The next stretch of the chain, for the scheduler; at a fault it stays, so that the fault is told until somebody has seen to it."""
    begun = AuditHead.objects.filter(pk=_HEAD).values_list("checked_number", flat=True).first() or 0
    verdict = verify(after=begun, at_most=CHECKED_AT_ONCE)
    if verdict.faults:
        log.error("audit_chain_broken", faults=verdict.faults)
    is_through = verdict.looked_at < CHECKED_AT_ONCE
    reached = begun if verdict.faults else 0 if is_through else verdict.last
    AuditHead.objects.filter(pk=_HEAD).update(
        checked_number=reached, checked_at=timezone.now(), faults=verdict.faults[:_MOST_FAULTS]
    )
    return verdict


def sign_anew() -> None:
    """Signs the head under the present secret key, once all of the chain is what it was. Raises Conflict when it is not."""
    with transaction.atomic():
        head = _locked_head()
        verdict = verify()
        others = [fault for fault in verdict.faults if fault != _BAD_SIGNATURE]
        if others:
            raise Conflict(f"The chain is broken: {others[0]}")
        head.signature = _signature(head)
        head.save(update_fields=["signature"])


def state() -> AuditHead | None:
    """The head with what the last check found, for the console. None before anything was sealed."""
    return AuditHead.objects.filter(pk=_HEAD).first()


_BAD_SIGNATURE = "the head's signature is not ours: it was forged, or AURORA_SECRET_KEY has changed since (then: verify_audit --sign)"


def _append(head: AuditHead, batch: list[AuditEntry], now: datetime) -> None:
    digests: list[str] = []
    for offset, entry in enumerate(batch, start=1):
        digests.append(_digest(digests[-1] if digests else head.digest, entry, head.number + offset, now))
    numbers = list(range(head.number + 1, head.number + 1 + len(batch)))
    with statements.cursor() as cursor:
        cursor.execute(_SEAL, [now, [entry.pk for entry in batch], numbers, digests])
    outbox.announce_all(map(_event, batch, numbers, digests))
    head.number, head.digest = numbers[-1], digests[-1]


def _event(entry: AuditEntry, number: int, digest: str) -> outbox.Event:
    told = {name: getattr(entry, name) for name in _TOLD}
    return outbox.Event(streams.AUDIT, AUDIT_RECORDED, "audit", {**told, "number": number, "digest": digest})


def _walk(verdict: Verdict, after: int, at_most: int | None) -> None:
    previous = AuditEntry.objects.filter(number=after).first() if after else None
    before, earlier, sealed = (previous.digest if previous else ""), None, previous and previous.sealed_at
    is_known = not after or previous is not None
    for entry in _entries(after, verdict.head.number, at_most):
        assert entry.number is not None  # noqa: S101 - those are what was asked for
        assert entry.sealed_at is not None  # noqa: S101 - set with the number
        if entry.number != verdict.last + 1:
            _note(verdict, _missing(verdict.last, entry.number))
        elif is_known and entry.digest != _digest(before, entry, entry.number, entry.sealed_at):
            _note(
                verdict, f"entry {entry.number} ({entry.pk}: {entry}) is not what was sealed after entry {verdict.last}"
            )
        if entry.sealed_at != sealed:
            earlier, sealed = sealed, entry.sealed_at
        if earlier and entry.at < earlier - LONGEST_CHANGE:
            _note(
                verdict,
                f"entry {entry.number} ({entry.pk}: {entry}) tells of {entry.at:%F %T}, long sealed when it came",
            )
        verdict.looked_at += 1
        verdict.last, before, is_known = entry.number, entry.digest, True
    if verdict.last == verdict.head.number and before != verdict.head.digest:
        _note(verdict, f"the chain was written anew: entry {verdict.last} is not the one that the head was signed for")


def _entries(after: int, last: int, at_most: int | None) -> Iterator[AuditEntry]:
    rows = AuditEntry.objects.filter(number__gt=after, number__lte=last).order_by("number")
    return (rows if at_most is None else rows[:at_most]).iterator(chunk_size=_BATCH)


def _head_and_highest() -> tuple[AuditHead, int]:
    """Both of one moment, for entries are sealed all the time; 0 when no entry bears a number."""
    highest = AuditEntry.objects.filter(number__isnull=False).order_by("-number").values("number")[:1]
    head = AuditHead.objects.filter(pk=_HEAD).annotate(highest=Subquery(highest)).first()
    if head is not None:
        return head, head.highest or 0
    return AuditHead(pk=_HEAD), highest.values_list("number", flat=True).first() or 0


def _fault_of_head(head: AuditHead, highest: int) -> str:
    if not head.signature:
        return "the head of the chain is missing" if highest else ""
    return "" if hmac.compare_digest(head.signature, _signature(head)) else _BAD_SIGNATURE


def _fault_of_anchor(anchor: Anchor) -> str:
    digest = AuditEntry.objects.filter(number=anchor.number).values_list("digest", flat=True).first()
    return "" if digest == anchor.digest else f"entry {anchor.number} is not the one that was noted as {anchor}"


def _missing(last: int, next_number: int) -> str:
    first, final = last + 1, next_number - 1
    return f"entry {first} is missing" if first == final else f"entries {first} to {final} are missing"


def _note(verdict: Verdict, fault: str) -> None:
    if fault and len(verdict.faults) < _MOST_FAULTS:
        verdict.faults.append(fault)


def _waiting() -> QuerySet[AuditEntry, AuditEntry]:
    return AuditEntry.objects.filter(number=None)


def _locked_head() -> AuditHead:
    AuditHead.objects.get_or_create(pk=_HEAD)
    return AuditHead.objects.select_for_update().get(pk=_HEAD)


def _digest(before: str, entry: AuditEntry, number: int, sealed_at: datetime) -> str:
    told = [
        number,
        str(entry.pk),
        _text(entry.at),
        _text(sealed_at),
        *(entry.actor, entry.address, entry.action, entry.target_type, entry.target_id),
        *(entry.before, entry.after, entry.request_id),
    ]
    text = json.dumps([before, *told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _signature(head: AuditHead) -> str:
    told = f"{head.number}:{head.digest}:{_text(head.sealed_at) if head.sealed_at else ''}"
    return salted_hmac("aurora.audit_head", told, algorithm="sha256").hexdigest()


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
