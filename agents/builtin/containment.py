"""The containment plan: which actions, on what, in which order, and who has to approve them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agents.builtin import assets
from agents.builtin.scope import gravity
from agents.builtin.situation import ACCOUNTS_TAKEN_BY, Situation
from agents.builtin.wording import line, listed, many, quoted
from agents.playbooks.catalog import ACTIONS, Action, Approval, approval_for
from cases.states import IocType

_MAX_TARGETS = 10
_WITHOUT_SIGN_OF_BREACH = ("cps_anomaly", "ransomware_emergency", "malware_response")
"""Playbooks that begin at the alert's own hosts, though no technique says that something ran there."""

_CARE = {
    "domain controller": "without it log-ins of its domain fail: make sure that another controller answers, or let only those through",
    "industrial control": "the process that it controls runs on without supervision: only together with the plant's operators",
    "hypervisor": "all of its guests go with it",
    "backup": "backups stop, and may be what is needed next",
    "identity provider": "nobody can sign in without it",
    "network device": "what lies behind it is cut off too",
}
"""What isolating a host of this role means for others."""

_CERTIFICATE_THEFT = "T1649"
_ON_THE_BLOCK_LIST = (IocType.DOMAIN, IocType.URL)

# What is volatile is taken before the host is touched; egress closes before the intruder notices the isolation.
_ORDER = (
    "collect_forensics",
    "block_ip",
    "isolate_host",
    "disable_user",
    "revoke_certificate",
    "run_scan",
    "enrich_ioc",
)
# Encryption goes on while memory is being read: cut first.
_ORDER_UNDER_RANSOMWARE = ("isolate_host", "block_ip", "disable_user", "collect_forensics", "revoke_certificate")


@dataclass(frozen=True, slots=True)
class Measure:
    """One action on one target. `is_critical` says whether a critical asset is concerned."""

    action: Action
    target: str
    why: str
    is_critical: bool
    approval: Approval


def contain(found: Situation, playbook: str | None) -> list[Measure]:
    """The measures in the order in which to take them; telling the people concerned is always the last."""
    measures = [
        *_forensics(found, playbook),
        *_blocks(found, playbook),
        *_isolations(found, playbook),
        *_accounts(found, playbook),
        *_certificates(found, playbook),
        *_scans(found, playbook),
        *_verdicts(found, playbook),
    ]
    order = _ORDER_UNDER_RANSOMWARE if playbook == "ransomware_emergency" else _ORDER
    measures.sort(key=lambda one: order.index(one.action.name) if one.action.name in order else len(order))
    return [*measures, *_notice(found, playbook)]


def _measure(action: str, target: str, why: str, *, is_critical: bool, playbook: str | None) -> Measure:
    approval = approval_for(action=action, is_target_critical=is_critical, playbook=playbook)
    return Measure(ACTIONS[action], target, why, is_critical, approval)


def _forensics(found: Situation, playbook: str | None) -> Iterator[Measure]:
    for host in found.breached[:_MAX_TARGETS]:
        yield _measure(
            "collect_forensics",
            host,
            f"memory, processes, sessions and logs of {host}, before anything on it changes",
            is_critical=found.criticality(host).is_critical,
            playbook=playbook,
        )


def _blocks(found: Situation, playbook: str | None) -> Iterator[Measure]:
    addresses = [(one, reason) for one, reason in found.hostile() if one.ioc.type == IocType.IP]
    for one, reason in addresses[:_MAX_TARGETS]:
        concerned = [host for host in _talked_to(found, one.ioc.value) if found.criticality(host).is_critical]
        on_behalf = f"; critical {listed(concerned)} had to do with it" if concerned else ""
        yield _measure(
            "block_ip", one.ioc.value, f"{line(reason, 200)}{on_behalf}", is_critical=bool(concerned), playbook=playbook
        )


def _talked_to(found: Situation, value: str) -> list[str]:
    carrying = [alert for alert in found.web.alerts if any(ioc.value == value for ioc in found.scope.of(alert).iocs)]
    return found.web.all_hosts(carrying)


def _isolations(found: Situation, playbook: str | None) -> Iterator[Measure]:
    for host in _to_isolate(found, playbook):
        known = found.criticality(host)
        role = f"{known.role}, {assets.LEVELS[known.level]} importance" if known.level else "importance unknown"
        care = _CARE.get(known.role, "warn its users, its service stops" if known.is_critical else "")
        why = f"{_because(found, host)} ({role}{'; ' if care else ''}{care})"
        yield _measure("isolate_host", host, why, is_critical=known.is_critical, playbook=playbook)


def _to_isolate(found: Situation, playbook: str | None) -> list[str]:
    if not found.breached and playbook in _WITHOUT_SIGN_OF_BREACH:
        return found.web.hosts(found.scope.leading)[:_MAX_TARGETS]
    return found.breached[:_MAX_TARGETS]


def _because(found: Situation, host: str) -> str:
    """What is supposed of this host in particular says more than that it is part of the whole; else its gravest alert speaks."""
    supposed = [one for one in found.supposed if host in one.hosts]
    if supposed:
        return line(min(supposed, key=lambda one: one.kind == "intrusion").title, 160)
    own = [alert for alert in found.web.alerts if host in found.web.hosts(alert)]
    return quoted(min(own, key=lambda alert: (gravity(alert), alert.first_seen))) + " was seen on it"


def _accounts(found: Situation, playbook: str | None) -> Iterator[Measure]:
    for user in found.accounts[:_MAX_TARGETS]:
        supposed = [one.title for one in found.supposes(*ACCOUNTS_TAKEN_BY) if user in one.users]
        own = [alert for alert in found.web.alerts if user in found.web.users(alert)]
        gravest = min(own, key=lambda alert: (gravity(alert), alert.first_seen))
        because = line(supposed[0], 160) if supposed else f"{quoted(gravest)} names it"
        yield _measure("disable_user", user, because, is_critical=False, playbook=playbook)


def _certificates(found: Situation, playbook: str | None) -> Iterator[Measure]:
    for alert in found.web.alerts:
        if any(name.startswith(_CERTIFICATE_THEFT) for name in found.scope.of(alert).techniques):
            owners = [*found.web.users(alert), *found.web.hosts(alert)]
            target = f"certificates of {listed(owners, 3)}"
            yield _measure(
                "revoke_certificate",
                target,
                f"{alert.source}: {line(alert.title)}",
                is_critical=True,
                playbook=playbook,
            )
            return


def _scans(found: Situation, playbook: str | None) -> Iterator[Measure]:
    """Breached hosts are examined by forensics; the others of the chain get a scan. A controller is never probed: it is read out."""
    if playbook == "cps_anomaly":
        for host in _to_isolate(found, playbook):
            why = "verify firmware and logic against the approved ones, read from its engineering station and not by probing it"
            yield _measure("run_scan", host, why, is_critical=True, playbook=playbook)
        return
    for host in found.touched[:_MAX_TARGETS] if found.breached or found.supposed else ():
        critical = found.criticality(host).is_critical
        yield _measure(
            "run_scan", host, "named in the same chain, no breach seen", is_critical=critical, playbook=playbook
        )


def _verdicts(found: Situation, playbook: str | None) -> Iterator[Measure]:
    """No action blocks a name or a URL; recorded as hostile, the block list feed carries them to firewalls and proxies."""
    hostile = {one.ioc.id for one, _ in found.hostile()}
    for one, reason in found.hostile()[:_MAX_TARGETS]:
        if one.ioc.type in _ON_THE_BLOCK_LIST:
            why = f"{line(reason, 160)}; record it as hostile, so that the block list carries it"
            yield _measure("enrich_ioc", one.ioc.value, why, is_critical=False, playbook=playbook)
    unknown = [
        one
        for one in found.reputations
        if one.verdict == "unknown"
        and one.ioc.id not in hostile
        and one.ioc.type != IocType.USER_AGENT
        and not found.is_ours(one.ioc)
    ]
    for one in unknown[:_MAX_TARGETS]:
        why = "nothing on record for or against it" if not one.terms else f"undecided: {line(one.terms[0].reason, 120)}"
        yield _measure("enrich_ioc", one.ioc.value, why, is_critical=False, playbook=playbook)


def _notice(found: Situation, playbook: str | None) -> Iterator[Measure]:
    severity = found.scope.leading.severity
    concerned = [*found.breached, *found.accounts]
    about = f"owners of {listed(concerned or found.touched, 6)}"
    if not concerned and not found.touched:
        users = found.web.all_users([found.scope.leading])
        about = (
            f"{listed(users, 6)} and their lead"
            if users
            else f"whoever runs the sensor {line(found.scope.leading.source, 64)}"
        )
    critical = [host for host in found.breached if found.criticality(host).is_critical]
    management = f" and management, {many(len(critical), 'critical asset')} breached" if critical else ""
    yield _measure(
        "notify", f"{about}{management}", f"{severity} alert {line(found.scope.leading.title, 100)}",
        is_critical=False, playbook=playbook,
    )  # fmt: skip
