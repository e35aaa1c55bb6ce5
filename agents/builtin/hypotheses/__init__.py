"""What a threat hunter supposes from a web of alerts: each pattern in its own file, none without evidence in the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agents.builtin.hypotheses.beaconing import beaconing
from agents.builtin.hypotheses.credentials import stolen_credentials
from agents.builtin.hypotheses.entry import scan_then_exploit
from agents.builtin.hypotheses.movement import lateral_movement
from agents.builtin.hypotheses.stages import intrusion_in_stages
from agents.builtin.hypotheses.supposition import LEAST_CONFIDENCE, Hypothesis, link
from agents.builtin.hypotheses.theft import exfiltration
from agents.builtin.pivoting import Web

PATTERNS: tuple[Callable[[Web], Iterator[Hypothesis]], ...] = (
    scan_then_exploit,
    beaconing,
    stolen_credentials,
    lateral_movement,
    exfiltration,
    intrusion_in_stages,
)

LEAST_LINK = 0.3
"""What hangs together with the start more weakly is another story."""


def suppose(web: Web) -> list[Hypothesis]:
    """All hypotheses that the web bears out, that have to do with its start and are likely enough, the most confident first."""
    found = [
        one
        for pattern in PATTERNS
        for one in pattern(web)
        if one.finding.confidence >= LEAST_CONFIDENCE and link(web, one.alerts) >= LEAST_LINK
    ]
    return sorted(found, key=lambda one: -one.finding.confidence)


__all__ = ["PATTERNS", "Hypothesis", "suppose"]
