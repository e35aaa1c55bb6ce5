"""Chains of processes on a host: who started whom, what each did, and how unusual the whole is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents.builtin.host_events import HostEvent, basename
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Web
from agents.builtin.rarity import Frequency
from agents.builtin.reputation import Term
from agents.builtin.scope import distinct
from agents.builtin.suspicion import signs
from agents.builtin.wording import line, listed, many, moment
from cases.models import Alert

_MAX_DEPTH = 12
_MAX_TERMS = 6
_RARE = 10
_LEAST_POINTS = 20
_DEEDS = {"started": "started", "connected": "connected to", "loaded": "loaded", "injected": "put a thread into", "opened": "opened",
          "wrote": "wrote", "registry": "set"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chain:
    """Events on one host that one line of processes did. `names` are the programs from the first ancestor on."""

    host: str
    names: tuple[str, ...]
    events: tuple[HostEvent, ...]


def chains(events: Sequence[HostEvent]) -> list[Chain]:
    """The events by host and by the process that stands at the head of those that they belong to, in order of time."""
    found: list[Chain] = []
    for host, own in _by_host(events).items():
        parents = _parents(own)
        groups: defaultdict[str, list[HostEvent]] = defaultdict(list)
        for event in own:
            groups[_root(_key(event), parents)].append(event)
        found += [Chain(host, _names(group), tuple(group)) for group in groups.values()]
    return sorted(found, key=lambda one: one.events[0].at)


def suspicious_chains(web: Web, found: Sequence[Chain], common: Frequency) -> Iterator[Hypothesis]:
    """The chains with signs of an intruder's work; a pair of programs that the estate hardly knows makes them likelier, never alone."""
    for chain in found:
        shown = _signs(chain)
        if sum(term.points for term, _ in shown) < _LEAST_POINTS:
            continue
        terms = [term for term, _ in shown][:_MAX_TERMS]
        rare = _rare_pairs(chain, common)
        if rare:
            terms.append(
                Term(_RARE, f"{listed(rare, 2)} was reported on one host at most of {many(common.starts, 'start')}")
            )
        if len({event.alert.id for event in chain.events}) > 2:
            terms.append(Term(8, f"{len({event.alert.id for event in chain.events})} events of one line of processes"))
        yield _suspicious(web, chain, terms)


def deed(event: HostEvent) -> str:
    """`rundll32.exe loaded x.dll`."""
    what = basename(event.target) if event.kind not in ("connected", "registry") else event.target
    return line(f"{event.name or 'something'} {_DEEDS.get(event.kind, event.kind)} {what}".strip(), 120)


def _by_host(events: Sequence[HostEvent]) -> dict[str, list[HostEvent]]:
    hosts: defaultdict[str, list[HostEvent]] = defaultdict(list)
    for event in events:
        if event.image:
            hosts[event.host].append(event)
    return hosts


def _parents(events: Sequence[HostEvent]) -> dict[str, str]:
    """The parent of each process that was seen to start. Without ids, names on one host stand for the processes."""
    return {
        _key(event): event.parent_guid or event.parent_name.lower()
        for event in events
        if event.kind == "started" and event.parent_image
    }


def _key(event: HostEvent) -> str:
    return event.guid or event.name.lower()


def _root(key: str, parents: dict[str, str]) -> str:
    """The first ancestor of which anything is known. Bounded, for ids that a sensor mixed up may lead in a ring."""
    for _ in range(_MAX_DEPTH):
        parent = parents.get(key)
        if not parent or parent == key:
            break
        key = parent
    return key


def _names(events: Sequence[HostEvent]) -> tuple[str, ...]:
    names: list[str] = []
    for event in events:
        names += [basename(event.grandparent_image), event.parent_name, event.name]
    return tuple(distinct(name for name in names if name))


def _signs(chain: Chain) -> list[tuple[Term, HostEvent]]:
    """The distinct signs of a chain, the weightiest first."""
    found = {term.reason: (term, event) for event in chain.events for term in signs(event)}
    return sorted(found.values(), key=lambda one: -one[0].points)


def _rare_pairs(chain: Chain, common: Frequency) -> list[str]:
    pairs = distinct(
        f"{event.parent_name} → {event.name}"
        for event in chain.events
        if event.kind == "started" and event.parent_name and common.is_rare(event.parent_name, event.name)
    )
    return [line(pair, 80) for pair in pairs]


def _suspicious(web: Web, chain: Chain, terms: Sequence[Term]) -> Hypothesis:
    alerts = distinct_alerts(chain.events)
    path = " → ".join(line(name, 40) for name in chain.names[:6])
    deeds = listed(distinct(deed(event) for event in chain.events if event.kind in _DEEDS and event.target), 6)
    did = f"; {deeds}" if any(event.target for event in chain.events) else ""
    return hypothesis(
        "process_chain",
        web,
        alerts,
        title=f"{path} on {line(chain.host, 60)}",
        detail=f"Chain of processes on {line(chain.host, 60)} from {moment(chain.events[0].at)}: {path}{did}.",
        terms=terms,
        hosts=[chain.host],
        users=web.all_users(alerts),
        iocs=distinct(ioc.value for alert in alerts for ioc in web.scope.of(alert).iocs),
        actions=[
            f"Take the memory of {line(chain.host, 60)} while {line(chain.names[-1], 40)} still runs",
            f"Search the estate for {line(chain.names[-1], 40)} started by the same parent",
        ],
    )


def distinct_alerts(events: Sequence[HostEvent]) -> list[Alert]:
    """The alerts that the events come from, in their order."""
    return list({event.alert.id: event.alert for event in events}.values())
