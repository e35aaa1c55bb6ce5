"""The response: which playbook fits, what to contain in which order, what to keep before, and what a human has to approve."""

from __future__ import annotations

from typing import Any

from agents.builtin import assets
from agents.builtin.containment import Measure, contain
from agents.builtin.contract import Evidence, Finding, Output, Task, Think
from agents.builtin.fitting import LEAST, Fit, certainty, fits
from agents.builtin.hypotheses.supposition import evidence
from agents.builtin.scope import cite_ioc, gravity
from agents.builtin.situation import Situation, situation
from agents.builtin.wording import line, listed, many, moment, quoted, verb
from aurora.texts import words
from cases.states import IocType

_MAX_TIMELINE = 100
_PLACES = (IocType.IP, IocType.DOMAIN, IocType.URL)


def analyse(task: Task, think: Think) -> Output:
    """A containment plan for the task's alert or case. Nothing is carried out here: `actions_taken` is empty by nature."""
    found = situation(task)
    _introduce(found, think)
    ranked = fits(found)
    chosen = ranked[0] if ranked and ranked[0].score >= LEAST else None
    _think_of_playbooks(ranked, chosen, think)
    _think_of_hosts(found, think)
    _think_of_outside(found, think)
    measures = contain(found, chosen.playbook.name if chosen else None)
    _think_of_plan(measures, think)
    confidence, reason = certainty(ranked)
    return Output(
        summary=_summary(found, chosen, ranked, measures),
        confidence=confidence,
        confidence_reason=reason,
        findings=[_finding(found, chosen, ranked, measures, confidence)],
        data=_data(found, chosen, ranked, measures),
    )


def _introduce(found: Situation, think: Think) -> None:
    think(
        f"Respond to {quoted(found.scope.leading)} with {many(len(found.web.alerts), 'alert')} of the case and the hunt, "
        f"{many(len(found.supposed), 'hypothesis', 'hypotheses')}, "
        f"{many(len(found.reputations), 'IOC')}, {sum(one.is_bad for one in found.reputations) or 'none'} known to be bad.",
        {"alert_ids": [str(alert.id) for alert in found.web.alerts[:50]]},
    )


def _think_of_playbooks(ranked: list[Fit], chosen: Fit | None, think: Think) -> None:
    scores = {fit.playbook.name: fit.score for fit in ranked}
    if chosen is None:
        told = listed(f"{fit.playbook.title} {fit.score}" for fit in ranked)
        think(f"No playbook reaches {LEAST} points ({told}).", {"scores": scores})
        return
    think(
        f"{chosen.playbook.title} fits best with {chosen.score} points: "
        + "; ".join(term.reason for term in chosen.terms),
        {"scores": scores},
    )
    if len(ranked) > 1:
        second = ranked[1]
        think(
            f"Runner-up is {second.playbook.title} with {second.score} points: "
            + "; ".join(term.reason for term in second.terms),
            {"scores": scores},
        )


def _think_of_hosts(found: Situation, think: Think) -> None:
    told = []
    for host in found.breached:
        known = found.criticality(host)
        told.append(f"{host} ({known.role}, {assets.LEVELS[known.level]})")
    think(
        f"Breached: {listed(told)}. Touched without signs of a breach: {listed(found.touched)}. "
        f"Accounts in play: {listed(found.accounts)}.",
        {"breached": found.breached, "touched": found.touched, "accounts": found.accounts},
    )


def _think_of_outside(found: Situation, think: Think) -> None:
    hostile = [(one, reason) for one, reason in found.hostile() if one.ioc.type in _PLACES]
    told = [f"{line(one.ioc.value, 80)} ({line(reason, 120)})" for one, reason in hostile]
    think(
        f"To cut off outside: {listed(told, 3)}." if told else "No outside place is known or supposed to be hostile.",
        {"ioc_ids": [str(one.ioc.id) for one, _ in hostile]},
    )


def _think_of_plan(measures: list[Measure], think: Think) -> None:
    asking = [one for one in measures if one.approval.is_needed]
    free = [one for one in measures if not one.approval.is_needed]
    think(
        f"{many(len(measures), 'action')}: {len(free)} may run at once, first {_named(measures[0])}; "
        f"{len(asking)} {verb(len(asking), 'needs', 'need')} approval.",
        {"actions": [_named(one) for one in measures]},
    )
    if asking:
        reasons = listed(dict.fromkeys(f"{words(one.action.name)}: {one.approval.reason}" for one in asking))
        think(f"Approval: {reasons}.", {"actions": [_named(one) for one in asking]})


def _named(measure: Measure) -> str:
    return f"{words(measure.action.name)} {line(measure.target, 80)}"


def _summary(found: Situation, chosen: Fit | None, ranked: list[Fit], measures: list[Measure]) -> str:
    if chosen:
        runner_up = f", before {ranked[1].playbook.title} ({ranked[1].score})" if len(ranked) > 1 else ""
        parts = [f"{chosen.playbook.title} fits ({chosen.score} points{runner_up}): {chosen.terms[0].reason}."]
    else:
        parts = [f"No playbook fits {quoted(found.scope.leading)}; the plan is made of single actions."]
    first = measures[0]
    asking = [one for one in measures if one.approval.is_needed]
    parts.append(f"First {_named(first)}: {line(first.why, 200)}.")
    if found.breached:
        parts.append(f"Contain {listed(found.breached)}.")
    if asking:
        need = verb(len(asking), "needs", "need")
        parts.append(
            f"{len(asking)} of {many(len(measures), 'action')} {need} approval: {listed(map(_named, asking))}."
        )
    else:
        parts.append("No action needs approval.")
    return " ".join(parts)


def _finding(
    found: Situation, chosen: Fit | None, ranked: list[Fit], measures: list[Measure], confidence: float
) -> Finding:
    alerts = sorted(found.web.alerts, key=lambda alert: (gravity(alert), alert.first_seen))[:8]
    cited: list[Evidence] = evidence(alerts)
    cited += [cite_ioc(one.ioc, line(reason, 200)) for one, reason in found.hostile()[:8]]
    name = chosen.playbook.title if chosen else "no playbook"
    best = ranked[0].terms if ranked else ()
    return Finding(
        title=f"Response: {name}, {many(len(measures), 'action')}",
        detail="; ".join(f"{term.points:+d} {term.reason}" for term in best) or "no sign of any playbook's trigger",
        confidence=confidence,
        evidence=cited,
        techniques=found.scope.techniques,
        iocs=[{"type": one.ioc.type, "value": one.ioc.value} for one, _ in found.hostile()],
        recommended_actions=[
            f"{_named(one)}: {line(one.why, 200)}"
            + (f" [{many(one.approval.people, 'approval')}]" if one.approval.is_needed else "")
            for one in measures
        ],
    )


def _data(found: Situation, chosen: Fit | None, ranked: list[Fit], measures: list[Measure]) -> dict[str, Any]:
    rows = [_as_json(number, measure) for number, measure in enumerate(measures, 1)]
    evidence_first = [row for row in rows if row["action"] == "collect_forensics"]
    runner_up = next((fit for fit in ranked if fit is not chosen), None)
    return {
        "playbook": _fit(chosen),
        "runner_up": _fit(runner_up),
        "plan": rows,
        "first": rows[0],
        "keep_before": [f"{row['target']}: {row['why']}" for row in evidence_first],
        "actions_taken": [],
        "actions_needing_approval": [row for row in rows if row["people"]],
        "assets": [
            {
                "asset": host,
                "level": assets.LEVELS[found.criticality(host).level],
                "role": found.criticality(host).role,
                "reason": found.criticality(host).reason,
                "is_breached": host in found.breached,
            }
            for host in (*found.breached, *found.touched)
        ],
        "accounts": found.accounts,
        "timeline": [
            {"at": alert.first_seen.isoformat(), "time": moment(alert.first_seen), "source": alert.source,
             "alert_id": str(alert.id), "title": alert.title, "severity": alert.severity, "count": alert.count}
            for alert in found.web.alerts[:_MAX_TIMELINE]
        ],
    }  # fmt: skip


def _fit(fit: Fit | None) -> dict[str, Any] | None:
    if fit is None:
        return None
    return {
        "name": fit.playbook.name,
        "trigger": fit.playbook.trigger,
        "score": fit.score,
        "reasons": [{"points": term.points, "reason": term.reason} for term in fit.terms],
        "steps": [{"name": s.name, "action": s.action, "asks": s.asks} for s in fit.playbook.steps],
    }


def _as_json(number: int, measure: Measure) -> dict[str, Any]:
    return {
        "order": number,
        "action": measure.action.name,
        "target": measure.target,
        "why": measure.why,
        "risk": measure.action.risk.value,
        "is_reversible": measure.action.is_reversible,
        "undo": measure.action.undo,
        "is_critical": measure.is_critical,
        "needs_approval": measure.approval.is_needed,
        "people": measure.approval.people,
        "approval_reason": measure.approval.reason,
    }
