"""What a run knows: its alert or case as plain values, taken once when it begins, so that a step taken over by another worker sees the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from agents.builtin.assets import LEVELS, criticality, is_account
from agents.builtin.scope import alerts_of, distinct
from agents.playbooks.models import Execution, ExecutionStep
from cases.models import Alert, Case
from cases.states import SEVERITIES, AssetType, Category, IocType

_NETWORK = (IocType.IP, IocType.DOMAIN, IocType.URL)
_OT_ASSETS = (AssetType.CPS_CONTROLLER, AssetType.IOT_SENSOR)
_GIVEN = ("hosts", "users", "network", "indicators")
"""Lists that whoever starts a run may give as parameters, instead of what the alerts name."""


def gathered(*, alert: Alert | None, case: Case | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run over an alert, or over all alerts of a case."""
    alerts = [alert] if alert else alerts_of(case)
    lists = _lists(alerts) | {name: _texts(parameters[name]) for name in _GIVEN if parameters.get(name)}
    leading = min(alerts, key=lambda one: SEVERITIES.index(one.severity), default=None)
    severity = leading.severity if leading else case.severity if case else "medium"
    concerned = [*lists["hosts"], *(name for one in alerts for name in _accounts_of(one))]
    known = [criticality(name, leading.asset_type if leading else "") for name in concerned]
    title = alert.title if alert else case.title if case else ""
    is_ot = any(one.category == Category.CPS or one.asset_type in _OT_ASSETS for one in alerts)
    is_ot = is_ot or any(one.role == "industrial control" for one in known)
    common = {
        "severity": severity,
        "title": title,
        "category": leading.category if leading else "other",
        "source": leading.source if leading else "",
        "asset_criticality": LEVELS[max((one.level for one in known), default=0)],
        "is_ot": is_ot,
        "is_it": not is_ot,
        "techniques": _with_parents(lists["techniques"]),
    }
    about = {"id": str(alert.id) if alert else "", "title": title, "severity": severity, **lists}
    return common | {"alert": about, "case": _case(case)}


def context_of(execution: Execution, steps: Iterable[ExecutionStep], *, now: datetime | None = None) -> dict[str, Any]:
    """What conditions and templates of a run see now: its facts, its parameters, what its earlier steps came to."""
    return {
        **execution.facts,
        "case": _case(execution.case) if execution.case else execution.facts.get("case", {}),
        "execution": {"id": str(execution.id), "reference": execution.reference},
        "parameters": execution.parameters,
        "results": {step.name: {"status": step.status, **_plain(step.result)} for step in steps},
        "business_hours": is_business_hours(now or timezone.now()),
    }


def is_business_hours(moment: datetime) -> bool:
    """Whether `AURORA_BUSINESS_HOURS` calls it so."""
    hours = settings.BUSINESS_HOURS
    local = moment.astimezone(hours.zone)
    return local.weekday() in hours.days and hours.begins <= local.time() < hours.ends


def is_critical(hosts: Iterable[str]) -> bool:
    """Whether one of them is held to be a critical asset."""
    return any(criticality(host).is_critical for host in hosts)


def _lists(alerts: list[Alert]) -> dict[str, list[str]]:
    """Sensors name accounts among the assets, too: nothing runs on one, and it is not cut off a network."""
    iocs = [ioc for one in alerts for ioc in one.iocs]
    return {
        "hosts": distinct(name for one in alerts for name in one.affected_assets if name not in _accounts_of(one)),
        "users": distinct(name for one in alerts for name in (*one.users, *_accounts_of(one))),
        "techniques": distinct(name for one in alerts for name in one.mitre_techniques),
        "network": distinct(ioc["value"] for ioc in iocs if ioc["type"] in _NETWORK),
        "indicators": distinct(ioc["value"] for ioc in iocs),
    }


def _accounts_of(alert: Alert) -> list[str]:
    return [name for name in alert.affected_assets if is_account(name, alert.asset_type or "", alert.users)]


def _with_parents(techniques: list[str]) -> list[str]:
    """`T1110.003` is also `T1110`."""
    return distinct(name for one in techniques for name in (one, one.partition(".")[0]))


def _case(case: Case | None) -> dict[str, Any]:
    if case is None:
        return {"id": "", "reference": "no case", "title": "", "severity": "", "status": ""}
    return {
        "id": str(case.id),
        "reference": case.reference,
        "title": case.title,
        "severity": case.severity,
        "status": case.status,
    }


def _texts(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def _plain(result: Any) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != "status"} if isinstance(result, dict) else {}
