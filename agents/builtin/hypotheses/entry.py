"""Somebody looked at a host of ours first and broke in next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.builtin import killchain
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Term
from agents.builtin.scope import distinct
from agents.builtin.wording import duration, line, listed, many, moment
from cases.models import Alert
from cases.states import URGENT

_LOOKING = ("reconnaissance", "discovery")
_BREAKING_IN = ("initial-access", "execution", "persistence")
_MAX_FOUND = 3


def scan_then_exploit(web: Web) -> Iterator[Hypothesis]:
    """For each host: reconnaissance, and after it initial access, execution or persistence. The same outside place makes it likelier."""
    scans, breaks = web.with_tactic(*_LOOKING), web.with_tactic(*_BREAKING_IN)
    found = []
    for host in web.all_hosts(scans):
        looked = [alert for alert in scans if host in _targets(web, alert)]
        broke = [alert for alert in breaks if host in _targets(web, alert) and alert not in looked]
        if looked and broke:
            broke = [alert for alert in broke if alert.last_seen >= looked[0].first_seen]
        if looked and broke:
            found.append(_entered(web, host, looked, broke))
    yield from sorted(found, key=lambda one: -one.finding.confidence)[:_MAX_FOUND]


def _targets(web: Web, alert: Alert) -> list[str]:
    """The hosts that the alert's connection went to; those it names, when it went to none of ours or tells of no connection."""
    target = web.destination(alert)
    source = web.source(alert)
    return [target] if target else [host for host in web.hosts(alert) if host != source or alert.source != "suricata"]


def _entered(web: Web, host: str, looked: Sequence[Alert], broke: Sequence[Alert]) -> Hypothesis:
    scanned = {ioc.value for alert in looked for ioc in web.scope.of(alert).iocs}
    shared = [value for value in distinct(_iocs(web, broke)) if value in scanned]
    gap = max(0.0, (broke[0].first_seen - looked[0].first_seen).total_seconds())
    origin = f" by {listed((line(value, 80) for value in shared), 2)}" if shared else ""
    techniques = distinct(name for alert in broke for name in web.scope.of(alert).techniques)
    return hypothesis(
        "scan_then_exploit",
        web,
        [*looked, *broke],
        title=f"{host} scanned and then exploited{origin}",
        detail=(
            f"{many(sum(alert.count for alert in looked), 'probe')} of {host} from {moment(looked[0].first_seen)}, then "
            f"{many(len(broke), 'alert')} of entry from {moment(broke[0].first_seen)}, {duration(gap)} later: "
            f"{listed(map(killchain.named_technique, techniques))}."
        ),
        terms=list(_terms(web, looked, broke, shared, gap)),
        hosts=[host],
        users=web.all_users(broke),
        iocs=shared or distinct(_iocs(web, looked)),
        actions=[
            f"Look on {host} for files, accounts and processes new since {moment(broke[0].first_seen)}",
            *(f"Block {line(value, 80)} and look where else it knocked" for value in shared[:3]),
        ],
    )


def _terms(
    web: Web, looked: Sequence[Alert], broke: Sequence[Alert], shared: Sequence[str], gap: float
) -> Iterator[Term]:
    if shared:
        yield Term(30, "reconnaissance before entry on the same host")
        yield Term(30, "both from the same outside place")
    elif any(alert.severity in URGENT for alert in broke):
        yield Term(30, "reconnaissance before a grave entry on the same host")
    else:
        # Whatever stands on the internet is scanned every hour, before anything that happens on it.
        yield Term(15, "reconnaissance before, by whom is open")
    if gap <= 6 * 3600:
        yield Term(10, f"{duration(gap)} between them")
    if len({alert.source for alert in broke}) > 1:
        yield Term(10, "sensors of different kinds saw the entry")
    if any(killchain.has_tactic(web.scope, alert, "persistence") for alert in broke):
        yield Term(8, "something was left behind to stay")


def _iocs(web: Web, alerts: Sequence[Alert]) -> Iterator[str]:
    return (ioc.value for alert in alerts for ioc in web.scope.of(alert).iocs)
