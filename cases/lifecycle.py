"""The life of a case: opened, joined by alerts, moved along, commented on. Whatever happens to it is in its timeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.utils import timezone

from aurora import audit, statements
from aurora.actors import Actor
from aurora.bus import outbox
from aurora.errors import Conflict, Invalid, Missing
from cases import events
from cases.models import Alert, Case, TimelineEntry
from cases.states import CASE_TRANSITIONS, SEVERITIES, CaseStatus, TaskStatus, TimelineKind
from cases.triage import assignable, locked_alert

# By hand, for whatever happens to a case notes it: composing it through the ORM takes longer than PostgreSQL with all of it.
_NOTE = f"""
    INSERT INTO {TimelineEntry._meta.db_table} (id, case_id, kind, actor, text, data, created_at)
    VALUES (%s, %s, %s, %s, %s, %s::text::jsonb, %s)
"""

_closing_guards: list[Callable[[Case], None]] = []


def guard_closing(guard: Callable[[Case], None]) -> None:
    """For an app above, whose work a case may wait for: `guard` is called with the locked case before it is closed, and raises Conflict."""
    _closing_guards.append(guard)


def open_case(*, title: str, severity: str, actor: Actor, description: str = "") -> Case:
    """A new, empty case. Raises Denied."""
    actor.require("cases:write")
    with transaction.atomic():
        case = Case.objects.create(title=title, severity=severity, description=description, opened_by=actor.name)
        note(case=case, kind=TimelineKind.OPENED, actor=actor.name, text=f"Case opened: {title}")
        audit.record(actor, "case.opened", case, after={"title": title, "severity": severity})
        outbox.announce(events.case_updated(case))
    return case


def promote_alert(*, alert_id: UUID, actor: Actor) -> Case:
    """A new case from an alert. Raises Denied, Missing, Conflict when the alert is in a case already."""
    actor.require("cases:write")
    with transaction.atomic():
        alert = locked_alert(alert_id)
        if alert.case_id:
            raise Conflict(f"The alert already belongs to case {alert.case_id}")
        case = open_case(title=alert.title, severity=alert.severity, actor=actor, description=alert.description)
        _link(alert, case, actor)
    return case


def link_alert(*, alert_id: UUID, case_id: UUID, actor: Actor) -> Case:
    """Puts an alert into an open case; raises its severity to the alert's. Linking twice changes nothing. Raises Denied, Missing, Conflict."""
    actor.require("cases:write")
    with transaction.atomic():
        alert, case = locked_alert(alert_id), locked_case(case_id)
        if alert.case_id == case.id:
            return case
        if alert.case_id:
            raise Conflict(f"The alert already belongs to case {alert.case_id}")
        require_open(case)
        _link(alert, case, actor)
    return case


def change_status(*, case_id: UUID, status: str, actor: Actor, reason: str = "") -> Case:
    """Moves the case along `CASE_TRANSITIONS`. Closing needs a resolution, coming back to work a reason: both are `reason`.

    Raises Denied, Missing, Conflict, Invalid.
    """
    actor.require("cases:write")
    with transaction.atomic():
        case = locked_case(case_id)
        if status not in CASE_TRANSITIONS[case.status]:
            allowed = ", ".join(sorted(CASE_TRANSITIONS[case.status]))
            raise Conflict(f"A case that is {case.status} cannot become {status}; allowed: {allowed}")
        needs_reason = status == CaseStatus.CLOSED or (
            status == CaseStatus.IN_PROGRESS and case.status != CaseStatus.OPEN
        )
        if needs_reason and not reason.strip():
            raise Invalid("Closing a case needs a resolution, reopening it a reason")
        if status == CaseStatus.CLOSED:
            require_closable(case)
        before, case.status = case.status, status
        case.closed_at = timezone.now() if status == CaseStatus.CLOSED else None
        case.resolution = reason if status == CaseStatus.CLOSED else case.resolution
        text = f"Status {before} → {status}" + (f": {reason}" if reason else "") + _left_open(case)
        _keep(case, actor, "case.status_changed", {"status": before}, {"status": status})
        note(case=case, kind=TimelineKind.STATUS_CHANGED, actor=actor.name, text=text)
    return case


def edit_case(*, case_id: UUID, changes: Mapping[str, Any], actor: Actor) -> Case:
    """Sets `title`, `description`, `severity` or `assignee` (a username or None); what is so already is no change.

    Raises Denied, Missing, Invalid; Conflict for a case that has gone into another one.
    """
    actor.require("cases:write")
    with transaction.atomic():
        case = locked_case(case_id)
        before, after = {}, {}
        for name, value in changes.items():
            was, becomes = str(getattr(case, name) or ""), str(value or "")
            if was == becomes:
                continue
            before[name], after[name] = was, becomes
            setattr(case, name, assignable(value) if name == "assignee" else value)
        if not after:
            return case
        _keep(case, actor, "case.edited", before, after)
        if "assignee" in after:
            text = f"Assigned to {changes['assignee'] or 'nobody'}"
            note(case=case, kind=TimelineKind.ASSIGNED, actor=actor.name, text=text)
    return case


def comment(*, case_id: UUID, text: str, actor: Actor) -> TimelineEntry:
    """Adds a remark (Markdown) to the timeline. Raises Denied, Missing, Conflict, Invalid for a blank one."""
    actor.require("cases:write")
    if not text.strip():
        raise Invalid("A comment needs text")
    with transaction.atomic():
        case = locked_case(case_id)
        entry = note(case=case, kind=TimelineKind.COMMENT, actor=actor.name, text=text)
        _keep(case, actor, "case.commented", {}, {"entry": str(entry.pk)})
    return entry


def note(*, case: Case, kind: str, actor: str, text: str, data: Mapping[str, Any] | None = None) -> TimelineEntry:
    """One timeline entry, in the caller's transaction. `actor` is a user's name or an agent's type."""
    entry = TimelineEntry(case=case, kind=kind, actor=actor, text=text, data=dict(data or {}))
    with statements.cursor() as cursor:
        cursor.execute(
            _NOTE, [entry.id, case.id, kind, actor, text, orjson.dumps(entry.data).decode(), entry.created_at]
        )
    entry._state.adding = False
    return entry


def _link(alert: Alert, case: Case, actor: Actor) -> None:
    alert.case = case
    alert.updated_at = timezone.now()
    alert.save(update_fields=["case", "updated_at"])
    case.severity = min(case.severity, alert.severity, key=SEVERITIES.index)
    data = {"alert_id": str(alert.id)}
    text = f"Alert linked: {alert.title}"
    note(case=case, kind=TimelineKind.ALERT_LINKED, actor=actor.name, text=text, data=data)
    _keep(case, actor, "case.alert_linked", {}, data)
    outbox.announce(events.alert_updated(alert))


def _left_open(case: Case) -> str:
    """What closing leaves undone is said where the closing is told; it keeps nobody from it."""
    left = case.tasks.filter(status=TaskStatus.OPEN).count() if case.status == CaseStatus.CLOSED else 0
    return f" ({left} {'task' if left == 1 else 'tasks'} left open)" if left else ""


def _keep(case: Case, actor: Actor, action: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    audit.record(actor, action, case, before=dict(before), after=dict(after))
    announce_change(case)


def announce_change(case: Case) -> None:
    """Keeps the locked case as it is now and tells of it, in the caller's transaction."""
    case.updated_at = timezone.now()
    case.save()
    outbox.announce(events.case_updated(case))


def require_closable(case: Case) -> None:
    """Raises Conflict while something waits for the locked case."""
    for guard in _closing_guards:
        guard(case)


def require_unmerged(case: Case) -> None:
    """Raises Conflict for a case that has gone into another one, saying where it goes on."""
    end = case
    while end.merged_into is not None:
        end = end.merged_into
    if end is not case:
        raise Conflict(f"The case was merged into {end.reference} ({end.id}) and goes on there")


def require_open(case: Case) -> None:
    """Raises Conflict for a case that takes nothing in any more."""
    require_unmerged(case)
    if case.status == CaseStatus.CLOSED:
        raise Conflict("The case is closed; reopen it first")


def locked_case(case_id: UUID) -> Case:
    """The case, locked until the end of the transaction. Raises Missing; Conflict when it has gone into another one."""
    # Joined to it, the assignee would be as it was before the lock was waited for: none, when it has changed meanwhile.
    case = Case.objects.select_for_update().filter(pk=case_id).first()
    if case is None:
        raise Missing
    require_unmerged(case)
    return case
