"""What an indicator is held to be, computed from what the store, other alerts and earlier cases know of it.

A reputation is a sum of points, each with its reason. Two kinds of knowledge are told apart: what somebody asserted (a feed, an
import, an analyst) and what was observed here (severities and verdicts of alerts, cases).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from django.db import connection

from agents.builtin.wording import line, listed, many, moment, percent
from cases import observables
from cases.correlation import COMMON, Relation, bearers
from cases.models import Alert, Case, Ioc
from cases.states import AlertStatus, CaseStatus, IocStatus, IocType, Severity

Verdict = Literal["malicious", "suspicious", "unknown", "benign-known"]

UNRATED = 0.5
"""The confidence of an indicator that intake stored because an alert carried it, and that nobody rated since."""

MALICIOUS_FROM = 60
SUSPICIOUS_FROM = 25
BENIGN_TO = -25

_PER_IOC = 200
# One subquery an indicator, not one block of a union: planning a union of 300 takes longer than running it.
_LATEST_LINKS = """
SELECT k.id, link.alert_id FROM unnest(%(iocs)s::uuid[]) AS k(id)
CROSS JOIN LATERAL (
  SELECT alert_id FROM cases_alertioc WHERE ioc_id = k.id AND alert_id <> ALL(%(but)s::uuid[])
  ORDER BY alert_id DESC LIMIT %(limit)s
) link
"""
# What intake writes as the source of an indicator that it met in an alert.
_INTAKE = frozenset(
    {
        *("alert", "generic", "suricata", "wazuh", "zeek", "elastic"),
        *("alertmanager", "sentinel", "crowdstrike", "splunk", "ocsf", "cef"),
    }
)
_ASSERTED = 80
_GRAVE = {Severity.CRITICAL: 14, Severity.HIGH: 10, Severity.MEDIUM: 4}
_GRAVE_MAX = 30
_CLEARED = ("false positive", "false-positive", "benign", "authorised", "authorized", "expected", "no threat")


@dataclass(frozen=True, slots=True)
class Term:
    """So many points, and why."""

    points: int
    reason: str


@dataclass(slots=True)
class History:
    """What is on record about one indicator beyond the alerts under analysis. `alerts` are the newest 200."""

    ioc: Ioc
    alerts: list[Alert] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    sensors: set[str] = field(default_factory=set)
    bearers: int = 0

    @property
    def is_asserted(self) -> bool:
        """Whether somebody vouches for it, and not merely a sensor of ours that carried it in an alert."""
        return self.ioc.source not in self.sensors or self.ioc.confidence != UNRATED


@dataclass(frozen=True, slots=True)
class Reputation:
    history: History
    verdict: Verdict
    score: int
    terms: tuple[Term, ...]

    @property
    def ioc(self) -> Ioc:
        return self.history.ioc

    @property
    def is_bad(self) -> bool:
        return self.verdict in ("malicious", "suspicious")


def reputations(
    *, iocs: Collection[Ioc], but_alerts: Collection[Alert], but_case: Case | None, now: datetime
) -> list[Reputation]:
    """Each indicator's reputation, worst first. The alerts and the case under analysis prove nothing about themselves.

    `now` decides what has expired. Four queries whatever the number of indicators.
    """
    found = [_judged(history, now) for history in histories(iocs=iocs, but_alerts=but_alerts, but_case=but_case)]
    return sorted(found, key=lambda one: (-one.score, one.ioc.value))


def histories(*, iocs: Collection[Ioc], but_alerts: Collection[Alert], but_case: Case | None) -> list[History]:
    """Other alerts and other cases of each indicator."""
    sensors = _INTAKE | {alert.source for alert in but_alerts}
    by_id = {ioc.id: History(ioc, sensors=set(sensors)) for ioc in iocs}
    links = _latest_links(by_id, {alert.id for alert in but_alerts})
    alerts = Alert.objects.filter(id__in={alert_id for _, alert_id in links}).defer("raw").in_bulk()
    cases = Case.objects.in_bulk({alert.case_id for alert in alerts.values() if alert.case_id})
    own_case = but_case.id if but_case else None
    for ioc_id, alert_id in links:
        history, alert = by_id[ioc_id], alerts[alert_id]
        history.sensors.add(alert.source)
        if own_case and alert.case_id == own_case:
            continue
        history.alerts.append(alert)
        case = cases.get(alert.case_id) if alert.case_id else None
        if case and case not in history.cases:
            history.cases.append(case)
    counts = bearers(relations={Relation("ioc", ioc.value) for ioc in iocs})
    for history in by_id.values():
        history.bearers = counts.get(Relation("ioc", history.ioc.value), 0)
    return list(by_id.values())


def is_expired(ioc: Ioc, now: datetime) -> bool:
    return ioc.status == IocStatus.EXPIRED or (ioc.expires_at is not None and ioc.expires_at <= now)


def was_cleared(case: Case) -> bool:
    """Whether a closed case's resolution says that there was nothing."""
    return case.status == CaseStatus.CLOSED and any(word in case.resolution.lower() for word in _CLEARED)


def _judged(history: History, now: datetime) -> Reputation:
    terms = tuple(_terms(history, now))
    score = max(-100, min(100, sum(term.points for term in terms)))
    return Reputation(history, _verdict(score), score, terms)


def _verdict(score: int) -> Verdict:
    if score >= MALICIOUS_FROM:
        return "malicious"
    if score >= SUSPICIOUS_FROM:
        return "suspicious"
    return "benign-known" if score <= BENIGN_TO else "unknown"


def _terms(history: History, now: datetime) -> Iterable[Term]:
    yield from _asserted(history, now)
    yield from _own_network(history.ioc)
    yield from _observed(history.alerts)
    yield from _earlier_cases(history.cases)
    yield from _spread(history)


def _asserted(history: History, now: datetime) -> Iterable[Term]:
    ioc = history.ioc
    if ioc.status == IocStatus.FALSE_POSITIVE:
        yield Term(-70, "the IOC store marks it as a false positive")
    elif history.is_asserted:
        points = round(_ASSERTED * ioc.confidence)
        said = f"“{line(ioc.source, 64)}” rates it at confidence {percent(ioc.confidence)}"
        if is_expired(ioc, now):
            until = f" since {moment(ioc.expires_at)}" if ioc.expires_at else ""
            yield Term(points // 3, f"{said}, but the entry has expired{until}")
        else:
            yield Term(points, said)


def _own_network(ioc: Ioc) -> Iterable[Term]:
    if ioc.type == IocType.IP and observables.is_internal_ip(ioc.value):
        yield Term(-30, "it is an internal address")
    if observables.is_public_resolver(ioc.value):
        yield Term(-60, "it is a public DNS resolver that many share")


def _observed(alerts: list[Alert]) -> Iterable[Term]:
    if not alerts:
        return
    cleared = [alert for alert in alerts if alert.status == AlertStatus.FALSE_POSITIVE]
    if cleared:
        points = -round(50 * len(cleared) / len(alerts))
        yield Term(points, f"{len(cleared)} of {many(len(alerts), 'other alert')} with it turned out false positives")
    standing = [alert for alert in alerts if alert.status != AlertStatus.FALSE_POSITIVE]
    weights = sorted((_GRAVE.get(Severity(alert.severity), 0) for alert in standing), reverse=True)
    points = min(_GRAVE_MAX, sum(weights[:4]))
    if points:
        counts = [
            f"{sum(alert.severity == level for alert in standing)} {level.value}"
            for level in _GRAVE
            if any(alert.severity == level for alert in standing)
        ]
        yield Term(points, f"other alerts carry it: {listed(counts)}")


def _earlier_cases(cases: list[Case]) -> Iterable[Term]:
    cleared = [case for case in cases if was_cleared(case)]
    confirmed = [case for case in cases if case.status == CaseStatus.CLOSED and case not in cleared]
    running = [case for case in cases if case.status != CaseStatus.CLOSED]
    if cleared:
        yield Term(-35, f"{_references(cleared)} closed without a threat")
    if confirmed:
        yield Term(30, f"part of {_references(confirmed)}, closed as a real incident")
    if running:
        yield Term(15, f"part of {_references(running)}, still open")


def _spread(history: History) -> Iterable[Term]:
    """What thousands of mostly harmless alerts carry is part of the landscape: a resolver, an update server, a proxy."""
    harmless = [one for one in history.alerts if one.severity in (Severity.LOW, Severity.INFO)]
    if history.bearers >= COMMON and len(harmless) * 10 >= len(history.alerts) * 9:
        yield Term(-20, f"{COMMON} or more alerts carry it, nine in ten of the latest low or informational")


def _references(cases: list[Case]) -> str:
    return listed(f"case {case.reference}" for case in cases)


def _latest_links(by_id: dict[UUID, History], but: set[UUID]) -> list[tuple[UUID, UUID]]:
    """(IOC, alert) pairs, of each IOC the newest 200, in one query."""
    if not by_id:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_LATEST_LINKS, {"iocs": list(by_id), "but": list(but), "limit": _PER_IOC})
        return list(cursor.fetchall())
