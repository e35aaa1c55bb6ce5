"""What the console offers to give alerts and cases away with: to whom, and into which case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from aurora.actors import Actor
from aurora.console.verbs import Choice
from aurora.errors import Invalid
from aurora.ids import uuid_or_none
from aurora.roles import ROLES
from cases import lifecycle, merging, triage
from cases.models import Alert, Case
from cases.states import CLOSED_CASES

OFFERED = 100
"""Lines of a select; whoever wants an older case or has more analysts uses the API."""
LABEL = 60

_NO_CASE = Choice("", "Choose a case", is_chosen=True)

_WORKERS = [role for role, permissions in ROLES.items() if "alerts:write" in permissions]


def assignees(row: Alert | Case) -> list[Choice]:
    """Nobody, and everybody whose role works on alerts; the present assignee in any case."""
    current = row.assignee.username if row.assignee else ""
    able = User.objects.filter(is_active=True, groups__name__in=_WORKERS).order_by("username").distinct()
    names = list(able.values_list("username", flat=True)[:OFFERED])
    if current and current not in names:
        names.insert(0, current)
    return [Choice("", "Nobody", not current), *(Choice(name, name, name == current) for name in names)]


def open_cases(row: Alert) -> list[Choice]:
    """The cases that an alert may join, newest first."""
    offered = _open_cases()
    return [_NO_CASE, *offered] if offered else []


def other_cases(row: Case) -> list[Choice]:
    """The cases into which an open case may go, newest first."""
    if row.status in CLOSED_CASES:
        return []
    offered = [choice for choice in _open_cases() if choice.value != str(row.pk)]
    return [_NO_CASE, *offered] if offered else []


def take_alert(key: Any, actor: Actor, form: Mapping[str, str]) -> object:
    return triage.assign(alert_id=key, username=actor.name, actor=actor)


def take_case(key: Any, actor: Actor, form: Mapping[str, str]) -> object:
    return lifecycle.edit_case(case_id=key, changes={"assignee": actor.name}, actor=actor)


def assign_alert(key: Any, actor: Actor, form: Mapping[str, str]) -> object:
    return triage.assign(alert_id=key, username=form.get("choice") or None, actor=actor)


def assign_case(key: Any, actor: Actor, form: Mapping[str, str]) -> object:
    return lifecycle.edit_case(case_id=key, changes={"assignee": form.get("choice") or None}, actor=actor)


def link_alert(key: Any, actor: Actor, form: Mapping[str, str]) -> Case:
    return lifecycle.link_alert(alert_id=key, case_id=_chosen_case(form), actor=actor)


def merge_case(key: Any, actor: Actor, form: Mapping[str, str]) -> Case:
    return merging.merge_case(case_id=key, into=_chosen_case(form), actor=actor)


def _chosen_case(form: Mapping[str, str]) -> UUID:
    case_id = uuid_or_none(form.get("choice"))
    if case_id is None:
        raise Invalid("Choose a case")
    return case_id


def _open_cases() -> list[Choice]:
    cases = Case.objects.exclude(status__in=CLOSED_CASES).order_by("-id").only("id", "title")[:OFFERED]
    return [Choice(str(case.pk), _label(case)) for case in cases]


def _label(case: Case) -> str:
    title = case.title if len(case.title) <= LABEL else f"{case.title[:LABEL]}…"
    return f"{case.reference} {title}"
