"""Other open cases that the hunt came upon: what overlaps with them, said even where it is too weak to make one case of two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from agents.builtin.contract import Evidence, Finding
from agents.builtin.pivoting import Web
from agents.builtin.scope import cite
from agents.builtin.wording import line, listed, many, percent, quoted
from cases.models import Alert, Case
from cases.states import CaseStatus

_LEAST_STRENGTH = 0.25
_MAX_HOPS = 2
_MAX_CASES = 3
_MAX_EVIDENCE = 6


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An open case with those of its alerts that were reached, the strongest first."""

    case: Case
    alerts: tuple[Alert, ...]
    strength: float


def neighbours(web: Web) -> list[Neighbour]:
    """The open cases, other than the task's own, of alerts within two hops; the strongest three. One query."""
    own = {web.scope.case.id if web.scope.case else None, None}
    held: defaultdict[UUID, list[Alert]] = defaultdict(list)
    for alert in web.alerts:
        reach = web.reached[alert.id]
        if (
            alert.case_id
            and alert.case_id not in own
            and 0 < reach.hops <= _MAX_HOPS
            and reach.strength >= _LEAST_STRENGTH
        ):
            held[alert.case_id].append(alert)
    cases = Case.objects.exclude(status=CaseStatus.CLOSED).in_bulk(held)
    found = [_neighbour(web, cases[case_id], alerts) for case_id, alerts in held.items() if case_id in cases]
    return sorted(found, key=lambda one: (-one.strength, one.case.id))[:_MAX_CASES]


def mention(web: Web, one: Neighbour) -> Finding:
    """That the two may be one intrusion, by what, and what would decide it."""
    nearest = one.alerts[0]
    by = [f"{relation.kind} {line(relation.value, 60)}" for relation in web.reached[nearest.id].relations[:3]]
    way = "directly" if web.reached[nearest.id].hops == 1 else "over one alert between them"
    title = f"“{line(one.case.title, 100)}”"
    cited: list[Evidence] = [Evidence("case", str(one.case.id), f"{one.case.reference} {title}")]
    cited += [cite(alert) for alert in one.alerts[:_MAX_EVIDENCE]]
    return Finding(
        title=f"Overlaps with open case {one.case.reference}",
        detail=(
            f"{one.case.reference} {title} holds {many(len(one.alerts), 'alert')} that the hunt came upon, nearest {quoted(nearest)}, "
            f"{way} by {listed(by)} (strength {percent(one.strength)}). It takes more to hold the two for one."
        ),
        confidence=round(min(0.95, one.strength), 2),
        evidence=cited,
        recommended_actions=[
            f"Compare with {one.case.reference}: the same account, tool or outside place in both makes them one intrusion"
        ],
    )


def _neighbour(web: Web, case: Case, alerts: Sequence[Alert]) -> Neighbour:
    ordered = sorted(alerts, key=lambda alert: (-web.reached[alert.id].strength, alert.id))
    return Neighbour(case, tuple(ordered), web.reached[ordered[0].id].strength)
