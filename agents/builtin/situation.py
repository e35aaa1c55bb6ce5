"""What the responder acts on: the case's alerts with those of the hunt, and which hosts, accounts and outside places are involved how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.builtin import assets, killchain, previous
from agents.builtin.contract import Task
from agents.builtin.pivoting import Reach, Web, bare_account
from agents.builtin.previous import Supposed
from agents.builtin.reputation import Reputation, reputations
from agents.builtin.scope import Scope, alerts_of, distinct, gravity, in_order, named_by, scope_of
from agents.builtin.wording import quoted
from cases import attack, observables
from cases.models import Alert, Ioc
from cases.states import AlertStatus, IocType

_MEDIUM = 2
_MAX_FROM_HUNT = 200
_BREACHED_BY = frozenset({"beaconing", "lateral_movement", "exfiltration", "scan_then_exploit", "stolen_credentials"})
ACCOUNTS_TAKEN_BY = ("stolen_credentials", "lateral_movement")
_CREDENTIALS = ("credential-access", "lateral-movement")
# What a technique of entry says of the places that its alert names: the first that fits.
_ENTRY_REASONS = (
    ("T1110", (IocType.IP,), "the log-ins came from it"),
    ("T1190", (IocType.IP,), "the exploit came from it"),
    ("T1566", (IocType.DOMAIN, IocType.URL), "the phishing mail names it"),
)
_ACCOUNT_TECHNIQUES = ("T1098", "T1136", "T1556", "T1078")
_OUTSIDE_OF = ("command-and-control", "exfiltration")


@dataclass(frozen=True, slots=True)
class Situation:
    """`breached` are hosts on which something of an attacker's ran, furthest along the kill chain first; `touched` the others."""

    web: Web
    supposed: list[Supposed]
    reputations: list[Reputation]
    breached: list[str]
    touched: list[str]
    accounts: list[str]

    @property
    def scope(self) -> Scope:
        return self.web.scope

    def supposes(self, *kinds: str) -> list[Supposed]:
        return [one for one in self.supposed if one.kind in kinds]

    def criticality(self, host: str) -> assets.Criticality:
        types = {alert.asset_type for alert in self.web.alerts if self.web.hosts(alert) == [host] and alert.asset_type}
        return max((assets.criticality(host, kind) for kind in types or {""}), key=lambda one: one.level)

    def is_ours(self, ioc: Ioc) -> bool:
        """Whether it is an address, a host or a mailbox of our own: nothing to block, whatever an alert says of it.

        Ours is what a sensor calls an affected asset, and the domains of its mailboxes; other names may be made to look like ours.
        """
        value = ioc.value.lower()
        domains = {name.partition("@")[2] for name in self.scope.assets if "@" in name}
        if ioc.type == IocType.IP:
            return observables.is_internal_ip(value)
        if ioc.type == IocType.EMAIL:
            return value.partition("@")[2] in domains
        if ioc.type not in (IocType.DOMAIN, IocType.URL):
            return False
        host = observables.host_of(value) if ioc.type == IocType.URL else value
        return host in self.scope.assets or any(host == name or host.endswith(f".{name}") for name in domains)

    def hostile(self) -> list[tuple[Reputation, str]]:
        """Outside indicators to act on, each with the reason: known to be bad, or part of C2, exfiltration or an entry."""
        found = []
        for one in self.reputations:
            reason = "" if self.is_ours(one.ioc) else _reason(self, one)
            if reason:
                found.append((one, reason))
        return found


def situation(task: Task) -> Situation:
    """Raises as `scope_of` does."""
    own = scope_of(task)
    supposed = previous.hypotheses(task.earlier.get("threat_hunter"))
    alerts = _gathered(own, supposed)
    scope = Scope(alerts, own.case, own.focus, named_by(alerts))
    names = previous.host_names(task.earlier.get("threat_hunter"))
    reached = {alert.id: Reach(0, 1.0, ()) for alert in alerts}
    web = Web(scope, reached, alerts[0].first_seen, alerts[-1].last_seen, known_names=names)
    now = max(alert.last_seen for alert in alerts)
    known = reputations(iocs=scope.iocs, but_alerts=alerts, but_case=own.case, now=now)
    hosts = web.all_hosts(alerts)
    breached = _breached(web, supposed, hosts)
    touched = [host for host in hosts if host not in breached]
    return Situation(web, supposed, known, breached, touched, _accounts(web, supposed))


def hunted_alerts(supposed: Sequence[Supposed], *, is_wide: bool = False) -> list[Alert]:
    """The alerts on which the hunter's hypotheses rest, without those judged false positives since.

    The hypothesis of one intrusion gathers widely: what is acted on heeds it only where no pattern of its own was found; what is merely
    reconstructed (`is_wide`) takes all of it.
    """
    particular = supposed if is_wide else [one for one in supposed if one.kind != "intrusion"] or supposed
    ids = distinct(str(alert_id) for one in particular for alert_id in one.alert_ids)[:_MAX_FROM_HUNT]
    return list(Alert.objects.filter(id__in=ids).exclude(status=AlertStatus.FALSE_POSITIVE).defer("raw"))


def _gathered(own: Scope, supposed: Sequence[Supposed]) -> list[Alert]:
    """The task's alerts, its case's, and those on which the hunter's hypotheses rest; none that was judged a false positive."""
    others = [alert for alert in alerts_of(own.case) if alert.status != AlertStatus.FALSE_POSITIVE]
    found = {alert.id: alert for alert in (*hunted_alerts(supposed), *others, *own.alerts)}
    return in_order(found.values())


def _breached(web: Web, supposed: Sequence[Supposed], hosts: list[str]) -> list[str]:
    ranks: dict[str, int] = {}
    for alert in web.alerts:
        rank = killchain.latest_rank(web.scope, alert)
        if rank >= killchain.BREACH and gravity(alert) <= _MEDIUM:
            for host in _where_it_ran(web, alert):
                ranks[host] = max(ranks.get(host, 0), rank)
    for one in supposed:
        for host in one.hosts if one.kind in _BREACHED_BY else ():
            if host in hosts:
                ranks.setdefault(host, killchain.BREACH)
    return sorted(ranks, key=lambda host: (-ranks[host], host))


def _where_it_ran(web: Web, alert: Alert) -> list[str]:
    """Both ends of lateral movement; else the host inside that opened the connection, or the alert's own hosts."""
    source, target = web.source(alert), web.destination(alert)
    if killchain.has_tactic(web.scope, alert, "lateral-movement"):
        return distinct([source, *web.hosts(alert)] if source else web.hosts(alert))
    if source and not target:
        return [source]
    own = [host for host in web.hosts(alert) if host not in (source, target)]
    return own or ([source] if source else web.hosts(alert))


def _accounts(web: Web, supposed: Sequence[Supposed]) -> list[str]:
    """Accounts whose credentials were attacked and used, as supposed, or used to move between hosts."""
    users = web.all_users(web.alerts)
    named = [user for one in supposed if one.kind in ACCOUNTS_TAKEN_BY for user in one.users]
    seen = web.all_users(alert for alert in web.with_tactic(*_CREDENTIALS) if gravity(alert) <= _MEDIUM)
    used = web.all_users(
        alert for alert in web.alerts if gravity(alert) <= _MEDIUM and _is_of_accounts(web.scope, alert)
    )
    return [user for user in distinct([*map(bare_account, named), *seen, *used]) if user in users]


def _is_of_accounts(scope: Scope, alert: Alert) -> bool:
    return any(name.startswith(_ACCOUNT_TECHNIQUES) for name in scope.of(alert).techniques)


def _reason(found: Situation, one: Reputation) -> str:
    if one.verdict == "benign-known":
        return ""
    if one.is_bad:
        return f"{one.verdict}, {one.score} points: {one.terms[0].reason}"
    for hypothesis in found.supposes("beaconing", "exfiltration", "scan_then_exploit"):
        if one.ioc.value in hypothesis.iocs:
            return hypothesis.title
    return _by_entry(found, one) or _by_tactic(found, one)


def _by_entry(found: Situation, one: Reputation) -> str:
    """By what the techniques of the leading alert, and of the others in its case, say of the places that they name."""
    leading = found.scope.leading
    others = [
        alert for alert in found.web.alerts if alert.case_id and alert.case_id == leading.case_id and alert != leading
    ]
    for alert in [leading, *others]:
        techniques = found.scope.of(alert).techniques
        if gravity(alert) > _MEDIUM or all(ioc.id != one.ioc.id for ioc in found.scope.of(alert).iocs):
            continue
        for stem, types, what in _ENTRY_REASONS:
            if one.ioc.type in types and any(name.startswith(stem) for name in techniques):
                return f"{what} ({quoted(alert)})"
    return ""


def _by_tactic(found: Situation, one: Reputation) -> str:
    for alert in found.web.alerts:
        carried = any(ioc.id == one.ioc.id for ioc in found.scope.of(alert).iocs)
        if carried and gravity(alert) <= _MEDIUM and killchain.has_tactic(found.scope, alert, *_OUTSIDE_OF):
            tactic = attack.tactic_name(killchain.alert_tactics(found.scope, alert)[-1])
            return f"{alert.source} ties it to {tactic}"
    return ""
