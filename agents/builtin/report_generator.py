"""The case as a report. Every statement in it comes from the case's rows or from the outputs of the other agents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agents.builtin import killchain
from agents.builtin.contract import Finding, Output, Task, Think
from agents.builtin.dossier import Dossier, dossier
from agents.builtin.hypotheses.supposition import evidence
from agents.builtin.report_sections import markdown
from agents.builtin.scope import as_ioc
from agents.builtin.wording import counted, duration, line, listed, many, period, verb
from aurora.texts import words
from cases import attack
from cases.models import Alert
from cases.states import SEVERITIES, AlertStatus, IocType

# What somebody can be asked about, the places outside first; a hash or a user agent tells nobody anything by itself.
_ASKED_ABOUT = (IocType.IP, IocType.DOMAIN, IocType.URL, IocType.EMAIL, IocType.HASH_SHA256)
_EXPECTED = ("security_analyst", "threat_intel", "threat_hunter", "incident_responder")


def analyse(task: Task, think: Think) -> Output:
    """The report on the task's case; on its alert alone when that belongs to none."""
    found = dossier(task)
    _think_through(found, think)
    confidence, reason = _confidence(found)
    summary = executive_summary(found)
    questions = open_questions(found)
    think(f"{many(len(questions), 'open question')}: {listed(map(line, questions), 2)}", {"open_questions": questions})
    report = markdown(found, summary=summary, questions=questions, confidence=confidence, reason=reason)
    think(f"Report written: {len(report.splitlines())} lines.", {"characters": len(report)})
    return Output(
        summary=summary,
        confidence=confidence,
        confidence_reason=reason,
        findings=[_finding(found, summary, confidence)],
        data=_data(found, report, questions),
    )


def executive_summary(found: Dossier) -> str:
    """Three to five sentences: what, how grave, where, what the others concluded, what is to be decided."""
    alerts = found.scope.alerts
    name = f"Case {found.scope.case.reference}" if found.scope.case else "The report"
    if not alerts:
        return f"{name} “{line(found.scope.case.title if found.scope.case else '')}” has no alerts yet."
    first, last = alerts[0].first_seen, max(alert.last_seen for alert in alerts)
    own = [alert for alert in alerts if alert.id not in found.hunted]
    tied = f", the hunt ties {len(found.hunted)} more to it" if found.hunted else ""
    parts = [
        f"{name} holds {many(len(own), 'alert')} ({severities(own)}){tied}; {period(first, last)}{_length(first, last)}, "
        f"{'first ' if len(alerts) > 1 else ''}“{line(alerts[0].title, 100)}”.",
    ]
    hosts, accounts = found.web.all_hosts(alerts), found.web.all_users(alerts)
    if hosts or accounts:
        parts.append(f"It concerns {counted(hosts, 'host')} and {counted(accounts, 'account')}.")
    else:
        parts.append("No alert says which host or account it concerns.")
    tactics = killchain.tactics_of(found.scope.techniques)
    if tactics:
        stages = f" ({len(tactics)} stages: {listed(map(attack.tactic_name, tactics), 14)})" if len(tactics) > 1 else ""
        parts.append(f"The kill chain was seen up to {attack.tactic_name(tactics[-1])}{stages}.")
    if found.supposed:
        best = max(found.supposed, key=lambda one: one.confidence)
        parts.append(f"Most likely: {line(best.title, 200)} ({best.confidence:.0%}).")
    asking = [one for one in found.planned if one.people]
    if asking:
        parts.append(
            f"{many(len(asking), 'action')} {verb(len(asking), 'waits', 'wait')} for a decision, first {words(asking[0].action)} {line(asking[0].target, 80)}."
        )
    return " ".join(parts)


def _length(first: datetime, last: datetime) -> str:
    seconds = (last - first).total_seconds()
    return f" ({duration(seconds)})" if seconds >= 1 else ""


def open_questions(found: Dossier) -> list[str]:
    """What the data leave open: unseen stages, unrated indicators, agents that did not answer, alerts that nobody looked at."""
    questions = [gap.hunt for gap in found.gaps]
    unrated = [one for one in found.reputations if one.verdict == "unknown" and one.ioc.type in _ASKED_ABOUT]
    if unrated:
        unrated.sort(key=lambda one: _ASKED_ABOUT.index(one.ioc.type))
        named = listed((line(one.ioc.value, 80) for one in unrated), 5)
        questions.append(f"What is behind {named}? Nothing on record says whether hostile.")
    silent = [agent for agent in _EXPECTED if agent not in found.answers]
    if silent:
        questions.append(f"What would {listed(map(words, silent))} say? No answer is on record.")
    new = [alert for alert in found.scope.alerts if alert.status == AlertStatus.NEW]
    if new:
        questions.append(f"{many(len(new), 'alert')} not triaged yet, first “{line(new[0].title, 100)}”.")
    if found.scope.alerts and not found.scope.techniques:
        questions.append("Which ATT&CK techniques were used? No sensor named any.")
    return questions


def severities(alerts: list[Alert]) -> str:
    counts = {level: sum(alert.severity == level for alert in alerts) for level in SEVERITIES}
    return listed((f"{count} {level}" for level, count in counts.items() if count), 5)


def _think_through(found: Dossier, think: Think) -> None:
    scope = found.scope
    title = f"case {scope.case.reference}" if scope.case else "an alert without a case"
    ids = [str(alert.id) for alert in scope.alerts[:50]]
    think(
        f"Report on {title}: {many(len(scope.alerts), 'alert')} ({severities(scope.alerts)}), {len(found.hunted)} of them by "
        "the hunt.",
        {"alert_ids": ids},
    )
    think(
        f"{many(len(found.entries), 'timeline entry', 'timeline entries')}, {many(len(scope.assets), 'asset')}, "
        f"{many(len(scope.users), 'account')}, {many(len(scope.iocs), 'IOC')}, {many(len(scope.techniques), 'technique')}.",
        {"assets": scope.assets, "users": scope.users},
    )
    told = [f"{words(agent)} {answer.confidence:.0%}" for agent, answer in found.answers.items()]
    think(f"Answers of {many(len(told), 'agent')}: {listed(told, 8)}.", {"agents": list(found.answers)})
    asking = sum(bool(one.people) for one in found.planned)
    think(
        f"{many(len(found.planned), 'action')} planned, {asking} of them to be approved.",
        {"planned": len(found.planned)},
    )


def _confidence(found: Dossier) -> tuple[float, str]:
    """The mean of the agents' confidences, times the share of the expected agents that answered (at least a quarter)."""
    if not found.answers:
        return 0.25, "0.25: no other agent's answer is on record, the report lists what the sensors said."
    mean = sum(answer.confidence for answer in found.answers.values()) / len(found.answers)
    answered = sum(agent in found.answers for agent in _EXPECTED)
    value = round(max(0.25, mean * max(0.25, answered / len(_EXPECTED))), 2)
    told = ", ".join(f"{words(agent)} {answer.confidence:.2f}" for agent, answer in found.answers.items())
    return value, f"Mean {mean:.2f} of {told}, times {answered} of {len(_EXPECTED)} expected answers."


def _finding(found: Dossier, summary: str, confidence: float) -> Finding:
    return Finding(
        title=f"Report on {found.scope.case.reference if found.scope.case else 'the alert'}",
        detail=summary,
        confidence=confidence,
        evidence=evidence(found.scope.alerts),
        techniques=found.scope.techniques,
        iocs=[as_ioc(ioc) for ioc in found.scope.iocs],
        recommended_actions=[f"{words(one.action)} {line(one.target, 80)}" for one in found.planned[:10]],
    )


def _data(found: Dossier, report: str, questions: list[str]) -> dict[str, Any]:
    case = found.scope.case
    return {
        "markdown": report,
        "case_id": str(case.id) if case else None,
        "reference": case.reference if case else None,
        "alerts": len(found.scope.alerts),
        "agents": {agent: answer.confidence for agent, answer in found.answers.items()},
        "open_questions": questions,
    }
