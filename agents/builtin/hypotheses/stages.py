"""One intrusion through several stages of the kill chain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from agents.builtin import killchain
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Term
from agents.builtin.scope import distinct
from agents.builtin.wording import duration, listed, many, moment, percent
from cases import attack
from cases.models import Alert
from cases.states import URGENT

_LEAST_TACTICS = 3
_LEAST_ALERTS = 3
_LEAST_STRENGTH = 0.3


def intrusion_in_stages(web: Web) -> Iterator[Hypothesis]:
    """Three tactics or more, one of them past the breach, in three alerts or more that hang together, one of them grave."""
    held = [
        alert
        for alert in web.alerts
        if web.reached[alert.id].strength >= _LEAST_STRENGTH
        and not (web.is_sweep(alert) and web.reached[alert.id].hops)
    ]
    staged = [alert for alert in held if killchain.alert_tactics(web.scope, alert)]
    tactics = tactics_in_order(web, staged)
    is_past_breach = any(attack.tactic_rank(tactic) >= killchain.BREACH for tactic in tactics)
    if len(tactics) >= _LEAST_TACTICS and len(staged) >= _LEAST_ALERTS and is_past_breach and _has_a_grave_one(staged):
        yield _intrusion(web, staged, tactics)


def _has_a_grave_one(alerts: Sequence[Alert]) -> bool:
    return any(alert.severity in URGENT for alert in alerts)


def tactics_in_order(web: Web, alerts: Sequence[Alert]) -> list[str]:
    return sorted(
        {tactic for alert in alerts for tactic in killchain.alert_tactics(web.scope, alert)}, key=attack.tactic_rank
    )


def in_kill_chain_order(web: Web, alerts: Sequence[Alert]) -> float:
    """The share of the alerts, in order of time, that also form a row in kill-chain order (longest non-decreasing subsequence)."""
    tails: list[int] = []
    for alert in alerts:
        rank = killchain.latest_rank(web.scope, alert)
        place = bisect_right(tails, rank)
        tails[place : place + 1] = [rank]
    return len(tails) / len(alerts)


def _intrusion(web: Web, staged: list[Alert], tactics: list[str]) -> Hypothesis:
    hosts, users = web.all_hosts(staged), web.all_users(staged)
    first, last = staged[0].first_seen, max(alert.last_seen for alert in staged)
    order = in_kill_chain_order(web, staged)
    links = [web.reached[alert.id].strength for alert in staged if web.reached[alert.id].hops]
    mean = sum(links) / len(links) if links else 1.0
    terms = [
        Term(min(48, 8 * len(tactics)), f"{len(tactics)} tactics"),
        Term(round(20 * order), f"{percent(order)} of the alerts in kill-chain order"),
        Term(round(20 * mean), f"links of {mean:.2f} strength on average"),
    ]
    if len({alert.source for alert in staged}) > 1:
        terms.append(Term(7, "sensors of different kinds agree"))
    return hypothesis(
        "intrusion",
        web,
        staged,
        title=f"One intrusion through {len(tactics)} stages on {listed(hosts, 3)}",
        detail=(
            f"{many(len(staged), 'alert')} from {moment(first)} to {moment(last)} ({duration((last - first).total_seconds())}): "
            f"{' → '.join(map(attack.tactic_name, tactics))}; on {listed(hosts)}, as {listed(users)}."
        ),
        terms=terms,
        hosts=hosts,
        users=users,
        iocs=distinct(ioc.value for alert in staged for ioc in web.scope.of(alert).iocs),
        actions=["Handle these alerts as one case and contain all of its hosts in one go"],
    )
