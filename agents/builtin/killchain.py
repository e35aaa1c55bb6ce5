"""Where in the kill chain alerts stand, by the ATT&CK tactics of their techniques."""

from __future__ import annotations

from collections.abc import Iterable

from agents.builtin.scope import Scope
from cases import attack
from cases.models import Alert

LATE = attack.tactic_rank("credential-access")
"""From this tactic on the intruder is inside and at work."""

BREACH = attack.tactic_rank("execution")
"""From this tactic on something of the attacker's ran on the host."""


def tactics_of(technique_ids: Iterable[str]) -> list[str]:
    """The distinct tactics of the techniques in kill-chain order. A technique of several tactics counts by its first:

    T1078 (valid accounts) serves four tactics, and claiming all four of one log-in would overstate.
    """
    found = {primary_tactic(technique_id) for technique_id in technique_ids}
    return sorted(filter(None, found), key=attack.tactic_rank)


def primary_tactic(technique_id: str) -> str:
    """The technique's earliest tactic, or empty when ATT&CK does not know the technique."""
    known = attack.technique(technique_id)
    return known.tactics[0] if known and known.tactics else ""


def alert_tactics(scope: Scope, alert: Alert) -> list[str]:
    return tactics_of(scope.of(alert).techniques)


def latest_rank(scope: Scope, alert: Alert) -> int:
    """The rank of the alert's latest tactic, -1 without any."""
    tactics = alert_tactics(scope, alert)
    return attack.tactic_rank(tactics[-1]) if tactics else -1


def has_tactic(scope: Scope, alert: Alert, *tactics: str) -> bool:
    """Whether any of the alert's techniques serves one of the tactics, first or not."""
    techniques = filter(None, map(attack.technique, scope.of(alert).techniques))
    return any(tactic in one.tactics for one in techniques for tactic in tactics)


def described(technique_ids: Iterable[str]) -> list[dict[str, object]]:
    """`{id, name, tactics}` in kill-chain order; an unknown id keeps its place at the end, without a name."""
    rows: list[dict[str, object]] = []
    for technique_id in dict.fromkeys(technique_ids):
        known = attack.technique(technique_id)
        tactics = list(known.tactics) if known else []
        rows.append({"id": technique_id, "name": known.name if known else "", "tactics": tactics})
    return sorted(rows, key=lambda row: (_first_rank(row["tactics"]), str(row["id"])))


def named_technique(technique_id: str) -> str:
    """`T1071.001 Application Layer Protocol: Web Protocols`; of an unknown one it is said that there is no name for it."""
    known = attack.technique(technique_id)
    return f"{technique_id} {known.name}" if known else f"{technique_id} (not in ATT&CK Enterprise)"


def _first_rank(tactics: object) -> int:
    return attack.tactic_rank(tactics[0]) if isinstance(tactics, list) and tactics else len(attack.TACTICS)
