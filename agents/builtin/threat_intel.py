"""Enrichment: what the IOC store, other alerts and earlier cases know of each indicator."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from django.db.models import Count

from agents.builtin.contract import Evidence, Finding, Output, Task, Think
from agents.builtin.reputation import Reputation, is_expired, reputations, was_cleared
from agents.builtin.scope import Scope, as_ioc, cite, cite_ioc, scope_of
from agents.builtin.wording import line, listed, many, moment, percent, quoted, verb
from cases.models import AlertIoc, Case, Ioc
from cases.states import SEVERITIES, CaseStatus

MAX_IOCS = 64
OUTSIDE = ("VirusTotal", "AbuseIPDB", "GreyNoise")
"""Services that would be asked if a key were configured. This installation has no client for them."""

_TOGETHER = 5
_ALERTS_SEARCHED = 500


def analyse(task: Task, think: Think) -> Output:
    """A reputation for each of the task's indicators, with all that it rests on."""
    scope = scope_of(task)
    iocs = scope.iocs[:MAX_IOCS]
    left_out = len(scope.iocs) - len(iocs)
    think(
        f"{many(len(iocs), 'IOC')} to look up for {many(len(scope.alerts), 'alert')}"
        + (f"; {left_out} more are left out." if left_out else ".")
        + (f" First {listed(line(ioc.value, 80) for ioc in iocs)}." if iocs else ""),
        {"ioc_ids": [str(ioc.id) for ioc in iocs]},
    )
    now = max(alert.last_seen for alert in scope.alerts)
    known = reputations(iocs=iocs, but_alerts=scope.alerts, but_case=scope.case, now=now)
    together = _seen_together(iocs)
    if known:
        _think_of_store(known, think)
        _think_of_alerts(known, think)
        _think_of_cases(known, think)
    for one in [one for one in known if one.terms][:4]:
        think(_verdict_sentence(one), {"ioc_ids": [str(one.ioc.id)], "score": one.score, "verdict": one.verdict})
    think(f"Outside look-ups ({listed(OUTSIDE)}): not configured; the verdicts rest on our own records.", {})
    confidence, reason = _confidence(known)
    return Output(
        summary=_summary(scope, known),
        confidence=confidence,
        confidence_reason=reason,
        findings=[_finding(one, together[one.ioc.id]) for one in known if one.verdict != "unknown"],
        data={
            "iocs": [_as_json(one, together[one.ioc.id], scope) for one in known],
            "left_out": left_out,
            "outside": dict.fromkeys(OUTSIDE, "not configured"),
        },
    )


def _think_of_store(known: list[Reputation], think: Think) -> None:
    asserted = [one for one in known if one.history.is_asserted]
    if asserted:
        said = [
            f"{line(one.ioc.value, 60)} by {line(one.ioc.source, 40)} at {percent(one.ioc.confidence)}"
            for one in asserted
        ]
        think(
            f"The store has assertions on {len(asserted)} of {len(known)}: {listed(said)}.",
            {"ioc_ids": [str(one.ioc.id) for one in asserted]},
        )
    else:
        them = verb(len(known), "it", "them")
        think(f"The store knows {many(len(known), 'IOC')} only from our own alerts; nobody has rated {them}.", {})


def _think_of_alerts(known: list[Reputation], think: Think) -> None:
    carried = [one for one in known if one.history.alerts]
    if not carried:
        think(f"No other alert carries {verb(len(known), 'it', 'any of them')}: first sight.", {})
        return
    most = max(carried, key=lambda one: len(one.history.alerts))
    think(
        f"{len(carried)} of {len(known)} {verb(len(carried), 'occurs', 'occur')} in other alerts, most often {line(most.ioc.value, 80)}: "
        f"{many(len(most.history.alerts), 'alert')} ({_severities(most)}), {many(most.ioc.sightings, 'sighting')} in all.",
        {"alert_ids": [str(alert.id) for alert in most.history.alerts[:10]]},
    )


def _think_of_cases(known: list[Reputation], think: Think) -> None:
    cases = {case.id: case for one in known for case in one.history.cases}
    if cases:
        told = [f"{case.reference} ({_outcome(case)})" for case in cases.values()]
        think(
            f"{many(len(cases), 'earlier case')} had them: {listed(told)}.", {"case_ids": [str(key) for key in cases]}
        )
    else:
        think(f"No other case had {verb(len(known), 'it', 'any of them')}.", {})


def _verdict_sentence(one: Reputation) -> str:
    terms = "; ".join(f"{term.points:+d} {term.reason}" for term in one.terms)
    return f"{line(one.ioc.value, 80)} is {one.verdict} with {one.score} points: {line(terms, 400)}."


def _seen_together(iocs: list[Ioc]) -> dict[UUID, list[dict[str, Any]]]:
    """Per indicator those that share most alerts with it, out of the newest 500 alerts that carry any of them."""
    found: defaultdict[UUID, list[dict[str, Any]]] = defaultdict(list)
    own = AlertIoc.objects.filter(ioc__in=iocs)
    alerts = own.order_by("-alert_id").values_list("alert_id", flat=True).distinct()[:_ALERTS_SEARCHED]
    pairs = (
        own.filter(alert__in=list(alerts))
        .values("ioc_id", "alert__ioc_links__ioc_id", "alert__ioc_links__ioc__type", "alert__ioc_links__ioc__value")
        .annotate(alerts=Count("alert_id", distinct=True))
        .order_by("-alerts", "alert__ioc_links__ioc__value")
    )
    for pair in pairs:
        ioc_id, other = pair["ioc_id"], pair["alert__ioc_links__ioc_id"]
        if other != ioc_id and len(found[ioc_id]) < _TOGETHER:
            row = {"id": str(other), "alerts": pair["alerts"]}
            names = ("type", "value")
            found[ioc_id].append(row | {name: pair[f"alert__ioc_links__ioc__{name}"] for name in names})
    return found


def _confidence(known: list[Reputation]) -> tuple[float, str]:
    """How much is on record: of each indicator up to three independent kinds of knowledge, of which each adds 0.2 to 0.3."""
    if not known:
        return 0.3, "0.30: there is no IOC to look up."
    kinds = [
        (one.history.is_asserted or one.ioc.status != "active") + bool(one.history.alerts) + bool(one.history.cases)
        for one in known
    ]
    mean = sum(kinds) / len(kinds)
    return round(0.3 + 0.2 * mean, 2), (
        f"0.30, and 0.20 for each kind of knowledge (an assertion, other alerts, other cases): "
        f"{sum(kinds)} over {many(len(known), 'IOC')}, {mean:.1f} each on average. Nothing outside was asked."
    )


def _summary(scope: Scope, known: list[Reputation]) -> str:
    if not known:
        return f"{quoted(scope.leading)} carries no IOC; nothing to enrich."
    by_verdict = [
        f"{len(group) if len(known) > 1 else 'it is'} {verdict} ({listed((line(one.ioc.value, 60) for one in group), 3)})"
        for verdict in ("malicious", "suspicious", "benign-known", "unknown")
        if (group := [one for one in known if one.verdict == verdict])
    ]
    worst = known[0]
    because = f" {line(worst.ioc.value, 80)}: {line(worst.terms[0].reason, 200)}." if worst.is_bad else ""
    cases = {case.reference for one in known for case in one.history.cases}
    seen = f" Seen before in {listed(f'case {name}' for name in sorted(cases))}." if cases else ""
    return f"{many(len(known), 'IOC')}: {listed(by_verdict)}.{because}{seen}"


def _finding(one: Reputation, together: list[dict[str, Any]]) -> Finding:
    ioc = one.ioc
    evidence: list[Evidence] = [cite_ioc(ioc, f"{one.verdict}, {one.score} points")]
    evidence += [cite(alert, f"{alert.severity}, {moment(alert.last_seen)}") for alert in one.history.alerts[:5]]
    evidence += [
        Evidence("case", str(case.id), f"{case.reference}: {_outcome(case)}") for case in one.history.cases[:5]
    ]
    actions = {
        "malicious": [f"Block {line(ioc.value, 80)} and look for other hosts that reached it"],
        "suspicious": [f"Watch {line(ioc.value, 80)} and confirm before blocking"],
    }.get(one.verdict, [])
    return Finding(
        title=f"{line(ioc.value, 100)} is {one.verdict}",
        detail="; ".join(f"{term.points:+d} {term.reason}" for term in one.terms),
        confidence=round(min(0.95, abs(one.score) / 100 + 0.1), 2),
        evidence=evidence,
        iocs=[as_ioc(ioc), *({"type": row["type"], "value": row["value"]} for row in together)],
        recommended_actions=actions,
    )


def _as_json(one: Reputation, together: list[dict[str, Any]], scope: Scope) -> dict[str, Any]:
    ioc, history = one.ioc, one.history
    return as_ioc(ioc) | {
        "id": str(ioc.id),
        "reputation": one.verdict,
        "score": one.score,
        "reasons": [{"points": term.points, "reason": term.reason} for term in one.terms],
        "source": ioc.source,
        "confidence": ioc.confidence,
        "status": "expired" if is_expired(ioc, scope.leading.last_seen) else ioc.status,
        "tlp": ioc.tlp,
        "first_seen": ioc.first_seen.isoformat(),
        "last_seen": ioc.last_seen.isoformat(),
        "sightings": ioc.sightings,
        "alerts": {
            "total": history.bearers,
            "others": [{"id": str(a.id), "severity": a.severity, "title": a.title} for a in history.alerts[:20]],
        },
        "cases": [
            {"id": str(case.id), "reference": case.reference, "status": case.status, "resolution": case.resolution}
            for case in history.cases
        ],
        "related": together,
    }


def _severities(one: Reputation) -> str:
    counts = {level: sum(alert.severity == level for alert in one.history.alerts) for level in SEVERITIES}
    return listed(f"{count} {level}" for level, count in counts.items() if count)


def _outcome(case: Case) -> str:
    if case.status != CaseStatus.CLOSED:
        return case.status.replace("_", " ")
    verdict = "closed without a threat" if was_cleared(case) else "closed"
    return f"{verdict}: {line(case.resolution, 100)}" if case.resolution else verdict
