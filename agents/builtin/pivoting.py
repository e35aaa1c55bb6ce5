"""From a few alerts to all that hang together with them: breadth-first over shared IOCs, assets and users.

What is reached loses strength with each hop: by the worth of what is shared, by the strength of where it was reached from, by the time
between the two (a host has more than one story a day), and by its own severity. It is dropped when little is left. What very many
alerts bear is not followed: it leads everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from agents.builtin import assets, killchain
from agents.builtin.assets import is_address
from agents.builtin.scope import Scope, distinct, in_order, named_by
from cases import observables
from cases.correlation import Relation, alerts_bearing, is_everybodys, seconds_apart, strength, worth
from cases.models import Alert
from cases.states import AlertStatus

MAX_HOPS = 3
MAX_ALERTS = 200
WINDOW = timedelta(hours=48)

_HUB = 60
SWEEP_HOSTS = 3
_LEAST_WORTH = 0.2
_LEAST_STRENGTH = 0.12
_GO_ON_FROM = 0.25
_MAX_RELATIONS = 256
_CANDIDATES = 2 * MAX_ALERTS
HALF_LIFE = {"ioc": 24 * 3600, "user": 12 * 3600, "asset": 6 * 3600}
"""Seconds after which sharing it is worth half."""
PRIOR = {"critical": 1.0, "high": 1.0, "medium": 0.85, "low": 0.5, "info": 0.3}
"""How much of a tie an alert's severity leaves: the lower, the more of them everybody has every day."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How an alert was come by: after how many hops, by what, and how strongly (0–1) it hangs together with the start."""

    hops: int
    strength: float
    relations: tuple[Relation, ...]


@dataclass
class Web:
    """All that was reached. `hubs` are relations too common to follow, with the number of alerts in the window that bear them.

    `known_names` are host names by address, from elsewhere; those that the alerts themselves tell come on top.
    """

    scope: Scope
    reached: dict[UUID, Reach]
    since: datetime
    until: datetime
    hubs: dict[Relation, int] = field(default_factory=dict)
    is_cut: bool = False
    known_names: dict[str, str] = field(default_factory=dict)

    @cached_property
    def aliases(self) -> dict[str, str]:
        return self.known_names | assets.aliases(self.scope)

    @property
    def alerts(self) -> list[Alert]:
        return self.scope.alerts

    def host(self, name: str) -> str:
        """The host's name where the address is known to be its; else the name or address as it is."""
        return self.aliases.get(name, name)

    def hosts(self, alert: Alert) -> list[str]:
        return distinct(self.host(name) for name in self.scope.of(alert).assets if not self.is_account(alert, name))

    def all_hosts(self, alerts: Iterable[Alert]) -> list[str]:
        return distinct(host for alert in alerts for host in self.hosts(alert))

    def users(self, alert: Alert) -> list[str]:
        """The alert's accounts by their bare names: `corp\\\\j.doe` and `j.doe@corp.example` are `j.doe`."""
        accounts = [name for name in self.scope.of(alert).assets if self.is_account(alert, name)]
        return distinct(map(bare_account, [*self.scope.of(alert).users, *accounts]))

    def is_account(self, alert: Alert, asset: str) -> bool:
        """Whether what the sensor calls an asset is somebody's account: nothing runs on it, and it cannot be cut off a network."""
        return assets.is_account(asset, alert.asset_type or "", self.scope.of(alert).users)

    def all_users(self, alerts: Iterable[Alert]) -> list[str]:
        return distinct(user for alert in alerts for user in self.users(alert))

    def is_sweep(self, alert: Alert) -> bool:
        """Whether it names so many hosts that it says nothing of any two of them: a scanner's round, a resolver's clients."""
        return sum(is_address(name) for name in self.scope.of(alert).assets) > SWEEP_HOSTS

    def source(self, alert: Alert) -> str:
        """The inside host from which the alert's connection came, or empty."""
        return self.inside(alert.metadata.get("src_ip"))

    def destination(self, alert: Alert) -> str:
        """The inside host to which the alert's connection went, or empty."""
        return self.inside(alert.metadata.get("dest_ip"))

    def with_tactic(self, *tactics: str) -> list[Alert]:
        return [alert for alert in self.alerts if killchain.has_tactic(self.scope, alert, *tactics)]

    def inside(self, address: object) -> str:
        """The host of ours that the address belongs to (the address itself, if unnamed); empty for any other value."""
        if isinstance(address, str) and observables.is_internal_ip(address):
            return self.host(address.lower())
        return ""


def follow(scope: Scope, *, max_hops: int = MAX_HOPS, max_alerts: int = MAX_ALERTS) -> Web:
    """The web around the scope's alerts, within 48 h before and after them. About eight queries a hop."""
    since = min(alert.first_seen for alert in scope.alerts) - WINDOW
    until = max(alert.last_seen for alert in scope.alerts) + WINDOW
    own = Scope(list(scope.alerts), scope.case, scope.focus, dict(scope.named))
    web = Web(own, {alert.id: Reach(0, PRIOR[alert.severity], ()) for alert in scope.alerts}, since, until)
    followed: set[Relation] = set()
    frontier = list(scope.alerts)
    for hops in range(1, max_hops + 1):
        leads = {key: alerts for key, alerts in _leads(web, frontier).items() if key not in followed}
        followed.update(leads)
        frontier = _hop(web, leads, hops, max_alerts)
        if not frontier:
            break
    return web


def bare_account(name: str) -> str:
    """The account's name without its domain, as Windows or a mail address gives it, or without the path of a cloud's name."""
    if name.startswith("arn:"):
        return name.rpartition("/")[2] or name
    return name.rpartition("\\")[2].partition("@")[0] or name


def _leads(web: Web, frontier: list[Alert]) -> dict[Relation, list[Alert]]:
    """Where the frontier's alerts lead, and which of them lead there; those of the strongest alerts first."""
    leads: defaultdict[Relation, list[Alert]] = defaultdict(list)
    for alert in sorted(frontier, key=lambda one: (-web.reached[one.id].strength, one.id)):
        named = web.scope.of(alert)
        iocs = [ioc for ioc in named.iocs if not is_everybodys(alert, ioc)]
        values = [("ioc", ioc.value) for ioc in iocs] + [("asset", name) for name in named.assets]
        for kind, value in values + [("user", name) for name in named.users]:
            leads[Relation(kind, value)].append(alert)
    return dict(list(leads.items())[:_MAX_RELATIONS])


def _hop(web: Web, leads: dict[Relation, list[Alert]], hops: int, max_alerts: int) -> list[Alert]:
    """One step further; returns the alerts from which to go on."""
    bearing = alerts_bearing(relations=leads, around=web.scope.leading, since=web.since, until=web.until)
    # By what is about in these days: a server that had a thousand alerts in a year is no common thing today.
    worths = {relation: worth(relation, len(found) + 1) for relation, found in bearing.items()}
    web.hubs.update({relation: len(found) for relation, found in bearing.items() if len(found) >= _HUB})
    ties: defaultdict[UUID, list[Relation]] = defaultdict(list)
    for relation, found in bearing.items():
        for alert_id in found if relation not in web.hubs and worths[relation] >= _LEAST_WORTH else ():
            if alert_id not in web.reached:
                ties[alert_id].append(relation)
    most_tied = sorted(ties, key=lambda alert_id: (-strength(ties[alert_id], worths), alert_id))[:_CANDIDATES]
    rows = Alert.objects.exclude(status=AlertStatus.FALSE_POSITIVE).defer("raw").in_bulk(most_tied)
    reached = {alert: _reach(web, alert, ties[alert.id], leads, worths, hops) for alert in rows.values()}
    return _take(web, reached, max_alerts)


def _reach(
    web: Web,
    alert: Alert,
    relations: list[Relation],
    leads: dict[Relation, list[Alert]],
    worths: dict[Relation, float],
    hops: int,
) -> Reach:
    """Each relation counts by the alert from which it leads here most strongly."""
    weights = {
        relation: worths[relation] * max(_carried(web, origin, alert, relation) for origin in leads[relation])
        for relation in relations
    }
    ordered = tuple(sorted(relations, key=lambda relation: (-weights[relation], relation)))
    return Reach(hops, round(strength(relations, weights) * PRIOR[alert.severity], 4), ordered)


def _carried(web: Web, origin: Alert, alert: Alert, relation: Relation) -> float:
    fading = 0.5 ** (seconds_apart(origin, alert) / HALF_LIFE[relation.kind])
    return web.reached[origin.id].strength * float(fading)


def _take(web: Web, reached: dict[Alert, Reach], max_alerts: int) -> list[Alert]:
    """Takes in the strongest, as long as there is room; returns those strong enough to go on from."""
    strong = [alert for alert, reach in reached.items() if reach.strength >= _LEAST_STRENGTH]
    strong.sort(key=lambda alert: (-reached[alert].strength, alert.id))
    room = max(0, max_alerts - len(web.alerts))
    web.is_cut = web.is_cut or len(strong) > room
    new = strong[:room]
    web.reached.update({alert.id: reached[alert] for alert in new})
    web.scope.named.update(named_by(new))
    web.scope.alerts[:] = in_order([*web.alerts, *new])
    return [alert for alert in new if reached[alert].strength >= _GO_ON_FROM and not web.is_sweep(alert)]
