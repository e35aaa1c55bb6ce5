"""Files that may be malware, by what sensors saw of them: one sample for all alerts that name the same file, or that carry the same hash."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.builtin.host_events import HostEvent, basename
from agents.builtin.hypotheses.persistence import mechanism
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Reputation, Term
from agents.builtin.suspicion import OFFICE, PROXIES, SHELLS, is_out_of_place
from agents.builtin.wording import line, many
from cases.models import Alert
from cases.states import IocType

HASHES = (IocType.HASH_SHA256, IocType.HASH_SHA1, IocType.HASH_MD5)
_PROGRAM = r"(?:exe|dll|scr|ps1|vbs|js|jse|hta|bat|jar|php\d?|phtml|aspx?|jspx?|docm|xlsm|pptm|iso|lnk|elf|sh)"
_FILE = re.compile(rf"[^\\/\s\"'<>|:*?=&]{{1,120}}\.{_PROGRAM}\b", re.IGNORECASE)
_MACROS = (".docm", ".xlsm", ".pptm")
_SHARE = re.compile(r"(?:ADMIN|C|IPC)\$")
_LEAST_NAME = 6
# Names of what every Windows has are no trace: half of all alerts bear one.
_COMMON = (
    SHELLS
    | OFFICE
    | PROXIES
    | frozenset(
        (
            "services.exe",
            "svchost.exe",
            "lsass.exe",
            "explorer.exe",
            "wsmprovhost.exe",
            "wmiprvse.exe",
            "index.php",
            "setup.exe",
        )
    )
)
_HARMLESS = re.compile(r"eicar|test[_ -]?file|\bpua\b|pua:|adware|riskware|unwanted|\bpup\b", re.IGNORECASE)


@dataclass(slots=True)
class Sample:
    """One file. `terms` say what speaks against it, `families` and `behaviours` what it is held to be and to do."""

    name: str
    terms: dict[str, Term] = field(default_factory=dict)
    alerts: dict[Any, Alert] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)
    hashes: dict[str, None] = field(default_factory=dict)
    families: dict[str, None] = field(default_factory=dict)
    behaviours: dict[str, None] = field(default_factory=dict)

    @property
    def points(self) -> int:
        return sum(term.points for term in self.terms.values())

    def charge(self, points: int, reason: str, behaviour: str = "") -> None:
        """Holds a thing against it; the same kind of thing counts once, at its worst."""
        known = self.terms.get(reason)
        if known is None or known.points < points:
            self.terms[reason] = Term(points, reason)
        if behaviour:
            self.behaviours[behaviour] = None

    def seen(self, alert: Alert, host: str = "") -> None:
        self.alerts[alert.id] = alert
        if host:
            self.hosts[host] = None


def samples(
    web: Web, events: Sequence[HostEvent], raws: Mapping[Any, str], known: Sequence[Reputation]
) -> list[Sample]:
    """Every file that something speaks against, the gravest first."""
    found: dict[str, Sample] = {}
    for event in events:
        for name, points, reason, behaviour in _charges(event):
            sample = found.setdefault(name.lower(), Sample(name))
            sample.charge(points, reason, behaviour)
            sample.seen(event.alert, event.host)
    _from_network(web, raws, found)
    _gather_mentions(web, raws, found)
    _gather_hashes(web, found)
    _weigh_hashes(web, found, known)
    return sorted(found.values(), key=lambda one: (-one.points, one.name))


def is_harmless(threat: str) -> bool:
    """Whether an antivirus' name for it says test file, adware or unwanted program: a nuisance, not an intruder's tool."""
    return bool(_HARMLESS.search(threat))


def _charges(event: HostEvent) -> Iterator[tuple[str, int, str, str]]:
    """(file, points, reason, behaviour) for what one event says against a file."""
    if event.kind == "wrote":
        yield from _of_writing(event)
    elif event.kind == "started":
        yield from _of_start(event)
    elif event.kind == "loaded":
        target = _file_in(event.target)
        if target and event.is_unsigned and is_out_of_place(event.target):
            reason = "an unsigned library in a place that anybody may write to"
            yield target, 25, reason, "is loaded into a system program"
    elif event.kind in ("registry", "service", "task") and mechanism(event):
        kept = _file_in(event.value) or _file_in(event.target)
        if kept and is_out_of_place(f"{event.value} {event.target}"):
            yield kept, 25, f"started by {mechanism(event)}", "stays on the host"


def _of_writing(event: HostEvent) -> Iterator[tuple[str, int, str, str]]:
    target = _file_in(event.target)
    if not target:
        return
    if event.name.lower() in SHELLS | PROXIES | OFFICE:
        yield target, 25, "dropped by a shell, a system tool or an office program", "is dropped by another program"
    if mechanism(event):
        yield target, 45, mechanism(event), "stays on the host"
    if target.lower().endswith(_MACROS):
        yield target, 20, "a document with macros", "carries macros"


def _of_start(event: HostEvent) -> Iterator[tuple[str, int, str, str]]:
    actor = event.name.lower()
    started = _file_in(event.command, skip=actor)
    if actor in PROXIES and started and is_out_of_place(event.command):
        yield started, 20, f"run through {line(event.name, 40)}", "hides behind a program of the system"
    opened = _opened_document(event)
    if actor in OFFICE | SHELLS and opened:
        yield opened, 40, "a document that starts a shell", "starts a shell when it is opened"
    if _is_own(actor) and is_out_of_place(event.image):
        yield event.name, 20, "runs from a place that anybody may write to", "runs from where no software is installed"


def _opened_document(event: HostEvent) -> str:
    """The document with macros that the event's parent, an office program, had open; empty for none."""
    if event.parent_name.lower() not in OFFICE:
        return ""
    opened = _file_in(event.parent_command, skip=event.parent_name.lower())
    return opened if opened.lower().endswith(_MACROS) else ""


def _from_network(web: Web, raws: Mapping[Any, str], found: dict[str, Sample]) -> None:
    """Files that went over the wire: written to an administrative share, linked in a mail that was let through."""
    for alert in web.alerts:
        if _SHARE.search(raws.get(alert.pk, "")) and "filename" in raws[alert.pk]:
            for name in _names(raws[alert.pk]):
                sample = found.setdefault(name.lower(), Sample(name))
                sample.charge(25, "written to an administrative share", "spreads over administrative shares")
                sample.seen(alert)
        if alert.category == "email" and alert.severity not in ("low", "info"):
            for name in _names(" ".join(str(ioc.value) for ioc in web.scope.of(alert).iocs)):
                sample = found.setdefault(name.lower(), Sample(name))
                sample.charge(20, "linked in a mail that was delivered", "comes by mail")
                sample.seen(alert)


def _gather_mentions(web: Web, raws: Mapping[Any, str], found: dict[str, Sample]) -> None:
    """Adds to each sample the alerts whose record names the file, whatever they say of it."""
    by_name: defaultdict[str, list[Alert]] = defaultdict(list)
    for alert in web.alerts:
        for name in {name.lower() for name in _names(raws.get(alert.pk, ""))}:
            by_name[name].append(alert)
    for key, sample in found.items():
        for alert in by_name.get(key, ()):
            hosts = web.hosts(alert)
            sample.seen(alert, hosts[0] if hosts and "agent_id" in alert.metadata else "")


def _gather_hashes(web: Web, found: dict[str, Sample]) -> None:
    """A hash is a sample's where it is the only one that the alerts of a single sample carry; alerts that carry it join the sample."""
    carriers: defaultdict[str, list[Alert]] = defaultdict(list)
    for alert in web.alerts:
        for ioc in web.scope.of(alert).iocs:
            if ioc.type in HASHES:
                carriers[ioc.value].append(alert)
    for digest, alerts in carriers.items():
        owners = [
            sample
            for sample in found.values()
            if any(alert.id in sample.alerts for alert in alerts) and sample.points >= 20
        ]
        if len(owners) == 1 and not _is_tools(alerts):
            owners[0].hashes[digest] = None
            for alert in alerts:
                owners[0].seen(alert)


def _is_tools(alerts: Sequence[Alert]) -> bool:
    """Whether the alerts tell of a program's start: the hash there is the program's, often the system's own, not that of the file it ran."""
    return any(str(alert.metadata.get("event_id")) in ("1", "4688") for alert in alerts)


def _weigh_hashes(web: Web, found: dict[str, Sample], known: Sequence[Reputation]) -> None:
    bad = {one.ioc.value: one for one in known if one.ioc.type in HASHES and one.is_bad}
    for sample in found.values():
        for digest in sorted(sample.hashes.keys() & bad.keys()):
            sample.charge(round(bad[digest].score * 0.6), f"the store holds its hash for {bad[digest].verdict}")
        sensors = {alert.source for alert in sample.alerts.values()}
        if len(sensors) > 1:
            sample.charge(10, f"{many(len(sensors), 'kind')} of sensors saw it")
    held = {digest for sample in found.values() for digest in sample.hashes}
    for digest in [digest for digest in bad if digest not in held]:
        _of_hash_alone(web, found.setdefault(digest, Sample(digest)), bad[digest])


def _of_hash_alone(web: Web, sample: Sample, known: Reputation) -> None:
    digest = known.ioc.value
    sample.charge(round(known.score * 0.8), f"the store holds the hash for {known.verdict}")
    sample.hashes[digest] = None
    for alert in web.alerts:
        if any(ioc.value == digest for ioc in web.scope.of(alert).iocs):
            sample.seen(alert)


def _names(text: str) -> Iterator[str]:
    for name in _FILE.findall(text):
        if _is_own(name):
            yield name


def _file_in(text: str, skip: str = "") -> str:
    return next((name for name in map(basename, _FILE.findall(text)) if _is_own(name) and name.lower() != skip), "")


def _is_own(name: str) -> bool:
    return len(name) >= _LEAST_NAME and name.lower() not in _COMMON
