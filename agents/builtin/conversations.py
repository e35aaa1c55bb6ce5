"""Who of ours talked with which outside place, when, and how much: alerts and their repetitions, taken for flow records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from agents.builtin import killchain
from agents.builtin.pivoting import Web
from agents.builtin.rhythm import Rhythm, measure, unevenness
from cases import observables
from cases.models import Alert, AlertSighting, Ioc
from cases.states import IocType

_INBOUND = ("reconnaissance", "resource-development", "initial-access")
_C2 = "command-and-control"
_MAX_PLACES = 40
_MAX_REPEATED = 40
_MAX_SIGHTINGS = 200
_LEAST_SIZES = 5


class Contact(NamedTuple):
    """One call: from which host of ours, and the bytes that went out and came in, as far as the sensor counted them."""

    at: datetime
    source: str
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one outside place had with our hosts. `also` are names and addresses that went with it in the same alerts.

    `contacts` are those kept, `count` is how many there were; `rhythm` is the evenest of the callers', if it can be measured, and `among` how
    many were measured in all conversations together.
    """

    place: Ioc
    also: tuple[Ioc, ...]
    alerts: tuple[Alert, ...]
    callers: tuple[str, ...]
    contacts: tuple[Contact, ...]
    count: int
    seconds: float
    rhythm: Rhythm | None
    among: int
    is_c2: bool

    @property
    def period(self) -> float:
        return self.rhythm.period if self.rhythm else self.seconds / (self.count - 1)

    @property
    def is_even(self) -> bool:
        return self.rhythm is not None and self.rhythm.is_even(self.among)

    @property
    def up(self) -> int:
        return sum(contact.up for contact in self.contacts)

    @property
    def down(self) -> int:
        return sum(contact.down for contact in self.contacts)

    @property
    def size_unevenness(self) -> float | None:
        """Of the bytes that each call sent; None for too few counted ones. An implant that has nothing to tell says it in as many bytes."""
        sizes = [contact.up for contact in self.contacts if contact.up]
        return unevenness(sizes) if len(sizes) >= _LEAST_SIZES else None


def conversations(web: Web) -> list[Conversation]:
    """One for each outside place that ours called, the most alerts first; an address and the name that goes with it are one place. One query."""
    places = _places(web)[:_MAX_PLACES]
    contacts = _contacts(web, [alert for _, alerts, _ in places for alert in alerts])
    rhythms = [_rhythms([contacts[alert.id] for alert in alerts]) for _, alerts, _ in places]
    among = sum(map(len, rhythms))
    return [
        _measured(web, ioc, alerts, also, contacts, _evenest(own), among)
        for (ioc, alerts, also), own in zip(places, rhythms, strict=True)
    ]


def _places(web: Web) -> list[tuple[Ioc, list[Alert], list[Ioc]]]:
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
    return found


def _is_inbound(web: Web, alert: Alert) -> bool:
    tactics = killchain.alert_tactics(web.scope, alert)
    return bool(tactics) and all(tactic in _INBOUND for tactic in tactics)


def _contacts(web: Web, alerts: Sequence[Alert]) -> dict[UUID, list[Contact]]:
    """Each alert's contacts: first sight, and of its repetitions the latest 200."""
    found = {alert.id: [_contact(web, alert.first_seen, alert.metadata)] for alert in alerts}
    repeated = [alert.id for alert in alerts if alert.count > 1][:_MAX_REPEATED]
    latest = [
        AlertSighting.objects.filter(alert=alert_id).order_by("-seen_at")
        .values_list("alert_id", "seen_at", "metadata__src_ip", "metadata__bytes_toserver", "metadata__bytes_toclient")
        [:_MAX_SIGHTINGS]
        for alert_id in repeated
    ]  # fmt: skip
    for alert_id, seen_at, address, up, down in latest[0].union(*latest[1:], all=True) if latest else ():
        found[alert_id].append(Contact(seen_at, web.inside(address), _bytes(up), _bytes(down)))
    return found


def _contact(web: Web, at: datetime, metadata: Mapping[str, Any]) -> Contact:
    up, down = (_bytes(metadata.get(name)) for name in ("bytes_toserver", "bytes_toclient"))
    return Contact(at, web.inside(metadata.get("src_ip")), up, down)


def _bytes(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _measured(
    web: Web,
    place: Ioc,
    alerts: Sequence[Alert],
    also: Sequence[Ioc],
    contacts: Mapping[UUID, Sequence[Contact]],
    rhythm: Rhythm | None,
    among: int,
) -> Conversation:
    kept = sorted({contact for alert in alerts for contact in contacts[alert.id]})
    sources = dict.fromkeys(contact.source for alert in alerts for contact in contacts[alert.id] if contact.source)
    first, last = min(one.first_seen for one in alerts), max(one.last_seen for one in alerts)
    return Conversation(
        place=place,
        also=tuple(also),
        alerts=tuple(alerts),
        callers=tuple(sources) or tuple(web.all_hosts(alerts)),
        contacts=tuple(kept),
        count=sum(alert.count for alert in alerts),
        seconds=(last - first).total_seconds(),
        rhythm=rhythm,
        among=among,
        is_c2=any(killchain.has_tactic(web.scope, alert, _C2) for alert in alerts),
    )


def _rhythms(series: Sequence[Sequence[Contact]]) -> list[Rhythm]:
    """Of each alert's contacts from one host, of one host's contacts in all alerts, and of all together, as far as they can be measured.

    Two rules that fire on one connection would halve every other interval, so alerts are measured alone first.
    """
    together = [one for alert in series for one in alert]
    sources = sorted({one.source for one in together})
    rows = [[one.at for one in some if one.source == source] for some in (*series, together) for source in sources]
    rows.append([one.at for one in together])
    # The same moments are one row, however they were put together: it is looked at once.
    distinct = {tuple(sorted(set(row))) for row in rows}
    return [rhythm for rhythm in map(measure, sorted(distinct)) if rhythm]


def _evenest(measured: Sequence[Rhythm]) -> Rhythm | None:
    """Of those that look even the one least likely by chance, which may be less even than a shorter one."""
    even = [rhythm for rhythm in measured if rhythm.looks_even]
    if even:
        return min(even, key=lambda rhythm: (rhythm.chance, rhythm.spread, rhythm.period))
    return min(measured, key=lambda rhythm: (rhythm.spread, rhythm.period), default=None)
