"""What analysts and agents do to an alert: acknowledge, judge, assign."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor
from aurora.bus import outbox
from aurora.errors import Conflict, Invalid, Missing
from cases import events
from cases.models import Alert
from cases.states import ALERT_TRANSITIONS, ENDED_ALERTS


def acknowledge(*, alert_id: UUID, actor: Actor) -> Alert:
    """Stops the reaction clock and takes the alert, unless somebody has it. Acknowledging twice changes nothing. Raises Denied, Missing."""
    actor.require("alerts:write")
    with transaction.atomic():
        alert = locked_alert(alert_id)
        if alert.acknowledged_at:
            return alert
        alert.acknowledged_at = timezone.now()
        before = alert.assignee.username if alert.assignee else None
        if alert.assignee_id is None and actor.user_id is not None:
            alert.assignee_id = actor.user_id
        now = actor.name if alert.assignee_id == actor.user_id else before
        after: dict[str, object] = {"assignee": now, "acknowledged_at": alert.acknowledged_at.isoformat()}
        _keep(alert, "alert.acknowledged", actor, {"assignee": before, "acknowledged_at": None}, after)
    return alert


def change_status(*, alert_id: UUID, status: str, actor: Actor) -> Alert:
    """Moves the alert along `ALERT_TRANSITIONS`. Raises Denied, Missing, Conflict."""
    actor.require("alerts:write")
    with transaction.atomic():
        alert = locked_alert(alert_id)
        if status not in ALERT_TRANSITIONS[alert.status]:
            allowed = ", ".join(sorted(ALERT_TRANSITIONS[alert.status]))
            raise Conflict(f"An alert that is {alert.status} cannot become {status}; allowed: {allowed}")
        _move(alert, status, actor)
    return alert


def advance_status(*, alert_id: UUID, status: str, actor: Actor) -> bool:
    """As `change_status` for the agents: where the step may not follow, somebody has decided otherwise, and nothing happens."""
    with transaction.atomic():
        alert = locked_alert(alert_id)
        if status not in ALERT_TRANSITIONS[alert.status] or alert.status in ENDED_ALERTS:
            return False
        _move(alert, status, actor)
    return True


def assign(*, alert_id: UUID, username: str | None, actor: Actor) -> Alert:
    """Gives the alert to an account, or to nobody; to whom it has already changes nothing. Raises Denied, Missing, Invalid for an unknown name."""
    actor.require("alerts:write")
    with transaction.atomic():
        alert = locked_alert(alert_id)
        before = alert.assignee.username if alert.assignee else None
        if before == username:
            return alert
        alert.assignee = assignable(username)
        _keep(alert, "alert.assigned", actor, {"assignee": before}, {"assignee": username})
    return alert


def assignable(username: str | None) -> User | None:
    """The active account of that name. Raises Invalid."""
    if username is None:
        return None
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        raise Invalid(f"There is no active user {username!r}")
    return user


def locked_alert(alert_id: UUID) -> Alert:
    """The alert, nobody else's until the transaction ends. Raises Missing."""
    # Joined to it, the assignee would be as it was before the lock was waited for: none, when it has changed meanwhile.
    alert = Alert.objects.select_for_update().filter(pk=alert_id).first()
    if alert is None:
        raise Missing
    return alert


def _move(alert: Alert, status: str, actor: Actor) -> None:
    before, alert.status = alert.status, status
    alert.resolved_at = timezone.now() if status in ENDED_ALERTS else None
    _keep(alert, "alert.status_changed", actor, {"status": before}, {"status": status})


def _keep(alert: Alert, action: str, actor: Actor, before: dict[str, object], after: dict[str, object]) -> None:
    alert.updated_at = timezone.now()
    alert.save(update_fields=["status", "assignee", "acknowledged_at", "resolved_at", "updated_at"])
    audit.record(actor, action, alert, before=before, after=after)
    outbox.announce(events.alert_updated(alert))
