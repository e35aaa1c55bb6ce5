"""Each sensor's scale of severity, translated into AuroraSOC's five words. Unknown values become `medium`.

The maps are those of the project's domain page; what it leaves open is decided here and said in a docstring.
"""

from __future__ import annotations

from typing import Any, Final

from cases.normalizers.fields import number, text

CRITICAL: Final = "critical"
HIGH: Final = "high"
MEDIUM: Final = "medium"
LOW: Final = "low"
INFO: Final = "info"
DEFAULT: Final = MEDIUM

_WORDS = {
    CRITICAL: (
        "critical",
        "crit",
        "fatal",
        "emergency",
        "emerg",
        "alert",
        "page",
        "severe",
        "very-high",
        "p1",
        "sev1",
    ),
    HIGH: ("high", "error", "err", "major", "important", "p2", "sev2"),
    MEDIUM: ("medium", "moderate", "med", "warning", "warn", "average", "p3", "sev3"),
    LOW: ("low", "minor", "notice", "p4", "sev4"),
    INFO: ("info", "informational", "information", "none", "debug", "ok", "normal", "benign", "p5", "sev5"),
}
_BY_WORD = {word: severity for severity, words in _WORDS.items() for word in words}


def from_word(value: Any) -> str | None:
    """The severity that a word means (`High`, `warning`, `Informational`, `page`), or None for an unknown
    word.
    """
    return _BY_WORD.get(text(value, 32).lower().replace(" ", "-").replace("_", "-"))


def is_known(value: Any) -> bool:
    """Whether `value` is a number or a word that `from_anything` can tell something from."""
    return number(value) is not None or from_word(value) is not None


def from_suricata(priority: Any, *, is_critical: bool) -> str:
    """Rule priority 1 high (critical when the rule says so), 2 medium, 3 low; 4 and beyond, which only rules
    on ordinary traffic use, info.
    """
    level = number(priority)
    if level is None or level < 1:
        return DEFAULT
    if level == 1:
        return CRITICAL if is_critical else HIGH
    return {2.0: MEDIUM, 3.0: LOW}.get(level, INFO)


def from_wazuh(level: Any) -> str:
    """Wazuh 4: level 0–3 info, 4–6 low, 7–10 medium, 11–13 high, 14 and up critical. Wazuh 5: words."""
    return from_word(level) or _stepped(number(level), ((14, CRITICAL), (11, HIGH), (7, MEDIUM), (4, LOW)), INFO)


def from_alertmanager(word: Any) -> str:
    """`labels.severity`: page and critical critical, error high, warning medium, info and none info."""
    return from_word(word) or DEFAULT


def from_elastic(word: Any, risk_score: Any) -> str:
    """Elastic's word; without one its risk score: 0–21 low, 22–47 medium, 48–73 high, 74–100 critical (the
    bands of Elastic's own rule editor, which knows no info).
    """
    return from_word(word) or _stepped(number(risk_score), ((74, CRITICAL), (48, HIGH), (22, MEDIUM)), LOW)


def from_crowdstrike(score: Any, word: Any = None) -> str:
    """CrowdStrike's own word; without one its score 1–100 in five steps of twenty, 1–20 info to 81–100
    critical.
    """
    return from_word(word) or _stepped(number(score), ((81, CRITICAL), (61, HIGH), (41, MEDIUM), (21, LOW)), INFO)


def from_ocsf(severity_id: Any, word: Any = None) -> str:
    """1 info, 2 low, 3 medium, 4 high, 5 critical, 6 fatal (critical); 0 and 99 leave it to the word."""
    scale = {1.0: INFO, 2.0: LOW, 3.0: MEDIUM, 4.0: HIGH, 5.0: CRITICAL, 6.0: CRITICAL}
    found = number(severity_id)
    return (scale.get(found) if found is not None else None) or from_word(word) or DEFAULT


def from_cef(value: Any) -> str:
    """0–3 low, 4–6 medium, 7–8 high, 9–10 critical, or CEF's words Low, Medium, High, Very-High, Unknown."""
    return from_word(value) or _stepped(number(value), ((9, CRITICAL), (7, HIGH), (4, MEDIUM)), LOW)


def from_anything(value: Any) -> str:
    """A word, or a number: up to 10 on a scale of 0–10 (0 info, under 4 low, under 7 medium, under 9 high,
    else critical, as CVSS cuts it), above 10 on a scale of 0–100 cut at the tenfold.
    """
    found = number(value)
    if found is None:
        return from_word(value) or DEFAULT
    if found > 10:
        found /= 10
    return _stepped(found, ((9, CRITICAL), (7, HIGH), (4, MEDIUM), (0.001, LOW)), INFO)


def _stepped(value: float | None, steps: tuple[tuple[float, str], ...], below: str) -> str:
    if value is None or value < 0:
        return DEFAULT
    for at_least, severity in steps:
        if value >= at_least:
            return severity
    return below
