"""Which open cases an alert belongs to: those that a chain of plausible links leads to, within a day before or after it.

An intrusion's alerts seldom share one thing: the upload to a web server and the files leaving another are tied by what lies between them,
most of it too slight for a case of its own. So the chain goes through alerts in no case as well. It is as strong as its weakest link, and
a link is what two neighbours share, by how rare that is in these days (`cases.correlation.worth`) and how far apart they are in time.

Coincidence is kept out by four rules. What very many alerts bear, or a host or account that meets very many others (a proxy, a scanner, a
resolver, a busy service account), leads nowhere. An alert that names many hosts, or is slight, is no bridge. A host alone ties only acts of
the kill chain, or what happened on it at once. And programs of the system, user agents and techniques are everybody's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from agents.builtin.assets import is_address
from agents.builtin.killchain import alert_tactics
from agents.builtin.pivoting import HALF_LIFE, SWEEP_HOSTS
from agents.builtin.scope import Scope, gravity, named_by
from agents.builtin.wording import line, listed, many, quoted
from aurora.actors import Actor
from aurora.bus import outbox
from cases import attack, lifecycle
from cases import events as case_events
from cases.correlation import Relation, alerts_bearing, is_everybodys, seconds_apart, strength, worth
from cases.models import Alert, Case
from cases.states import URGENT, AlertStatus, CaseStatus, IocType, TimelineKind

WINDOW = timedelta(hours=24)
LEAST_LINK = 0.3
"""The strength that each link of a chain must have."""

_MAX_HOPS = 3
_MAX_RELATIONS = 64
_MAX_CANDIDATES = 200
_HUB_ALERTS = 60
_HUB_HOSTS = 8
_AT_ONCE = timedelta(minutes=15)
_MEDIUM = 2
_ACT = attack.tactic_rank("initial-access")


@dataclass(frozen=True, slots=True)
class Tie:
    """An open case that the alert hangs together with: through which of its alerts, after how many links, by what the last one is, and
    the strength (0–1) of the weakest."""

    case_id: UUID
    alert: Alert
    hops: int
    relations: tuple[Relation, ...]
    strength: float


@dataclass(frozen=True, slots=True)
class _Step:
    alert: Alert
    relations: tuple[Relation, ...]
    strength: float


def ties(*, alert: Alert) -> list[Tie]:
    """One for each open case within reach, the strongest chain first, then the shortest, then the oldest case. Some seven queries a hop."""
    walk = _Walk(alert)
    found: dict[UUID, Tie] = {}
    frontier = [alert]
    for hops in range(1, _MAX_HOPS + 1):
        steps = walk.onwards(frontier)
        for step in steps:
            case_id = step.alert.case_id
            if case_id and (case_id not in found or found[case_id].strength < step.strength):
                found[case_id] = Tie(case_id, step.alert, hops, step.relations, step.strength)
        frontier = [step.alert for step in steps if walk.is_bridge(step.alert)]
        if not frontier:
            break
    is_open = set(Case.objects.filter(pk__in=found).exclude(status=CaseStatus.CLOSED).values_list("pk", flat=True))
    held = [tie for tie in found.values() if tie.case_id in is_open]
    return sorted(held, key=lambda tie: (-tie.strength, tie.hops, tie.case_id))


def name_each_other(*, case: Case, alert: Alert, others: Iterable[Tie], actor: Actor) -> None:
    """A line in the timelines of the alert's case and of each other that it ties in, once for each two: they may be one intrusion."""
    for tie in others:
        other = Case.objects.get(pk=tie.case_id)
        if case.timeline.filter(data__same_intrusion=str(other.pk)).exists():
            continue
        by = listed((f"{relation.kind} {line(relation.value, 60)}" for relation in tie.relations), 3)
        for one, second in ((case, other), (other, case)):
            text = (
                f"May be one intrusion with {second.reference} “{line(second.title)}”: {quoted(alert)} and {quoted(tie.alert)} "
                f"hang together over {many(tie.hops, 'link')}, the last by {by}"
            )
            data = {"same_intrusion": str(second.pk), "alert_ids": [str(alert.id), str(tie.alert.id)]}
            lifecycle.note(case=one, kind=TimelineKind.INVESTIGATION, actor=actor.name, text=text, data=data)
            outbox.announce(case_events.case_updated(one))


class _Walk:
    """Breadth-first from one alert. `held` is how strongly each alert that was reached hangs together with it."""

    def __init__(self, start: Alert) -> None:
        self.start = start
        self.held = {start.id: 1.0}
        self.scope = Scope([start], None, start, named_by([start]))
        self.followed: set[Relation] = set()

    def onwards(self, frontier: list[Alert]) -> list[_Step]:
        """The alerts one link further, in a fixed order; each by its strongest way."""
        leads = self._leads(frontier)
        since, until = self.start.first_seen - WINDOW, self.start.last_seen + WINDOW
        bearing = alerts_bearing(relations=leads, around=self.start, since=since, until=until)
        bearing = {relation: found for relation, found in bearing.items() if len(found) < _HUB_ALERTS}
        rows = self._rows(bearing)
        self._drop_crossroads(bearing)
        rarity = {relation: worth(relation, len(found) + 1) for relation, found in bearing.items()}
        shared: defaultdict[UUID, set[Relation]] = defaultdict(set)
        for relation, found in bearing.items():
            for alert_id in found:
                shared[alert_id].add(relation)
        steps = [step for row in rows if (step := self._best(row, shared[row.id], leads, rarity))]
        self.held |= {step.alert.id: step.strength for step in steps}
        return steps

    def is_bridge(self, alert: Alert) -> bool:
        return gravity(alert) <= _MEDIUM and len(self._addresses([alert.id])) <= SWEEP_HOSTS

    def _leads(self, frontier: Iterable[Alert]) -> dict[Relation, list[Alert]]:
        leads: defaultdict[Relation, list[Alert]] = defaultdict(list)
        for alert in sorted(frontier, key=lambda one: (-self.held[one.id], one.id)):
            for relation in self._relations(alert):
                leads[relation].append(alert)
        fresh = [relation for relation in leads if relation not in self.followed][:_MAX_RELATIONS]
        self.followed.update(fresh)
        return {relation: leads[relation] for relation in fresh}

    def _relations(self, alert: Alert) -> list[Relation]:
        named = self.scope.of(alert)
        iocs = [ioc for ioc in named.iocs if ioc.type != IocType.USER_AGENT and not is_everybodys(alert, ioc)]
        return [
            *(Relation("user", name) for name in named.users),
            *(Relation("asset", name) for name in named.assets),
            *(Relation("ioc", ioc.value) for ioc in iocs),
        ]

    def _rows(self, bearing: dict[Relation, list[UUID]]) -> list[Alert]:
        """Those not reached yet, the nearest by each relation first as far as there is room; what they name is taken in."""
        ids = dict.fromkeys(alert_id for found in bearing.values() for alert_id in found if alert_id not in self.held)
        wanted = list(ids)[:_MAX_CANDIDATES]
        known = [alert_id for found in bearing.values() for alert_id in found]
        rows = Alert.objects.exclude(status=AlertStatus.FALSE_POSITIVE).defer("raw").in_bulk(wanted)
        new = [alert_id for alert_id in dict.fromkeys(known) if alert_id not in self.scope.named][:_MAX_CANDIDATES]
        self.scope.named.update(named_by([*rows.values(), *Alert.objects.in_bulk(new).values()]))
        return [rows[alert_id] for alert_id in sorted(rows)]

    def _drop_crossroads(self, bearing: dict[Relation, list[UUID]]) -> None:
        """An alert that names many hosts says nothing of whom one of them meets: a sweep would make crossroads of all."""
        sweeps = {alert_id for alert_id in self.scope.named if len(self._addresses([alert_id])) > SWEEP_HOSTS}
        for relation, found in list(bearing.items()):
            if relation.kind != "ioc" and len(self._addresses(set(found) - sweeps)) > _HUB_HOSTS:
                del bearing[relation]

    def _addresses(self, alert_ids: Collection[UUID]) -> set[str]:
        """Addresses of hosts that the alerts name; names would count the same hosts again."""
        named = (self.scope.named[alert_id] for alert_id in alert_ids if alert_id in self.scope.named)
        return {name for one in named for name in one.assets if is_address(name)}

    def _best(
        self,
        alert: Alert,
        shared: set[Relation],
        leads: dict[Relation, list[Alert]],
        rarity: dict[Relation, float],
    ) -> _Step | None:
        origins = {origin.id: origin for relation in shared for origin in leads[relation]}
        best: _Step | None = None
        for origin in sorted(origins.values(), key=lambda one: one.id):
            relations = [relation for relation in sorted(shared) if origin in leads[relation]]
            link = self._link(origin, alert, relations, rarity)
            held = min(self.held[origin.id], link)
            if link >= LEAST_LINK and (best is None or held > best.strength):
                best = _Step(alert, tuple(relations), round(held, 4))
        return best

    def _link(self, one: Alert, other: Alert, relations: list[Relation], rarity: dict[Relation, float]) -> float:
        """The rarest of each kind as independent evidence: a host's name and its address are one thing, not two."""
        apart = seconds_apart(one, other)
        if all(relation.kind == "asset" for relation in relations) and not self._is_more_than_a_host(one, other):
            return 0.0
        strongest: dict[str, Relation] = {}
        for relation in relations:
            kept = strongest.get(relation.kind)
            if kept is None or rarity[relation] > rarity[kept]:
                strongest[relation.kind] = relation
        fading = {
            relation: rarity[relation] * 0.5 ** (apart / HALF_LIFE[relation.kind]) for relation in strongest.values()
        }
        return strength(strongest.values(), fading)

    def _is_more_than_a_host(self, one: Alert, other: Alert) -> bool:
        """At once is told from the beginnings: during a beacon of hours much may happen on its host."""
        is_urgent = one.severity in URGENT and other.severity in URGENT
        is_at_once = abs(one.first_seen - other.first_seen) <= _AT_ONCE
        return (is_urgent and is_at_once) or (self._is_act(one) and self._is_act(other))

    def _is_act(self, alert: Alert) -> bool:
        """Whether it shows something done to or on a host; that somebody looked at it from outside ties nothing."""
        return any(attack.tactic_rank(tactic) >= _ACT for tactic in alert_tactics(self.scope, alert))
