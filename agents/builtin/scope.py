"""What a task is about: its alert or the alerts of its case, with everything they name, in a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from agents.builtin.contract import Evidence, Task
from agents.builtin.wording import line
from aurora.addresses import address_or_none
from aurora.errors import Invalid, Missing
from cases.models import Alert, AlertIoc, AlertPivot, Case, Ioc

MAX_ALERTS = 300
"""Of a case with more, the latest are looked at."""


@dataclass(slots=True)
class Named:
    """What one alert names; assets and users in lower case, as indexed."""

    assets: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    techniques: list[str] = field(default_factory=list)
    iocs: list[Ioc] = field(default_factory=list)


@dataclass(slots=True)
class Scope:
    """`alerts` in order of time, never empty, unless of a case without any. `focus` is the task's own alert, if it has one."""

    alerts: list[Alert]
    case: Case | None
    focus: Alert | None
    named: dict[UUID, Named]

    @property
    def leading(self) -> Alert:
        """The alert that stands for the scope: the task's own, else the gravest and of those the first."""
        return self.focus or min(self.alerts, key=lambda alert: (gravity(alert), alert.first_seen))

    def of(self, alert: Alert) -> Named:
        return self.named[alert.id]

    @property
    def iocs(self) -> list[Ioc]:
        """All distinct indicators, in order of appearance."""
        return list({ioc.id: ioc for alert in self.alerts for ioc in self.of(alert).iocs}.values())

    @property
    def assets(self) -> list[str]:
        return distinct(name for alert in self.alerts for name in self.of(alert).assets)

    @property
    def users(self) -> list[str]:
        return distinct(name for alert in self.alerts for name in self.of(alert).users)

    @property
    def techniques(self) -> list[str]:
        return distinct(name for alert in self.alerts for name in self.of(alert).techniques)


def scope_of(task: Task, *, may_be_empty: bool = False) -> Scope:
    """The task's alert, or else its case's alerts. The case is the task's, or the alert's own.

    Raises `Invalid` for a task with neither and for a case without alerts (unless that may be), `Missing` for what is gone.
    """
    if not task.alert_id and not task.case_id:
        raise Invalid(f"A task for {task.agent_type} needs an alert or a case.")
    focus = _alert(task.alert_id) if task.alert_id else None
    case = _case(task.case_id) if task.case_id else focus.case if focus else None
    alerts = [focus] if focus else alerts_of(case)
    if not alerts and not may_be_empty:
        raise Invalid(f"Case {case.reference if case else ''} has no alerts to analyse.")
    return Scope(alerts, case, focus, named_by(alerts))


def alerts_of(case: Case | None) -> list[Alert]:
    """The case's latest 300 alerts, in order of time."""
    if case is None:
        return []
    newest = Alert.objects.filter(case=case).order_by("-last_seen", "-id").defer("raw")[:MAX_ALERTS]
    return in_order(newest)


def named_by(alerts: Collection[Alert]) -> dict[UUID, Named]:
    """What the alerts name, in two queries; in order of value (hosts' names before their addresses), for links are stored in none."""
    named: defaultdict[UUID, Named] = defaultdict(Named)
    ids = [alert.id for alert in alerts]
    for alert_id in ids:
        named[alert_id] = Named()
    for link in AlertIoc.objects.filter(alert__in=ids).select_related("ioc").order_by("ioc__value", "id"):
        named[link.alert_id].iocs.append(link.ioc)
    for pivot in AlertPivot.objects.filter(alert__in=ids).order_by("value", "id"):
        _list_of(named[pivot.alert_id], pivot.kind).append(pivot.value)
    for one in named.values():
        one.assets.sort(key=lambda name: (address_or_none(name) is not None, name))
    return dict(named)


def in_order(alerts: Iterable[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: (alert.first_seen, alert.last_seen, alert.id))


def distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def gravity(alert: Alert) -> int:
    """0 for critical … 4 for info."""
    return SEVERITY_ORDER[alert.severity]


SEVERITY_ORDER = {"critical": 0, "high": 1, "medium": 2, "low": 3, "info": 4}


def cite(alert: Alert, note: str = "") -> Evidence:
    return Evidence("alert", str(alert.id), note or line(alert.title))


def cite_ioc(ioc: Ioc, note: str) -> Evidence:
    return Evidence("ioc", str(ioc.id), note)


def as_ioc(ioc: Ioc) -> dict[str, str]:
    return {"type": ioc.type, "value": ioc.value}


def _list_of(named: Named, kind: str) -> list[str]:
    return {"asset": named.assets, "user": named.users, "technique": named.techniques}[kind]


def _alert(alert_id: str) -> Alert:
    found = Alert.objects.select_related("case").filter(pk=_uuid(alert_id, "alert")).first()
    if found is None:
        raise Missing(f"No alert {line(alert_id, 40)}")
    return found


def _case(case_id: str) -> Case:
    found = Case.objects.filter(pk=_uuid(case_id, "case")).first()
    if found is None:
        raise Missing(f"No case {line(case_id, 40)}")
    return found


def _uuid(text: str, kind: str) -> UUID:
    try:
        return UUID(str(text))
    except ValueError as error:
        raise Missing(f"No {kind} {line(text, 40)}") from error
