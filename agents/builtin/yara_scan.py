"""YARA over bytes: our own rules (`yara/*.yar`), compiled once a process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yara_x

_RULES = Path(__file__).with_name("yara")
_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that matched: its name, and what its meta section says. `points` is its worth, of a hundred."""

    rule: str
    family: str
    behaviour: str
    points: int
    is_threat: bool


def scan(content: bytes) -> Iterator[Match]:
    """The rules that match, in their order. Content that takes longer than 5 s matches nothing more: hostile content may be made to."""
    scanner = yara_x.Scanner(_compiled())
    scanner.set_timeout(_SECONDS)
    try:
        found = scanner.scan(content).matching_rules
    except yara_x.TimeoutError:
        return
    for rule in found:
        meta = dict(rule.metadata)
        yield Match(
            rule.identifier, str(meta["family"]), str(meta["behaviour"]), int(meta["points"]), bool(meta["threat"])
        )


@cache
def _compiled() -> yara_x.Rules:
    compiler = yara_x.Compiler()
    for path in sorted(_RULES.glob("*.yar")):
        compiler.add_source(path.read_text("utf-8"), origin=path.name)
    return compiler.build()
