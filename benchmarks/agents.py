"""What each built-in agent finds in the labelled demo story, and that it finds nothing in pure noise.

For several seeds the story of six hours goes through intake; then an investigation of every urgent alert of the attack is played through,
each agent with the answers of those before it. Precision is the share of what an agent points at that belongs to the attack, over all
investigations; recall the share of the attack's traces in the agent's own trade that it pointed at in any of them. What counts as a trace is
taken from the story's labels and cast, never from an agent. Then the noise alone of more seeds goes through, and every urgent alert of it and a
sample of the others is investigated: the specialists and the hunter have to stay silent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from benchmarks.figures import Figure, Target
from benchmarks.installation import Installation

TARGETS = (
    Target(0.90, "at least", "ours"),
    Target(0.80, "at least", "ours"),
    Target(0, "at most", "ours", "investigations"),
)
_START = datetime(2026, 3, 4, 6, 0, tzinfo=UTC)
_SEEDS = (7, 8, 23)
_NOISE_SEEDS = (*_SEEDS, *range(101, 113))
_NOISE_SAMPLE = 25
_TABLES = ("cases_alert", "cases_case", "cases_ioc", "cases_ingestreceipt", "aurora_outboxevent")
_INSIDE = ("execution", "credential_access", "lateral_movement", "collection", "exfiltration", "initial_access")
_MEASURED = ("network_security", "endpoint_security", "malware_analyst", "forensic_analyst", "threat_hunter")
"""Those with targets; the threat intelligence has none, for its store knows nothing here but what the sensors of the story saw."""
SILENT = (*_MEASURED, "threat_intel")
"""Whoever has to say nothing about noise. The others always answer: they triage, plan and report."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One alert of the attack: its phases, and its records as they came."""

    id: str
    source: str
    severity: str
    phases: frozenset[str]
    text: str


@dataclass(slots=True)
class Score:
    """`pointed` counts every pointing of every investigation, `right` those at the attack; `found` of `traces` were pointed at."""

    pointed: int = 0
    right: int = 0
    found: set[str] = field(default_factory=set)
    traces: set[str] = field(default_factory=set)

    @property
    def precision(self) -> float:
        return self.right / self.pointed if self.pointed else 0.0

    @property
    def recall(self) -> float:
        return len(self.found & self.traces) / len(self.traces) if self.traces else 0.0


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """One seed when quick, else three of the attack and fifteen of noise."""
    seeds = _SEEDS[:1] if is_quick else _SEEDS
    totals: defaultdict[str, Score] = defaultdict(Score)
    loud: defaultdict[str, int] = defaultdict(int)
    for seed in seeds:
        _empty(opened)
        for agent, score in measure_attack(seed).items():
            _add(totals[agent], score, seed)
    for seed in seeds if is_quick else _NOISE_SEEDS:
        _empty(opened)
        for agent, count in measure_noise(seed).items():
            loud[agent] += count
    return list(_figures(totals, loud))


def measure_attack(seed: int) -> dict[str, Score]:
    """Each agent's score on the story of a seed, in an empty store."""
    from cases.demo.estate import cast
    from cases.demo.story import story

    events = story(start=_START, seed=seed)
    traces = _feed(events)
    players = cast(seed=seed)
    scores = {agent: Score(traces=wanted) for agent, wanted in _traces_by_trade(traces, players).items()}
    attack = {trace.id for trace in traces}
    truth = _true_targets(players)
    for trace in traces:
        if trace.severity in ("critical", "high"):
            for agent, output in investigate(trace.id).items():
                _rate(scores[agent], agent, output, attack, truth)
    return scores


def measure_noise(seed: int, sample: int = _NOISE_SAMPLE) -> dict[str, int]:
    """Of the agents that have to be silent: in how many investigations of noise they were not."""
    from cases.demo.story import story
    from cases.models import Alert

    _feed([event for event in story(start=_START, seed=seed) if event.label is None])
    urgent = Alert.objects.filter(severity__in=("critical", "high"))
    others = Alert.objects.exclude(severity__in=("critical", "high")).order_by("id")
    chosen = [*urgent, *others[:sample]]
    loud = dict.fromkeys(SILENT, 0)
    for alert in chosen:
        for agent, output in investigate(str(alert.id), agents=SILENT).items():
            loud[agent] += bool(output["findings"])
    return loud


def investigate(alert_id: str, agents: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """The answers of the agents, all of them in the order of the plan, to one alert."""
    from agents.builtin import ANALYSES
    from agents.builtin.contract import Task

    answers: dict[str, dict[str, Any]] = {}
    for agent_type in [name for name in ANALYSES if not agents or name in agents]:
        task = Task("bench", agent_type, "", alert_id, None, dict(answers))
        answers[agent_type] = orjson.loads(orjson.dumps(ANALYSES[agent_type](task, _unheard).as_json()))
    return answers


def _unheard(text: str, data: dict[str, Any]) -> None:
    return None


def _feed(events: Sequence[Any]) -> list[Trace]:
    """Takes all events in; the alerts that any labelled record went into."""
    from aurora.actors import system
    from cases import intake
    from cases.models import Alert
    from cases.normalizers import Ignored, RawRecord, normalize

    by_source: defaultdict[str, list[bytes]] = defaultdict(list)
    labels: defaultdict[str, set[str]] = defaultdict(set)
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for event in events:
        line = orjson.dumps(event.record)
        by_source[event.source].append(line)
        for record in _records(event.source, line) if event.label else ():
            found = normalize(event.source, record)
            if not isinstance(found, Ignored):
                key = intake.dedup_hash(found.title, found.source, (item.value for item in found.observables))
                labels[key].add(event.label)
                texts[key].append(record.text)
    for source, lines in by_source.items():
        intake.ingest(source=source, payload=b"\n".join(lines), actor=system("bench"))
    alerts = Alert.objects.filter(dedup_hash__in=labels).order_by("first_seen", "id")
    assert isinstance(RawRecord, type)
    return [
        Trace(
            str(one.id), one.source, one.severity, frozenset(labels[one.dedup_hash]), "\n".join(texts[one.dedup_hash])
        )
        for one in alerts
    ]


def _records(source: str, line: bytes) -> Iterable[Any]:
    from cases.normalizers import split

    return split(source, line, "application/x-ndjson", at_most=1_000)


def _traces_by_trade(traces: Sequence[Trace], players: Any) -> dict[str, set[str]]:
    """The alerts that each agent should point at; of those that name things instead, the things."""
    files = [players.implant, players.lure, ".thumb_", f"{players.token}.exe", "dfsync.exe"]
    on_hosts = ('"image":', '"imagePath":', '"sourceImage":')
    trades: dict[str, Callable[[Trace], bool]] = {
        "security_analyst": lambda one: True,
        "threat_hunter": lambda one: True,
        "network_security": lambda one: (
            one.source == "suricata" and bool(one.phases & {"beaconing", "lateral_movement", "exfiltration"})
        ),
        "endpoint_security": lambda one: (
            bool(one.phases & set(_INSIDE))
            and (
                any(mark in one.text for mark in on_hosts)
                or (".php" in one.text and one.source == "wazuh")
                or "sign_in" in one.text
            )
            and "logonType" not in one.text
        ),
        "malware_analyst": lambda one: any(name in one.text for name in files),
        "forensic_analyst": lambda one: True,
        "report_generator": lambda one: True,
    }
    found = {agent: {one.id for one in traces if is_one(one)} for agent, is_one in trades.items()}
    return found | {"incident_responder": _true_targets(players), "threat_intel": _true_indicators(players)}


def _true_targets(players: Any) -> set[str]:
    hosts = (players.web, players.victim.host, players.file_server, players.controller)
    return {host.name for host in hosts} | {
        players.victim.user, players.service_account, players.scanner, players.c2_ip, players.drop_ip,
        players.c2_domain, players.drop_domain,
    }  # fmt: skip


def _true_indicators(players: Any) -> set[str]:
    return {players.scanner, players.c2_ip, players.drop_ip, players.c2_domain, players.drop_domain}


def _rate(score: Score, agent: str, output: Mapping[str, Any], attack: set[str], truth: set[str]) -> None:
    if agent == "incident_responder":
        pointed = {
            row["target"]
            for row in output["data"]["plan"]
            if row["action"] in ("isolate_host", "block_ip", "disable_user")
        }
        right = pointed & truth
        score.traces &= truth - {name for name in truth if name.endswith(".example")}
    elif agent == "threat_intel":
        pointed = {finding["iocs"][0]["value"] for finding in output["findings"]}
        right = pointed & score.traces
    else:
        pointed = _pointed_at(output)
        right = pointed & attack
    score.pointed += len(pointed)
    score.right += len(right)
    score.found |= right


def _pointed_at(output: Mapping[str, Any]) -> set[str]:
    """The alerts that an answer holds for part of it: those of its hypotheses, else those that its findings cite."""
    rows = output["data"].get("hypotheses")
    if rows is not None:
        return {alert_id for row in rows for alert_id in row["alert_ids"]}
    return {cited["id"] for finding in output["findings"] for cited in finding["evidence"] if cited["kind"] == "alert"}


def _add(total: Score, score: Score, seed: int) -> None:
    total.pointed += score.pointed
    total.right += score.right
    total.found |= {f"{seed}:{one}" for one in score.found}
    total.traces |= {f"{seed}:{one}" for one in score.traces}


def _figures(totals: Mapping[str, Score], loud: Mapping[str, int]) -> Iterable[Figure]:
    for agent, score in totals.items():
        is_specialist = agent in _MEASURED
        details = {"pointed": float(score.pointed), "right": float(score.right), "traces": float(len(score.traces))}
        yield Figure(
            f"{agent}: precision", "", score.precision, target=TARGETS[0] if is_specialist else None, details=details
        )
        yield Figure(
            f"{agent}: recall", "", score.recall, target=TARGETS[1] if is_specialist else None, details=details
        )
    for agent, count in loud.items():
        yield Figure(f"{agent}: not silent on pure noise", "investigations", float(count), target=TARGETS[2])


def _empty(opened: Installation) -> None:
    with opened.connect() as database:
        database.execute(f"TRUNCATE {', '.join(_TABLES)} CASCADE")
