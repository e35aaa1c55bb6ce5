"""Rules: when an alert of a kind arrives, run a playbook. Off until somebody switches them on, bounded, and never twice for an alert.

What a response does to the world comes back as alerts: an isolated host is a host that went away. A rule therefore runs its playbook for what is new
alone: not for an alert that names no host, user or address beyond those for which the playbook was run by a rule within `QUIET`, or is being run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from agents.playbooks import approvals, executions, expressions, facts
from agents.playbooks.models import AutomationRule, Execution, Playbook
from agents.playbooks.states import ENDED_EXECUTIONS
from aurora import audit, seen
from aurora.actors import Actor, system
from aurora.errors import Conflict, Invalid, Missing
from aurora.rest.problems import problem
from cases.models import Alert

PERMISSION = "playbooks:execute"
QUIET = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
STAMP = timedelta(milliseconds=1)
"""To which messages bear their time."""
LOOKED_AT = 200
"""Alerts that a preview looks at."""

_SUBJECTS = ("hosts", "users", "network")
_CHANGEABLE = ("condition", "enabled", "dry_run", "max_per_minute")

log = structlog.get_logger(__name__)


def write_rule(
    *, name: str, playbook_id: UUID, condition: str, actor: Actor, changes: Mapping[str, Any] | None = None
) -> AutomationRule:
    """A new rule, off unless `changes` says otherwise. Raises Denied, Invalid, Conflict for a name that is taken."""
    actor.require(PERMISSION)
    if not Playbook.objects.filter(pk=playbook_id).exists():
        raise _fault("playbook_id", "There is no such playbook")
    rule = AutomationRule(name=name, playbook_id=playbook_id, created_by=actor.name)
    _apply(rule, {**(changes or {}), "condition": condition}, actor)
    try:
        with transaction.atomic():
            rule.save(force_insert=True)
            audit.record(actor, "rule.created", rule, after={"name": name, **_told(rule)})
    except IntegrityError:
        raise Conflict(f"A rule named {name} exists") from None
    return rule


def edit_rule(*, rule_id: UUID, changes: Mapping[str, Any], actor: Actor, seen_as: str = "") -> AutomationRule:
    """Sets what is given; alerts that arrived before are not looked at again. `seen_as` is the `version_of` that the caller saw. Raises Denied, Missing,
    Invalid, Outdated."""
    actor.require(PERMISSION)
    with transaction.atomic():
        rule = AutomationRule.objects.select_for_update().filter(pk=rule_id).first()
        if rule is None:
            raise Missing
        seen.require(rule, seen=seen_as, is_now=version_of(rule), action="rule.changed")
        before = _told(rule)
        _apply(rule, changes, actor)
        rule.save()
        audit.record(actor, "rule.changed", rule, before=before, after=_told(rule))
    return rule


def remove_rule(*, rule_id: UUID, actor: Actor) -> None:
    """Its runs stay. Raises Denied, Missing."""
    actor.require(PERMISSION)
    with transaction.atomic():
        rule = AutomationRule.objects.select_for_update().filter(pk=rule_id).first()
        if rule is None:
            raise Missing
        audit.record(actor, "rule.removed", rule, before={"name": rule.name, **_told(rule)})
        rule.delete()


def find(rule_id: UUID) -> AutomationRule:
    """Raises Missing."""
    rule = AutomationRule.objects.select_related("playbook").filter(pk=rule_id).first()
    if rule is None:
        raise Missing
    return rule


def version_of(rule: AutomationRule) -> str:
    """Another text when its condition or its bound is. Switching it is no such change."""
    return seen.mark([rule.condition, rule.max_per_minute])


def respond(*, alert_id: UUID, arrived_at: datetime) -> list[Execution]:
    """Begins what the rules say of an alert; the runs begun. Called again for the same alert, it begins nothing again."""
    rules = list(AutomationRule.objects.filter(enabled=True, updated_at__lte=arrived_at + STAMP).order_by("name"))
    alert = Alert.objects.filter(pk=alert_id).first() if rules else None
    if alert is None:
        return []
    known = facts.gathered(alert=alert, case=None, parameters={})
    begun = [_begin(rule, alert, known) for rule in rules if _holds(rule, known)]
    return [execution for execution in begun if execution is not None]


def preview(rule: AutomationRule) -> dict[str, Any]:
    """Of the newest alerts, how many it would have been for, whatever holds it back. Begins nothing."""
    looked_at = list(Alert.objects.order_by("-id")[:LOOKED_AT])
    matching = [
        alert for alert in looked_at if _would_hold(rule, facts.gathered(alert=alert, case=None, parameters={}))
    ]
    examples = [{"id": alert.id, "title": alert.title, "severity": alert.severity} for alert in matching[:10]]
    return {"looked_at": len(looked_at), "matching": len(matching), "examples": examples}


def describe(rule: AutomationRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "playbook_id": rule.playbook_id,
        "playbook": rule.playbook.name,
        "condition": rule.condition,
        "enabled": rule.enabled,
        "dry_run": rule.dry_run,
        "max_per_minute": rule.max_per_minute,
        "held_back": rule.held_back,
        "error": rule.error or None,
        "created_by": rule.created_by,
        "updated_at": rule.updated_at,
    }


def _apply(rule: AutomationRule, changes: Mapping[str, Any], actor: Actor) -> None:
    for name in _CHANGEABLE:
        setattr(rule, name, changes.get(name, getattr(rule, name)))
    if not rule.condition.strip():
        raise _fault("condition", "A rule needs a condition: `True` would be for every alert, and has to be written")
    try:
        expressions.check(rule.condition)
    except Invalid as error:
        raise _fault("condition", error.detail) from None
    # Whoever says what a rule does asks for what it begins, and so does not decide about it.
    rule.owner, rule.error, rule.updated_at = approvals.identity_of(actor), "", timezone.now()


def _begin(rule: AutomationRule, alert: Alert, known: Mapping[str, Any]) -> Execution | None:
    try:
        with transaction.atomic():
            # The playbook's row orders all rules that run it, so that two alerts at once are counted one after the other.
            Playbook.objects.select_for_update(no_key=True).get(pk=rule.playbook_id)
            current = AutomationRule.objects.filter(pk=rule.pk, enabled=True).first()
            if current is None or _ran_for(current, alert):
                return None
            if reason := _reason_to_wait(current, known):
                AutomationRule.objects.filter(pk=current.pk).update(held_back=F("held_back") + 1)
                log.warning("rule_held_back", rule=current.name, alert=str(alert.pk), reason=reason)
                return None
            return executions.execute(
                playbook_id=current.playbook_id,
                alert_id=alert.pk,
                dry_run=current.dry_run,
                actor=system(f"rule {current.name}"),
                rule=current,
            )
    except IntegrityError:
        return None  # another delivery of the same alert was quicker
    except Conflict as error:
        _note_error(rule, error.detail)
        return None


def _ran_for(rule: AutomationRule, alert: Alert) -> bool:
    return Execution.objects.filter(rule__isnull=False, playbook_id=rule.playbook_id, alert=alert).exists()


def _reason_to_wait(rule: AutomationRule, known: Mapping[str, Any]) -> str:
    now = timezone.now()
    if Execution.objects.filter(rule=rule, created_at__gt=now - MINUTE).count() >= rule.max_per_minute:
        return f"{rule.max_per_minute} a minute"
    recent = Execution.objects.filter(
        Q(created_at__gt=now - QUIET) | ~Q(status__in=ENDED_EXECUTIONS),
        rule__isnull=False,
        playbook_id=rule.playbook_id,
    )
    covered = [_subjects(found) for found in recent.values_list("facts", flat=True)]
    return "nothing new" if covered and _subjects(known) <= frozenset().union(*covered) else ""


def _subjects(known: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    about = known.get("alert", {})
    return frozenset((kind, str(value).lower()) for kind in _SUBJECTS for value in about.get(kind, ()))


def _holds(rule: AutomationRule, known: Mapping[str, Any]) -> bool:
    try:
        return expressions.holds(rule.condition, _context(known))
    except Invalid as error:
        _note_error(rule, error.detail)
        return False


def _would_hold(rule: AutomationRule, known: Mapping[str, Any]) -> bool:
    try:
        return expressions.holds(rule.condition, _context(known))
    except Invalid:  # untellable is not so: that is what the rule would find as well
        return False


def _context(known: Mapping[str, Any]) -> dict[str, Any]:
    hours = facts.is_business_hours(timezone.now())
    return {**known, "parameters": {}, "results": {}, "business_hours": hours}


def _note_error(rule: AutomationRule, error: str) -> None:
    log.error("rule_failed", rule=rule.name, error=error)
    AutomationRule.objects.filter(pk=rule.pk).update(error=error)


def _told(rule: AutomationRule) -> dict[str, Any]:
    return {"playbook": rule.playbook.name} | {name: getattr(rule, name) for name in _CHANGEABLE}


def _fault(name: str, sentence: str) -> Invalid:
    return Invalid(problems=[problem(["body", name], f"Value error, {sentence}", "value_error")])
