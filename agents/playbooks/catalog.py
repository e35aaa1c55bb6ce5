"""The library of playbooks and actions as facts: triggers, steps, risks, and which of them a human has to approve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Risk(StrEnum):
    """What can go wrong when an action is taken without need, from nothing to what cannot be undone."""

    READ_ONLY = "read_only"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    IRREVERSIBLE = "irreversible"


@dataclass(frozen=True, slots=True)
class Action:
    """Something a playbook can do. `undo` says how it is taken back, empty when there is nothing to take back or no way to.

    `targets` are the names under which a step may say on what; empty for what has none.
    """

    name: str
    does: str
    risk: Risk
    undo: str = ""
    targets: tuple[str, ...] = ()

    @property
    def is_reversible(self) -> bool:
        return self.risk is not Risk.IRREVERSIBLE

    def is_idle(self, parameters: Mapping[str, Any]) -> bool:
        """Whether the parameters say on what and name nothing. What says nothing of it is its connector's to understand."""
        given = [parameters[name] for name in self.targets if name in parameters]
        items = [item for value in given for item in (value if isinstance(value, list) else [value])]
        return bool(given) and all(item is None or not str(item).strip() for item in items)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a playbook. `asks` is the playbook's own demand for an approval, whatever the action's risk."""

    name: str
    action: str
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Playbook:
    name: str
    title: str
    trigger: str
    steps: tuple[Step, ...]

    def asks_for(self, action: str) -> bool:
        return any(step.asks for step in self.steps if step.action == action)


@dataclass(frozen=True, slots=True)
class Approval:
    """How many people have to agree (0: nobody) and why."""

    people: int
    reason: str

    @property
    def is_needed(self) -> bool:
        return self.people > 0


def _by_name(*items: Action) -> Mapping[str, Action]:
    return MappingProxyType({item.name: item for item in items})


_HOSTS = ("hosts", "host")
_USERS = ("users", "user")
_PLACES = ("targets", "network", "ips", "ip")
_INDICATORS = ("indicators", "targets")

ACTIONS = _by_name(
    Action(
        "enrich_ioc",
        "Look an indicator up and record the verdict in the IOC store",
        Risk.READ_ONLY,
        targets=_INDICATORS,
    ),
    Action("notify", "Tell people what happened and what they have to do", Risk.LOW),
    Action("collect_forensics", "Take memory, disk traces and logs of a host", Risk.LOW, targets=_HOSTS),
    Action("run_scan", "Scan a host for malware and known weaknesses", Risk.MEDIUM, targets=_HOSTS),
    Action("block_ip", "Deny traffic to and from an address", Risk.MEDIUM, undo="Lift the block", targets=_PLACES),
    Action("isolate_host", "Cut a host off the network", Risk.HIGH, undo="Reconnect the host", targets=_HOSTS),
    Action("disable_user", "Disable an account", Risk.HIGH, undo="Enable the account", targets=_USERS),
    Action("revoke_certificate", "Revoke a certificate", Risk.IRREVERSIBLE, targets=("certificates", "certificate")),
)

# No action blocks a URL: the step blocks the address that serves it, and the block list feed carries URL and domain.
PLAYBOOKS: Mapping[str, Playbook] = MappingProxyType(
    {
        playbook.name: playbook
        for playbook in (
            Playbook(
                "malware_response",
                "Malware response",
                "malware alert",
                (
                    Step("isolate", "isolate_host", asks=True),
                    Step("scan", "run_scan"),
                    Step("block", "block_ip"),
                    Step("report", "notify"),
                ),
            ),
            Playbook(
                "phishing_response",
                "Phishing response",
                "phishing alert",
                (
                    Step("extract IOCs", "enrich_ioc"),
                    Step("block URLs", "block_ip"),
                    Step("notify", "notify"),
                    Step("report", "notify"),
                ),
            ),
            Playbook(
                "ransomware_emergency",
                "Ransomware emergency",
                "ransomware indicator",
                (
                    Step("isolate all", "isolate_host", asks=True),
                    Step("snapshot", "collect_forensics"),
                    Step("forensics", "collect_forensics"),
                    Step("executive brief", "notify"),
                ),
            ),
            Playbook(
                "brute_force_mitigation",
                "Brute force mitigation",
                "5 or more failed log-ins",
                (
                    Step("block source", "block_ip"),
                    Step("reset credentials", "disable_user", asks=True),
                    Step("audit", "collect_forensics"),
                    Step("report", "notify"),
                ),
            ),
            Playbook(
                "data_exfiltration",
                "Data exfiltration",
                "DLP or network anomaly",
                (
                    Step("block egress", "block_ip", asks=True),
                    Step("capture traffic", "collect_forensics"),
                    Step("forensics", "collect_forensics"),
                    Step("report", "notify"),
                ),
            ),
            Playbook(
                "cps_anomaly",
                "Cyber-physical anomaly",
                "CPS device alert",
                (
                    Step("quarantine segment", "isolate_host", asks=True),
                    Step("verify firmware", "run_scan"),
                    Step("attestation", "run_scan"),
                    Step("report", "notify"),
                ),
            ),
        )
    }
)


def approval_for(*, action: str, is_target_critical: bool, playbook: str | None = None) -> Approval:
    """Who has to agree to an action: by its risk and its target's criticality, and by what the playbook itself demands."""
    risk = ACTIONS[action].risk
    if risk is Risk.IRREVERSIBLE:
        return Approval(2, "it cannot be undone, so two people decide")
    if risk is Risk.HIGH:
        return Approval(1, "its risk is high")
    if risk is Risk.MEDIUM and is_target_critical:
        return Approval(1, "its risk is medium and a critical asset is concerned")
    if playbook and PLAYBOOKS[playbook].asks_for(action):
        return Approval(1, f"the playbook “{PLAYBOOKS[playbook].title}” asks before it")
    return Approval(0, f"its risk is {risk.value.replace('_', ' ')}")
