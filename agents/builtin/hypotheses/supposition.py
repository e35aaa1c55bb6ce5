"""What a hypothesis is, and how its confidence adds up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.builtin.contract import Evidence, Finding
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Term
from agents.builtin.scope import cite, distinct
from agents.builtin.wording import clock, line, many
from cases.models import Alert
from cases.states import Severity

LEAST_CONFIDENCE = 0.35
"""What is supposed with less than this is a coincidence, not a finding."""

_MAX_EVIDENCE = 12
_CEILING = 95
# What a sensor itself holds for low it sees in every estate every day: administrators move between hosts too.
_FULL_WORD = frozenset({Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM})


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """`kind` names the pattern; `hosts`, `users` and `iocs` (values) are whom it concerns, `target` an outside place."""

    kind: str
    finding: Finding
    alerts: tuple[Alert, ...]
    hosts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    iocs: tuple[str, ...] = ()
    terms: tuple[Term, ...] = field(default=())


def hypothesis(
    kind: str,
    web: Web,
    alerts: Sequence[Alert],
    *,
    title: str,
    detail: str,
    terms: Sequence[Term],
    hosts: Iterable[str],
    users: Iterable[str] = (),
    iocs: Iterable[str] = (),
    actions: Sequence[str] = (),
    also: Sequence[Evidence] = (),
) -> Hypothesis:
    """Confidence is the sum of the terms' points in hundredths, at most 0.95; its computation ends the detail. `also` is evidence beside the alerts.

    What hangs together with the start of the hunt by a thread is believed less.
    """
    own = list(dict.fromkeys(alerts))
    terms = [*terms, *_remoteness(link(web, own))]
    sum_of = ", ".join(f"{term.points:+d} {term.reason}" for term in terms)
    values = set(iocs)
    rows = {ioc.value: {"type": ioc.type, "value": ioc.value} for one in own for ioc in web.scope.of(one).iocs}
    finding = Finding(
        title=line(title, 200),
        detail=f"{detail} Confidence in points: {sum_of}.",
        confidence=min(_CEILING, sum(term.points for term in terms)) / 100,
        evidence=[*also, *evidence(own)],
        techniques=distinct(technique for alert in own for technique in web.scope.of(alert).techniques),
        iocs=[row for value, row in rows.items() if value in values],
        recommended_actions=list(actions),
    )
    return Hypothesis(kind, finding, tuple(own), tuple(hosts), tuple(users), tuple(iocs), tuple(terms))


def is_taken_seriously(alerts: Iterable[Alert]) -> bool:
    """Whether a sensor rates any of them medium or graver."""
    return any(alert.severity in _FULL_WORD for alert in alerts)


def sensors_word(points: int, reason: str, alerts: Sequence[Alert]) -> Term:
    """The weight of a technique that sensors name: the whole of `points`, or three eighths when they all rate it low themselves."""
    if is_taken_seriously(alerts):
        return Term(points, reason)
    return Term(round(points * 3 / 8), f"{reason}, which it rates {alerts[0].severity} itself")


def as_json(one: Hypothesis, most_alerts: int = 100) -> dict[str, Any]:
    """A hypothesis for an answer's `data`, with all of its alerts where the finding cites a few."""
    return {
        "kind": one.kind,
        "title": one.finding.title,
        "confidence": one.finding.confidence,
        "alert_ids": [str(alert.id) for alert in one.alerts[:most_alerts]],
        "hosts": list(one.hosts),
        "users": list(one.users),
        "iocs": list(one.iocs),
        "terms": [{"points": term.points, "reason": term.reason} for term in one.terms],
    }


def joint_confidence(findings: Sequence[Finding]) -> tuple[float, str]:
    """That of the most confident, and 3 points more for each further one, of four at most; with how it was computed."""
    best, more = max(findings, key=lambda one: one.confidence), min(4, len(findings) - 1)
    value = round(min(0.97, best.confidence + 0.03 * more), 2)
    reason = f"{best.confidence:.2f} of the best finding ({best.title})"
    return value, f"{reason}, and 0.03 for each of {many(more, 'further one')} that agree with it."


def link(web: Web, alerts: Sequence[Alert]) -> float:
    """How strongly the alerts hang together with the hunt's start (0–1); 1 when it is among them, or when none are: a case's own file."""
    if not alerts:
        return 1.0
    reached = [web.reached[alert.id] for alert in alerts]
    return 1.0 if any(not reach.hops for reach in reached) else max(reach.strength for reach in reached)


def _remoteness(held_by: float) -> list[Term]:
    return [] if held_by == 1.0 else [Term(-round(25 * (1 - held_by)), f"tied to the start by {held_by:.2f} at best")]


def evidence(alerts: Sequence[Alert]) -> list[Evidence]:
    """The first and the last of a long row of alerts, not only its beginning."""
    half = _MAX_EVIDENCE // 2
    cited = alerts if len(alerts) <= _MAX_EVIDENCE else [*alerts[:half], *alerts[-half:]]
    return [cite(alert, f"{clock(alert.first_seen)} {line(alert.title, 100)}") for alert in cited]
