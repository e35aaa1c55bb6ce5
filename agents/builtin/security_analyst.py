"""Triage: how grave an alert is and why, what it names, and what else happened around it within a quarter of an hour.

The score starts from the sensor's severity and moves by terms that are each explained; bands turn it back into a severity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from agents.builtin import assets, killchain
from agents.builtin.contract import Evidence, Finding, Output, Task, Think
from agents.builtin.hypotheses.supposition import LEAST_CONFIDENCE
from agents.builtin.pivoting import PRIOR
from agents.builtin.reputation import Reputation, Term, reputations
from agents.builtin.scope import Scope, as_ioc, cite, cite_ioc, distinct, named_by, scope_of
from agents.builtin.wording import counted, duration, line, listed, many, none_of, percent, period, quoted, verb
from cases import attack
from cases.correlation import Related, related_alerts
from cases.states import AlertStatus, Severity

WINDOW = timedelta(minutes=15)
WIDER = timedelta(hours=24)

_SENSOR = {"critical": 80, "high": 62, "medium": 42, "low": 22, "info": 6}
BANDS = ((78, "critical"), (58, "high"), (38, "medium"), (18, "low"), (0, "info"))
"""The least score of each severity."""

_ASSET_POINTS = (0, 0, 4, 9, 13)
_MAX_RELATED = 50


@dataclass(frozen=True, slots=True)
class _Picture:
    """All that the judgement rests on. `window` is the one in which `related` were found."""

    scope: Scope
    known: list[Reputation]
    related: list[Related]
    window: timedelta


def analyse(task: Task, think: Think) -> Output:
    """Triage of the task's alert, or of the case's gravest one with the rest of the case as its surroundings."""
    scope = scope_of(task)
    alert = scope.leading
    _introduce(scope, think)
    known = reputations(iocs=scope.iocs, but_alerts=scope.alerts, but_case=scope.case, now=alert.last_seen)
    _think_of_indicators(known, think)
    related, window = _related(scope, think)
    picture = _Picture(scope, known, related, window)
    _think_of_techniques(scope, think)
    terms = list(_terms(picture))
    score = max(0, min(100, sum(term.points for term in terms)))
    severity = severity_of(score)
    think(
        f"Score {score} of 100: " + "; ".join(f"{term.points:+d} {term.reason}" for term in terms),
        {"score": score, "terms": [_as_json(term) for term in terms]},
    )
    think(_severity_sentence(alert.severity, severity, score), {"severity": severity, "sensor": alert.severity})
    confidence, reason = _confidence(picture, terms, score)
    return Output(
        summary=_summary(picture, severity, score),
        confidence=confidence,
        confidence_reason=reason,
        findings=_findings(picture, severity, terms, confidence),
        data=_data(picture, severity, score, terms),
    )


def severity_of(score: int) -> str:
    """The severity whose band the score (0–100) falls into."""
    return next(severity for least, severity in BANDS if score >= least)


def _introduce(scope: Scope, think: Think) -> None:
    alert = scope.leading
    of_case = f" (the gravest of {many(len(scope.alerts), 'alert')} of the case)" if not scope.focus else ""
    think(
        f"{alert.source} reports {quoted(alert)} as {alert.severity}, seen {many(alert.count, 'time')} "
        f"{period(alert.first_seen, alert.last_seen)}{of_case}.",
        {"alert_ids": [str(alert.id)]},
    )
    think(
        f"It names {counted(scope.assets, 'asset')}, {counted(scope.users, 'user')} and "
        f"{counted([ioc.value for ioc in scope.iocs], 'IOC')}.",
        {"assets": scope.assets, "users": scope.users, "iocs": [as_ioc(ioc) for ioc in scope.iocs]},
    )


def _think_of_indicators(known: list[Reputation], think: Think) -> None:
    bad = [one for one in known if one.is_bad]
    if not known:
        think("No IOC to look up: what is outside stays unknown.", {})
    elif bad:
        worst = bad[0]
        reasons = "; ".join(term.reason for term in worst.terms)
        think(
            f"{len(bad)} of {many(len(known), 'IOC')} {verb(len(bad), 'is', 'are')} known to be bad; worst is {line(worst.ioc.value, 80)} "
            f"({worst.verdict}, {worst.score} points: {line(reasons, 300)}).",
            {"ioc_ids": [str(one.ioc.id) for one in bad]},
        )
    else:
        think(f"{none_of(len(known), 'IOC')} known to be bad.", {"ioc_ids": [str(o.ioc.id) for o in known]})


def _related(scope: Scope, think: Think) -> tuple[list[Related], timedelta]:
    alert = scope.leading
    for window in (WINDOW, WIDER):
        found = related_alerts(alert=alert, window=window, limit=_MAX_RELATED)
        span = duration(window.total_seconds())
        if found:
            kinds = distinct(relation.kind for one in found for relation in one.relations)
            think(
                f"{many(len(found), 'related alert')} within {span}, tied by {listed(kinds)}; closest is "
                f"{quoted(found[0].alert)} ({_ties(found[0])}, {duration(found[0].seconds_apart)} apart).",
                {"alert_ids": [str(one.alert.id) for one in found]},
            )
            return found, window
        think(
            f"No other alert within {span} shares an IOC, host, user or technique.", {"minutes": window.seconds // 60}
        )
    return [], WIDER


def _think_of_techniques(scope: Scope, think: Think) -> None:
    techniques = scope.techniques
    if not techniques:
        think("The sensor names no ATT&CK technique, so its place in the kill chain is open.", {})
        return
    tactics = killchain.tactics_of(techniques)
    place = (
        f"furthest along the kill chain is {attack.tactic_name(tactics[-1])}"
        if tactics
        else "ATT&CK Enterprise does not list it, so its place in the kill chain is open"
    )
    think(
        f"{many(len(techniques), 'technique')}: {listed(map(killchain.named_technique, techniques))}; {place}.",
        {"techniques": killchain.described(techniques)},
    )


def _terms(picture: _Picture) -> Iterator[Term]:
    alert = picture.scope.leading
    yield Term(_SENSOR[alert.severity], f"{alert.source} rates it {alert.severity}")
    yield from _repetition(picture)
    yield from _asset(picture)
    yield from _kill_chain(picture)
    yield from _indicators(picture)
    yield from _surroundings(picture)
    if str(alert.metadata.get("action", "")).lower() in ("blocked", "denied", "drop", "dropped"):
        yield Term(-8, "the sensor blocked it")


def _repetition(picture: _Picture) -> Iterator[Term]:
    alert = picture.scope.leading
    if alert.count < 2:
        return
    seconds = (alert.last_seen - alert.first_seen).total_seconds()
    points = min(6, round(2 * math.log10(alert.count)))
    per_hour = alert.count / max(seconds / 3600, 1 / 60)
    rate = f", about {per_hour:.0f} an hour" if seconds else ""
    points += 2 if per_hour >= 60 and alert.count >= 10 else 0
    if points:
        yield Term(points, f"it fired {alert.count} times in {duration(seconds)}{rate}")


def _asset(picture: _Picture) -> Iterator[Term]:
    worst = assets.most_critical(picture.scope, [picture.scope.leading])
    if worst and _ASSET_POINTS[worst.level]:
        level = assets.LEVELS[worst.level]
        yield Term(_ASSET_POINTS[worst.level], f"{worst.asset} is of {level} importance ({worst.role}: {worst.reason})")


def _kill_chain(picture: _Picture) -> Iterator[Term]:
    rank = killchain.latest_rank(picture.scope, picture.scope.leading)
    if rank < killchain.BREACH:
        return
    points = 4 if rank < killchain.LATE else 8
    tactic = attack.TACTICS[rank]
    points += 4 if tactic in ("exfiltration", "impact") else 0
    yield Term(points, f"its technique serves {attack.tactic_name(tactic)}, stage {rank + 1} of {len(attack.TACTICS)}")


def _indicators(picture: _Picture) -> Iterator[Term]:
    if not picture.known:
        return
    worst = picture.known[0]
    if worst.is_bad:
        points = 16 if worst.verdict == "malicious" else 7
        yield Term(points, f"{line(worst.ioc.value, 80)} is {worst.verdict} ({worst.score} points)")
    elif all(one.verdict == "benign-known" for one in picture.known):
        is_alone = len(picture.known) == 1
        yield Term(
            -14,
            "its only IOC is known to be harmless"
            if is_alone
            else f"all {len(picture.known)} IOCs are known to be harmless",
        )


def _surroundings(picture: _Picture) -> Iterator[Term]:
    live = [one for one in picture.related if one.alert.status != AlertStatus.FALSE_POSITIVE]
    if not live:
        return
    weight = sum(one.strength for one in live)
    points = min(10, round(4 * weight)) if picture.window == WINDOW else min(4, round(2 * weight))
    span = duration(picture.window.total_seconds())
    if points:
        yield Term(points, f"{many(len(live), 'related alert')} within {span}")
    named = named_by([one.alert for one in live])
    tactics = killchain.tactics_of(name for one in named.values() for name in one.techniques)
    if len(tactics) >= 3:
        yield Term(6, f"together they cover {len(tactics)} tactics ({listed(map(attack.tactic_name, tactics))})")


def _confidence(picture: _Picture, terms: list[Term], score: int) -> tuple[float, str]:
    """0.4, and 0.12 for each kind of evidence at hand; 0.1 off when a few points more or less would change the severity."""
    kinds = {
        "the sensor's technique": bool(picture.scope.techniques),
        "knowledge of its IOCs": any(one.terms for one in picture.known),
        "related alerts": bool(picture.related),
        "a recognised asset": any(assets.criticality(name).level for name in picture.scope.assets),
    }
    held = [kind for kind, is_there in kinds.items() if is_there]
    margin = min(abs(score - least) for least, _ in BANDS[:-1])
    confidence = 0.4 + 0.12 * len(held) - (0.1 if margin < 3 else 0)
    near = f", less 0.10 because {score} lies within 3 points of another severity" if margin < 3 else ""
    lacking = [kind for kind in kinds if kind not in held]
    without = f"; without {listed(lacking)}" if lacking else ""
    more = f" and 0.12 for each of {many(len(held), 'further kind')} of evidence ({listed(held)})" if held else " alone"
    return round(confidence, 2), (
        f"0.40 for the sensor's own rating{more}{without}{near}; {many(len(terms), 'term')} in the score."
    )


def _severity_sentence(sensor: str, severity: str, score: int) -> str:
    order = list(Severity.values)
    if severity == sensor:
        return f"{score} points confirm the sensor's {sensor}."
    verb = "raise" if order.index(severity) < order.index(sensor) else "lower"
    return f"{score} points {verb} the severity from {sensor} to {severity}."


def _ties(one: Related) -> str:
    return listed((f"{relation.kind} {line(relation.value, 60)}" for relation in one.relations), 3)


def _summary(picture: _Picture, severity: str, score: int) -> str:
    scope, alert = picture.scope, picture.scope.leading
    named = scope.of(alert).assets
    parts = [
        f"{quoted(alert)}{f' on {listed(named)}' if named else ', which names no asset'}: {severity} ({score} points; {alert.source} said "
        f"{alert.severity}), {many(alert.count, 'occurrence')} {period(alert.first_seen, alert.last_seen)}."
    ]
    bad = [one for one in picture.known if one.is_bad]
    if bad:
        parts.append(f"Known bad: {listed(f'{line(one.ioc.value, 80)} ({one.verdict})' for one in bad)}.")
    span = duration(picture.window.total_seconds())
    if picture.related:
        parts.append(
            f"{many(len(picture.related), 'related alert')} within {span}, closest {quoted(picture.related[0].alert)} "
            f"by {_ties(picture.related[0])}."
        )
    else:
        parts.append(f"It stands alone: nothing within {span} shares an IOC, host, user or technique.")
    return " ".join(parts)


def _findings(picture: _Picture, severity: str, terms: list[Term], confidence: float) -> list[Finding]:
    scope, alert = picture.scope, picture.scope.leading
    bad = [one for one in picture.known if one.is_bad]
    evidence = [cite(alert)]
    evidence += [cite_ioc(one.ioc, f"{one.verdict}, {one.score} points") for one in bad[:10]]
    found = [
        Finding(
            title=f"Severity {severity} for {line(alert.title, 100)}",
            detail="; ".join(f"{term.points:+d} {term.reason}" for term in terms),
            confidence=confidence,
            evidence=evidence,
            techniques=scope.techniques,
            iocs=[as_ioc(ioc) for ioc in scope.iocs],
            recommended_actions=_next_steps(picture, severity),
        )
    ]
    likely = [one for one in picture.related if _likelihood(one) >= LEAST_CONFIDENCE]
    if likely:
        found.append(_related_finding(picture, sorted(likely, key=lambda one: -_likelihood(one))))
    return found


def _likelihood(one: Related) -> float:
    """That it is part of the same: what is shared, times what its severity makes of it. A host has low alerts of its own every hour."""
    return one.strength * PRIOR[one.alert.severity]


def _related_finding(picture: _Picture, likely: list[Related]) -> Finding:
    strongest = likely[:10]
    cited: list[Evidence] = [
        cite(one.alert, f"{_ties(one)}; {duration(one.seconds_apart)} apart; strength {percent(one.strength)}")
        for one in strongest
    ]
    span = duration(picture.window.total_seconds())
    sources = distinct(one.alert.source for one in likely)
    return Finding(
        title=f"{many(len(likely), 'related alert')} within {span}",
        detail=f"Reported by {listed(sources)}; strongest: "
        + "; ".join(f"{quoted(one.alert)} by {_ties(one)}" for one in strongest[:3]),
        confidence=round(min(0.95, _likelihood(strongest[0])), 2),
        evidence=cited,
    )


def _next_steps(picture: _Picture, severity: str) -> list[str]:
    steps = []
    if severity in ("critical", "high"):
        named = [*picture.scope.assets, *picture.scope.users]
        hunt = (
            f"hunt from {listed(named, 3)}"
            if named
            else "ask its sensor what it was about: it names no asset and no user"
        )
        steps.append(f"Acknowledge now and {hunt}")
    steps += [f"Treat {line(one.ioc.value, 80)} as {one.verdict}" for one in picture.known[:3] if one.is_bad]
    if not picture.scope.techniques:
        steps.append(f"Name the ATT&CK technique behind {quoted(picture.scope.leading)}")
    return steps


def _data(picture: _Picture, severity: str, score: int, terms: list[Term]) -> dict[str, Any]:
    scope = picture.scope
    return {
        "alert_id": str(scope.leading.id),
        "severity": severity,
        "sensor_severity": scope.leading.severity,
        "score": score,
        "terms": [_as_json(term) for term in terms],
        "iocs": [as_ioc(one.ioc) | {"reputation": one.verdict, "score": one.score} for one in picture.known],
        "techniques": killchain.described(scope.techniques),
        "window_seconds": int(picture.window.total_seconds()),
        "related_alerts": [
            {
                "id": str(one.alert.id),
                "title": one.alert.title,
                "severity": one.alert.severity,
                "seconds_apart": one.seconds_apart,
                "strength": one.strength,
                "relations": [{"kind": relation.kind, "value": relation.value} for relation in one.relations],
            }
            for one in picture.related
        ],
    }


def _as_json(term: Term) -> dict[str, Any]:
    return {"points": term.points, "reason": term.reason}
