"""The hunt: from the alert over shared IOCs, assets and users to the chain it belongs to, what that chain means, and what is missing."""

from __future__ import annotations

from collections import Counter
from typing import Any

from agents.builtin import killchain
from agents.builtin.contract import Output, Task, Think
from agents.builtin.hypotheses import Hypothesis, suppose
from agents.builtin.hypotheses.stages import in_kill_chain_order, tactics_in_order
from agents.builtin.hypotheses.supposition import as_json, joint_confidence
from agents.builtin.neighbours import Neighbour, mention, neighbours
from agents.builtin.pivoting import MAX_HOPS, WINDOW, Web, follow
from agents.builtin.scope import as_ioc, distinct, scope_of
from agents.builtin.wording import clock, duration, line, listed, many, moment, percent, quoted
from cases import attack
from cases.models import Alert

# What a hunter would look through for the traces of a stage that no sensor reported.
_WHERE = {
    "reconnaissance": "web server, firewall and DNS logs",
    "initial-access": "mail gateway, web server and VPN logs",
    "execution": "process creation (Sysmon 1, Windows 4688) and script block logs (4104)",
    "persistence": "new services (7045), tasks (4698), run keys and accounts (4720)",
    "privilege-escalation": "special log-ons (4672) and token use",
    "defense-evasion": "cleared logs (1102), stopped agents and excluded paths",
    "credential-access": "LSASS access (Sysmon 10), failed log-ins (4625) and Kerberos tickets (4769)",
    "discovery": "directory queries and net, whoami, nltest command lines",
    "lateral-movement": "network log-ons (4624 type 3 and 10), SMB and WinRM sessions",
    "collection": "archives written and bulk reads of shares (5145)",
    "command-and-control": "DNS, proxy and flow records for even, long-lived outbound sessions",
    "exfiltration": "flow records for large uploads to new places",
    "impact": "shadow copy deletion, mass renames and stopped services",
}
_LESSER_STAGES = frozenset({"resource-development", "privilege-escalation", "defense-evasion", "discovery"})
_MAX_GAPS = 4
_MAX_SHOWN = 100


def analyse(task: Task, think: Think) -> Output:
    """The chain around the task's alert (or around its case's alerts) with the hypotheses that it bears out; none for mere noise."""
    scope = scope_of(task)
    think(
        f"Start from {quoted(scope.leading)}"
        + (f" and {many(len(scope.alerts) - 1, 'other alert')} of the case" if len(scope.alerts) > 1 else "")
        + f"; pivots are {many(len(scope.iocs), 'IOC')}, {many(len(scope.assets), 'asset')}, {many(len(scope.users), 'user')}.",
        {"alert_ids": [str(alert.id) for alert in scope.alerts[:_MAX_SHOWN]]},
    )
    web = follow(scope)
    _think_of_hops(web, think)
    _think_of_hubs(web, think)
    staged = [alert for alert in web.alerts if killchain.alert_tactics(web.scope, alert)]
    _think_of_chain(web, staged, think)
    hypotheses = suppose(web)
    for one in hypotheses[:5]:
        think(
            f"{one.finding.title}: {percent(one.finding.confidence)} ({many(len(one.alerts), 'alert')}).",
            {"alert_ids": [item.id for item in one.finding.evidence]},
        )
    others = neighbours(web)
    for other in others:
        told = mention(web, other)
        think(f"{told.title}: {told.detail}", {"case_id": str(other.case.id)})
    gaps = _gaps(web, staged) if hypotheses else []
    _conclude(web, hypotheses, gaps, think)
    confidence, reason = _confidence(web, hypotheses)
    return Output(
        summary=_summary(web, hypotheses, gaps) + _overlap(others),
        confidence=confidence,
        confidence_reason=reason,
        findings=[*(one.finding for one in hypotheses), *(mention(web, other) for other in others)],
        data=_data(web, hypotheses, gaps)
        | {"other_cases": [{"id": str(other.case.id), "strength": other.strength} for other in others]},
    )


def _think_of_hops(web: Web, think: Think) -> None:
    counts = Counter(reach.hops for reach in web.reached.values())
    for hops in range(1, MAX_HOPS + 1):
        if not counts[hops]:
            think(
                f"Hop {hops}: nothing {'more ' if hops > 1 else ''}within {duration(WINDOW.total_seconds())} before or after.",
                {"hops": hops},
            )
            return
        new = [alert for alert in web.alerts if web.reached[alert.id].hops == hops]
        ways = Counter(relation for alert in new for relation in web.reached[alert.id].relations)
        told = [f"{relation.kind} {line(relation.value, 60)} ({number})" for relation, number in ways.most_common(3)]
        think(
            f"Hop {hops}: {many(counts[hops], 'alert')} by {listed(told)}; hosts {listed(web.all_hosts(new))}.",
            {"hops": hops, "alert_ids": [str(alert.id) for alert in new[:_MAX_SHOWN]]},
        )


def _think_of_hubs(web: Web, think: Think) -> None:
    if web.hubs or web.is_cut:
        hubs = [f"{relation.kind} {line(relation.value, 60)}" for relation in web.hubs]
        cut = f" The web was cut at {many(len(web.alerts), 'alert')}, the strongest." if web.is_cut else ""
        think(f"Too common to follow: {listed(hubs)}.{cut}", {"hubs": hubs})


def _think_of_chain(web: Web, staged: list[Alert], think: Think) -> None:
    if not staged:
        which = "None of them names" if len(web.alerts) > 1 else "The alert does not name"
        think(f"{which} a technique with a known tactic: no chain.", {})
        return
    tactics = tactics_in_order(web, staged)
    order = (
        f"In order of time {percent(in_kill_chain_order(web, staged))} of {len(staged)} alerts follow the kill chain"
    )
    think(
        f"{order if len(staged) > 1 else 'One alert has a place in the kill chain'}: "
        f"{' → '.join(map(attack.tactic_name, tactics))}; {many(len(web.all_hosts(staged)), 'host')}, "
        f"{many(len(web.all_users(staged)), 'user')}.",
        {"tactics": tactics, "alert_ids": [str(alert.id) for alert in staged[:_MAX_SHOWN]]},
    )


def _conclude(web: Web, hypotheses: list[Hypothesis], gaps: list[dict[str, Any]], think: Think) -> None:
    if gaps:
        think(f"Unseen stages to hunt for: {listed(gap['name'] for gap in gaps)}.", {"gaps": gaps})
    if not hypotheses:
        think(f"{many(len(web.alerts), 'alert')} looked at, no pattern of an attack: no hypothesis.", {"hypotheses": 0})


def _gaps(web: Web, staged: list[Alert]) -> list[dict[str, Any]]:
    """Stages before or between those seen, of which no sensor told."""
    tactics = tactics_in_order(web, staged)
    if not tactics:
        return []
    last = attack.tactic_rank(tactics[-1])
    missing = [
        tactic
        for tactic in attack.TACTICS[attack.tactic_rank("initial-access") : last]
        if tactic not in tactics and tactic not in _LESSER_STAGES
    ]
    hosts = web.all_hosts(staged)
    return [_gap(web, staged, tactic, hosts) for tactic in missing[:_MAX_GAPS]]


def _gap(web: Web, staged: list[Alert], tactic: str, hosts: list[str]) -> dict[str, Any]:
    """The hunt's time runs between the neighbours in the kill chain that were seen."""
    rank = attack.tactic_rank(tactic)
    later = [alert for alert in staged if killchain.latest_rank(web.scope, alert) > rank]
    earlier = [alert for alert in staged if killchain.latest_rank(web.scope, alert) < rank]
    until = min(alert.first_seen for alert in later)
    since = min((alert.first_seen for alert in earlier), default=until - WINDOW)
    since = min(since, until)
    return {
        "tactic": tactic,
        "name": attack.tactic_name(tactic),
        "hosts": hosts[:10],
        "since": since.isoformat(),
        "until": until.isoformat(),
        "hunt": (
            f"{attack.tactic_name(tactic)}: search {_WHERE[tactic]} of {listed(hosts)} "
            f"between {moment(since)} and {moment(until)}"
        ),
    }


def _confidence(web: Web, hypotheses: list[Hypothesis]) -> tuple[float, str]:
    """The best hypothesis's, and 3 points more for each further one; without any, the more was looked at the surer."""
    if hypotheses:
        return joint_confidence([one.finding for one in hypotheses])
    others = len(web.alerts) - len([reach for reach in web.reached.values() if not reach.hops])
    value = round(0.5 + min(0.2, 0.02 * others), 2)
    if not others:
        return value, "0.50: there was nothing around the alert to look at; what no sensor saw stays unknown."
    reason = (
        f"0.50 that there is no more to it, and 0.02 for each related alert looked at, of ten at most ({others} here)"
    )
    return value, f"{reason}, without finding a pattern; what no sensor saw stays unknown."


def _summary(web: Web, hypotheses: list[Hypothesis], gaps: list[dict[str, Any]]) -> str:
    start = quoted(web.scope.leading)
    others = len(web.alerts) - 1
    if not hypotheses:
        surroundings = (
            "stands alone" if not others else f"hangs together with {many(others, 'alert')} without a pattern"
        )
        return f"{start} {surroundings} within {duration(WINDOW.total_seconds())}; no hypothesis."
    best = hypotheses[0].finding
    told = [f"{one.finding.title} ({percent(one.finding.confidence)})" for one in hypotheses]
    unseen = f" Not seen but to be expected: {listed(gap['name'] for gap in gaps)}." if gaps else ""
    return f"{listed(told)}. {best.detail.partition(' Confidence in points')[0]}{unseen}"


def _overlap(others: list[Neighbour]) -> str:
    return f" Overlaps with open {listed(f'case {other.case.reference}' for other in others)}." if others else ""


def _data(web: Web, hypotheses: list[Hypothesis], gaps: list[dict[str, Any]]) -> dict[str, Any]:
    concerned = list({alert.id: alert for one in hypotheses for alert in one.alerts}.values())
    return {
        "hypotheses": [as_json(one, _MAX_SHOWN) for one in hypotheses],
        "chain": [_link(web, alert) for alert in web.alerts if killchain.alert_tactics(web.scope, alert)][:_MAX_SHOWN],
        "hosts": web.all_hosts(concerned),
        "host_names": web.aliases,
        "users": web.all_users(concerned),
        "iocs": list({ioc.id: as_ioc(ioc) for alert in concerned for ioc in web.scope.of(alert).iocs}.values()),
        "alerts_reached": len(web.alerts),
        "not_followed": [{"kind": key.kind, "value": key.value, "alerts": number} for key, number in web.hubs.items()],
        "gaps": gaps,
        "hunts": distinct(
            [gap["hunt"] for gap in gaps] + [step for one in hypotheses for step in one.finding.recommended_actions]
        ),
        "since": web.since.isoformat(),
        "until": web.until.isoformat(),
    }


def _link(web: Web, alert: Alert) -> dict[str, Any]:
    reach = web.reached[alert.id]
    return {
        "id": str(alert.id),
        "at": alert.first_seen.isoformat(),
        "clock": clock(alert.first_seen),
        "title": alert.title,
        "severity": alert.severity,
        "tactics": killchain.alert_tactics(web.scope, alert),
        "techniques": web.scope.of(alert).techniques,
        "hosts": web.hosts(alert),
        "users": web.users(alert),
        "hops": reach.hops,
        "strength": reach.strength,
        "by": [{"kind": relation.kind, "value": relation.value} for relation in reach.relations[:5]],
    }
