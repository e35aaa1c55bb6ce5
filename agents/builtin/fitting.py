"""Which playbook fits: each is given points for the signs of its trigger, and the one with most is proposed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agents.builtin import killchain
from agents.builtin.hypotheses.credentials import FAILED_LOGONS, failed_logons
from agents.builtin.reputation import Term
from agents.builtin.situation import Situation
from agents.builtin.wording import listed
from agents.playbooks.catalog import PLAYBOOKS, Playbook
from cases.models import Alert
from cases.states import AssetType, Category, IocType

LEAST = 20
"""With fewer points no playbook fits."""

_WORDS_WORTH = 12
_CATEGORY_WORTH = 10
_IOC_WORTH = 6
_TECHNIQUES_MOST = 45
_HYPOTHESIS_WORTH = 20


@dataclass(frozen=True, slots=True)
class _Signs:
    """What speaks for a playbook. `techniques` are ids or their parents, each with its points."""

    techniques: dict[str, int] = field(default_factory=dict)
    categories: frozenset[str] = frozenset()
    asset_types: frozenset[str] = frozenset()
    ioc_types: frozenset[str] = frozenset()
    hypotheses: tuple[str, ...] = ()
    words: str = ""


_HASHES = frozenset({IocType.HASH_MD5, IocType.HASH_SHA1, IocType.HASH_SHA256})
_SIGNS = {
    "malware_response": _Signs(
        techniques={
            **dict.fromkeys(("T1059", "T1204", "T1218", "T1055", "T1105", "T1547", "T1543", "T1027"), 10),
            **dict.fromkeys(("T1071", "T1573", "T1095", "T1568", "T1505"), 12),
        },
        ioc_types=_HASHES,
        hypotheses=("beaconing",),
        words=r"malware|trojan|implant|botnet|backdoor|command and control|\bc2\b|\bcnc\b|worm|dropper|cobalt",
    ),
    "phishing_response": _Signs(
        techniques={"T1566": 25, "T1598": 20, "T1534": 20, "T1204": 4},
        categories=frozenset({Category.EMAIL}),
        ioc_types=frozenset({IocType.EMAIL}),
        words=r"phish|spoofed sender|credential harvest|malicious (?:mail|e-?mail|attachment)",
    ),
    "ransomware_emergency": _Signs(
        techniques={"T1486": 45, "T1490": 35, "T1489": 15, "T1485": 25},
        words=r"ransom|mass (?:encryption|rename)|shadow cop(?:y|ies) delet|vssadmin",
    ),
    "brute_force_mitigation": _Signs(
        techniques={"T1110": 18, "T1621": 12},
        hypotheses=("stolen_credentials",),
        words=r"brute.?force|failed log-?(?:in|on)s?|password spray|authentication failures?|credential stuffing",
    ),
    "data_exfiltration": _Signs(
        techniques={
            "T1048": 30,
            "T1041": 28,
            "T1567": 30,
            "T1020": 25,
            "T1537": 28,
            "T1560": 10,
            "T1074": 8,
            "T1039": 6,
        },
        hypotheses=("exfiltration",),
        words=r"exfil|egress|data (?:leak|loss|theft)|\bdlp\b|large upload",
    ),
    "cps_anomaly": _Signs(
        techniques={"T08": 25},
        categories=frozenset({Category.CPS}),
        asset_types=frozenset({AssetType.CPS_CONTROLLER, AssetType.IOT_SENSOR}),
        words=r"\bplc\b|scada|modbus|dnp3|s7comm|firmware",
    ),
}


@dataclass(frozen=True, slots=True)
class Fit:
    playbook: Playbook
    terms: tuple[Term, ...]

    @property
    def score(self) -> int:
        return sum(term.points for term in self.terms)


def fits(found: Situation) -> list[Fit]:
    """All playbooks with any sign, best first."""
    scored = [Fit(PLAYBOOKS[name], tuple(_terms(found, name, signs))) for name, signs in _SIGNS.items()]
    return sorted((fit for fit in scored if fit.score > 0), key=lambda fit: (-fit.score, fit.playbook.name))


def _terms(found: Situation, name: str, signs: _Signs) -> Iterator[Term]:
    yield from _by_technique(found, signs)
    categories = {alert.category for alert in found.web.alerts} & signs.categories
    if categories:
        yield Term(_CATEGORY_WORTH, f"category {listed(sorted(categories))}")
    types = {alert.asset_type for alert in found.web.alerts} & signs.asset_types
    if types:
        yield Term(_CATEGORY_WORTH, f"asset of type {listed(sorted(types))}")
    iocs = {ioc.type for ioc in found.scope.iocs} & signs.ioc_types
    if iocs:
        yield Term(_IOC_WORTH, f"IOC of type {listed(sorted(iocs))}")
    supposed = found.supposes(*signs.hypotheses)
    if supposed:
        best = max(supposed, key=lambda one: one.confidence)
        # A hypothesis that rests on the very alert says what the alert is about, one from its surroundings what else goes on.
        leading = found.scope.leading
        is_own = leading.id in best.alert_ids or any(ioc.value in best.iocs for ioc in found.scope.of(leading).iocs)
        yield Term(round(_HYPOTHESIS_WORTH * (1 + is_own) * best.confidence), f"the hunter supposes: {best.title}")
    speaking = [alert for alert in found.web.alerts if re.search(signs.words, _text(alert), re.IGNORECASE)]
    if speaking:
        yield Term(
            _WORDS_WORTH, "the title speaks of it" if len(speaking) == 1 else f"{len(speaking)} titles speak of it"
        )
    if name == "brute_force_mitigation":
        yield from _by_failed_logons(found)


def _by_technique(found: Situation, signs: _Signs) -> Iterator[Term]:
    """The leading alert's own techniques count in full, those of its surroundings by half."""
    own = set(found.scope.of(found.scope.leading).techniques)
    points, named = 0.0, []
    for technique in found.scope.techniques:
        worth = max((value for stem, value in signs.techniques.items() if technique.startswith(stem)), default=0)
        if worth:
            points += worth if technique in own else worth / 2
            named.append(technique)
    if named:
        yield Term(min(_TECHNIQUES_MOST, round(points)), f"by {listed(map(killchain.named_technique, named), 3)}")


def _by_failed_logons(found: Situation) -> Iterator[Term]:
    count = failed_logons(found.web, found.web.alerts)
    if count >= FAILED_LOGONS:
        yield Term(15, f"{count} failed log-ins, {FAILED_LOGONS} are enough")
    elif count:
        yield Term(-10, f"only {count} of the {FAILED_LOGONS} failed log-ins that it takes")


def _text(alert: Alert) -> str:
    return f"{alert.title} {str(alert.metadata.get('rule_category', ''))[:200]}"


def certainty(ranked: Sequence[Fit]) -> tuple[float, str]:
    """How sure the choice is: by the winner's points and its lead over the runner-up."""
    if not ranked or ranked[0].score < LEAST:
        best = f"; best is {ranked[0].playbook.title} with {ranked[0].score}" if ranked else ""
        return 0.4, f"0.40: no playbook reaches {LEAST} points{best}."
    points = ranked[0].score
    lead = points - (ranked[1].score if len(ranked) > 1 else 0)
    value = round(min(0.95, 0.35 + min(points, 60) / 150 + min(lead, 40) / 200), 2)
    return value, f"0.35, and by {points} points of the chosen playbook and its lead of {lead} over the next."
