"""A host of ours calls the same outside address again and again: an implant that asks for orders."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

from agents.builtin import killchain
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Term
from agents.builtin.wording import duration, line, listed, many, moment, percent
from cases import observables
from cases.models import Alert, AlertSighting, Ioc
from cases.states import IocType

_LEAST_CONTACTS = 3
_LEAST_SPAN = 300.0
_LEAST_INTERVALS = 4
# Published beacons jitter by up to a third of their period; people and updaters are less even.
_EVEN = 0.35
_INBOUND = ("reconnaissance", "resource-development", "initial-access")
_C2 = "command-and-control"
_MAX_FOUND = 5
_MAX_PLACES = 40
_MAX_REPEATED = 40
_MAX_SIGHTINGS = 200


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """`period` is the mean interval in seconds, `spread` the intervals' standard deviation over it, of `count` intervals."""

    period: float
    spread: float
    count: int


class _Contact(NamedTuple):
    at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class _Calls:
    """The alerts that one outside place had, with the hosts of ours that called it and the rhythm, if it can be measured."""

    place: Ioc
    also: tuple[Ioc, ...]
    alerts: tuple[Alert, ...]
    callers: tuple[str, ...]
    contacts: int
    seconds: float
    rhythm: _Rhythm | None
    is_c2: bool

    @property
    def period(self) -> float:
        return self.rhythm.period if self.rhythm else self.seconds / (self.contacts - 1)

    @property
    def is_even(self) -> bool:
        return self.rhythm is not None and self.rhythm.spread <= _EVEN


def beaconing(web: Web) -> Iterator[Hypothesis]:
    """Three contacts or more over five minutes or more, held to be C2 by a technique, or evenly spaced and outbound."""
    found = [calls for calls in _calls(web) if _is_beacon(web, calls)]
    for calls in found[:_MAX_FOUND]:
        yield _beacon(web, calls)


def _calls(web: Web) -> list[_Calls]:
    """One for each outside place; an address and the name that goes with it in the same alerts are one place."""
    carriers: dict[UUID, tuple[Ioc, list[Alert]]] = {}
    for alert in web.alerts:
        if web.destination(alert) or _is_inbound(web, alert):
            continue
        for ioc in web.scope.of(alert).iocs:
            if ioc.type in (IocType.IP, IocType.DOMAIN) and not observables.is_internal_ip(ioc.value):
                carriers.setdefault(ioc.id, (ioc, []))[1].append(alert)
    order = sorted(carriers.values(), key=lambda one: (-len(one[1]), one[0].type != IocType.IP, one[0].value))
    found: list[tuple[Ioc, list[Alert], list[Ioc]]] = []
    for ioc, alerts in order:
        twin = next((other for other in found if len(set(alerts) & set(other[1])) * 2 >= len(alerts)), None)
        if twin:
            twin[2].append(ioc)
        else:
            found.append((ioc, alerts, []))
    contacts = _contacts(web, [alert for _, alerts, _ in found[:_MAX_PLACES] for alert in alerts])
    return [_measured(web, ioc, alerts, also, contacts) for ioc, alerts, also in found[:_MAX_PLACES]]


def _contacts(web: Web, alerts: Sequence[Alert]) -> dict[UUID, list[_Contact]]:
    """When, and from which host of ours, each alert was seen: first, and of its repetitions the latest 200. One query."""
    found = {alert.id: [_Contact(alert.first_seen, web.source(alert))] for alert in alerts}
    repeated = [alert.id for alert in alerts if alert.count > 1][:_MAX_REPEATED]
    latest = [
        AlertSighting.objects.filter(alert=alert_id).order_by("-seen_at")
        .values_list("alert_id", "seen_at", "metadata__src_ip")[:_MAX_SIGHTINGS]
        for alert_id in repeated
    ]  # fmt: skip
    for alert_id, seen_at, address in latest[0].union(*latest[1:], all=True) if latest else ():
        found[alert_id].append(_Contact(seen_at, web.inside(address)))
    return found


def _is_inbound(web: Web, alert: Alert) -> bool:
    tactics = killchain.alert_tactics(web.scope, alert)
    return bool(tactics) and all(tactic in _INBOUND for tactic in tactics)


def _measured(
    web: Web,
    place: Ioc,
    alerts: Sequence[Alert],
    also: Sequence[Ioc],
    contacts: Mapping[UUID, Sequence[_Contact]],
) -> _Calls:
    sources = dict.fromkeys(contact.source for alert in alerts for contact in contacts[alert.id] if contact.source)
    first, last = min(one.first_seen for one in alerts), max(one.last_seen for one in alerts)
    return _Calls(
        place=place,
        also=tuple(also),
        alerts=tuple(alerts),
        callers=tuple(sources) or tuple(web.all_hosts(alerts)),
        contacts=sum(alert.count for alert in alerts),
        seconds=(last - first).total_seconds(),
        rhythm=_rhythm([contacts[alert.id] for alert in alerts]),
        is_c2=any(killchain.has_tactic(web.scope, alert, _C2) for alert in alerts),
    )


def _rhythm(series: Sequence[Sequence[_Contact]]) -> _Rhythm | None:
    """The evenest of: each alert's contacts from one host, and all alerts' contacts together.

    Two rules that fire on one connection would halve every other interval, so alerts are measured alone first.
    """
    rows = [
        [one.at for one in alert if one.source == source]
        for alert in series
        for source in {one.source for one in alert}
    ]
    rows.append([one.at for alert in series for one in alert])
    measured = [rhythm for rhythm in map(_measure, rows) if rhythm]
    return min(measured, key=lambda rhythm: rhythm.spread, default=None)


def _measure(times: Sequence[datetime]) -> _Rhythm | None:
    distinct = sorted(set(times))
    intervals = [(later - earlier).total_seconds() for earlier, later in pairwise(distinct)]
    if len(intervals) < _LEAST_INTERVALS:
        return None
    mean = statistics.fmean(intervals)
    return _Rhythm(mean, statistics.pstdev(intervals) / mean, len(intervals))


def _is_beacon(web: Web, calls: _Calls) -> bool:
    if calls.contacts < _LEAST_CONTACTS or calls.seconds < _LEAST_SPAN:
        return False
    is_outbound = any(web.source(alert) for alert in calls.alerts)
    return calls.is_c2 or (calls.is_even and is_outbound)


def _beacon(web: Web, calls: _Calls) -> Hypothesis:
    hosts = calls.callers
    place = line(calls.place.value, 80)
    with_names = f" (with {listed((line(ioc.value, 80) for ioc in calls.also), 3)})" if calls.also else ""
    start, end = min(one.first_seen for one in calls.alerts), max(one.last_seen for one in calls.alerts)
    return hypothesis(
        "beaconing",
        web,
        calls.alerts,
        title=f"{listed(hosts, 3)} beaconing to {place}",
        detail=(
            f"{many(calls.contacts, 'contact')} to {place}{with_names} from {many(len(hosts), 'host')} ({listed(hosts)}) in "
            f"{duration(calls.seconds)}, {moment(start)} to {moment(end)}: one every {duration(calls.period)} on average"
            f"{_evenness(calls)}."
        ),
        terms=list(_terms(calls, hosts)),
        hosts=hosts,
        users=web.all_users(calls.alerts),
        iocs=[ioc.value for ioc in (calls.place, *calls.also)],
        actions=[
            f"Block {place} and search DNS, proxy and flow records for other hosts that reached it",
            f"Find the process behind the connections on {listed(hosts, 3)}",
        ],
    )


def _evenness(calls: _Calls) -> str:
    if calls.rhythm:
        return f", {calls.rhythm.count} intervals spread by {percent(calls.rhythm.spread)} of their mean"
    return "; too few separate times to measure how even, flow records would tell"


def _terms(calls: _Calls, hosts: Sequence[str]) -> Iterator[Term]:
    yield Term(30, f"{calls.contacts} contacts over {duration(calls.seconds)}")
    if calls.is_c2:
        yield Term(25, "a sensor names a command-and-control technique")
    if calls.is_even:
        yield Term(20, "even intervals")
    elif calls.contacts >= 10:
        yield Term(8, "many contacts, even or not")
    if len(hosts) > 1:
        yield Term(10, f"{len(hosts)} hosts call the same place")
    if len({alert.source for alert in calls.alerts}) > 1:
        yield Term(8, "sensors of different kinds agree")
    if calls.also:
        yield Term(5, "address and name occur together")
