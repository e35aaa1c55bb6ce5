"""Which alerts belong together: those that share an IOC, an asset, a user or a technique at about the same time.

Times are the sensors' (`first_seen`, `last_seen`), so alerts that were brought in days later relate as those of today.
Sharing something common says little: what a relation is worth falls with the logarithm of the number of alerts that bear it
(inverse document frequency, K. Spärck Jones 1972), and several relations of one alert add up as independent evidence.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from cases import observables
from cases.models import Alert, AlertIoc, AlertPivot, Ioc
from cases.states import IocStatus, IocType

MAX_KEYS = 128
"""Of one alert, as many IOCs and as many assets, users and techniques are looked at."""

COMMON = 1_000
"""Counting the bearers of a relation stops here."""

_UNIVERSAL = 10_000
_REACH = 1_000
_PER_RELATION = 200
# An address that two alerts name ties them closer than the host they were seen on; hosts have more than one story.
# Techniques are shared by strangers.
_WORTH = {"ioc": 0.95, "user": 0.85, "asset": 0.7, "technique": 0.25}
_LEAST = 0.05
_HASHES = frozenset({IocType.HASH_MD5, IocType.HASH_SHA1, IocType.HASH_SHA256})
# Accounts that every machine has: `root` here and `root` there are two.
_EVERYBODYS = frozenset(
    (
        *("root", "system", "administrator", "admin", "guest", "nobody", "anonymous", "anonymous logon"),
        *("local service", "network service", "localsystem", "www-data"),
    )
)

# Links before and after the alert are walked in the order of the unique indexes (alert ids are UUIDv7, which sort by the time
# of storing), so the price of a relation is bounded however common it is. One block a relation with its value in it, not a
# join with the values: only then does the planner know a common value when it sees one, and sorts no 100,000 links to take 1,000.
_NEAR = """
(SELECT %s::int AS number, a.id, a.first_seen, a.last_seen
 FROM ((SELECT alert_id FROM {links} AND alert_id > %s ORDER BY alert_id LIMIT {reach})
       UNION ALL
       (SELECT alert_id FROM {links} AND alert_id < %s ORDER BY alert_id DESC LIMIT {reach})
      ) link
 JOIN cases_alert a ON a.id = link.alert_id AND a.first_seen <= %s AND a.last_seen >= %s
 ORDER BY GREATEST(a.first_seen - %s, %s - a.last_seen, interval '0'), a.last_seen DESC, a.id DESC
 LIMIT {per_relation})
"""
_NEAR_IOC = _NEAR.format(links="cases_alertioc WHERE ioc_id = %s", reach=_REACH, per_relation=_PER_RELATION)
_NEAR_PIVOT = _NEAR.format(
    links="cases_alertpivot WHERE kind = %s AND value = %s", reach=_REACH, per_relation=_PER_RELATION
)
_COUNT_IOCS = """
SELECT 'ioc', k.value, (
  SELECT count(*) FROM (
    SELECT 1 FROM cases_ioc i JOIN cases_alertioc l ON l.ioc_id = i.id
    WHERE i.value = k.value AND i.status <> %(cleared)s LIMIT %(common)s
  ) bearers)
FROM unnest(%(values)s::text[]) AS k(value)
"""
_COUNT_PIVOTS = """
SELECT k.kind, k.value, (
  SELECT count(*) FROM (
    SELECT 1 FROM cases_alertpivot WHERE kind = k.kind AND value = k.value LIMIT %(common)s
  ) bearers)
FROM unnest(%(kinds)s::text[], %(values)s::text[]) AS k(kind, value)
"""


@dataclass(frozen=True, slots=True, order=True)
class Relation:
    """What two alerts share. `kind` is `ioc`, `asset`, `user` or `technique`."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Related:
    """Another alert with all that it shares; `seconds_apart` is 0 when the two overlap in time.

    `strength` (0–1) is the chance that the two belong together, as far as rarity tells.
    """

    alert: Alert
    relations: tuple[Relation, ...]
    seconds_apart: float
    strength: float = 0.0


def related_alerts(*, alert: Alert, window: timedelta, limit: int = 50) -> list[Related]:
    """The alerts within `window` before or after `alert` that share something with it, strongest first, then newest.

    Symmetric: what A finds in a window finds A in the same window. Indicators cleared as false positives relate nothing.
    Eight queries at most, whatever is found.
    """
    since, until = alert.first_seen - window, alert.last_seen + window
    shared: defaultdict[UUID, set[Relation]] = defaultdict(set)
    relations = relations_of(alert=alert)
    for relation, others in alerts_bearing(relations=relations, around=alert, since=since, until=until).items():
        for other in others:
            shared[other].add(relation)
    if not shared:
        return []
    worth = rarity(relations={relation for relations in shared.values() for relation in relations})
    ranked = sorted(shared, key=lambda found: (strength(shared[found], worth), found), reverse=True)
    # Twice the limit: equals in strength are put in order of time only once their rows are here.
    rows = Alert.objects.defer("raw").in_bulk(ranked[: limit * 2])
    related = [
        Related(
            row,
            _strongest_first(shared[row.id], worth),
            seconds_apart(alert, row),
            strength(shared[row.id], worth),
        )
        for row in rows.values()
    ]
    related.sort(key=lambda one: (-one.strength, -one.alert.last_seen.timestamp(), one.alert.id))
    return related[:limit]


def relations_of(*, alert: Alert) -> list[Relation]:
    """All by which the alert could be tied to others; indicators that are everybody's, or cleared as false positives, are none.

    Two queries.
    """
    links = AlertIoc.objects.filter(alert=alert).exclude(ioc__status=IocStatus.FALSE_POSITIVE).order_by("id")
    iocs = [link.ioc for link in links.select_related("ioc")[:MAX_KEYS]]
    pivots = AlertPivot.objects.filter(alert=alert).order_by("id")
    return [
        *(Relation("ioc", ioc.value) for ioc in iocs if not is_everybodys(alert, ioc)),
        *(Relation(kind, value) for kind, value in pivots.values_list("kind", "value")[:MAX_KEYS]),
    ]


def is_everybodys(alert: Alert, ioc: Ioc) -> bool:
    """Whether the alert's indicator ties nobody to anybody: a public resolver, or the hash of a program that every Windows host has.

    Of Sysmon's event 7 the hashes are the loaded library's, not the program's.
    """
    if observables.is_public_resolver(ioc.value):
        return True
    is_loaded = str(alert.metadata.get("event_id", "")) == "7"
    return ioc.type in _HASHES and not is_loaded and observables.is_system_program(alert.metadata.get("process_name"))


def alerts_bearing(
    *, relations: Collection[Relation], around: Alert, since: datetime, until: datetime
) -> dict[Relation, list[UUID]]:
    """The alerts, other than `around`, that bear each relation and were seen between the two moments, nearest in time first.

    Of each relation the 200 nearest, out of the 1,000 stored before `around` and the 1,000 stored after it. Two queries.
    """
    keys = _keys(relations)
    blocks, terms = [], []
    for number, (_, key) in enumerate(keys):
        blocks.append(_NEAR_IOC if len(key) == 1 else _NEAR_PIVOT)
        terms += [number, *key, around.id, *key, around.id, until, since, around.last_seen, around.first_seen]
    found: defaultdict[Relation, list[UUID]] = defaultdict(list)
    for number, alert_id, *_ in _rows(" UNION ALL ".join(blocks), terms) if blocks else ():
        found[keys[number][0]].append(alert_id)
    # One value may be an IOC of two types.
    return {relation: list(dict.fromkeys(alert_ids)) for relation, alert_ids in found.items()}


def rarity(*, relations: Collection[Relation]) -> dict[Relation, float]:
    """What each relation is worth, 0–1: its kind's worth, falling with the logarithm of how many alerts bear it.

    Two bearers (the pair itself) are worth the whole; from 1,000 on nobody counts further. Two queries.
    """
    counts = bearers(relations=relations)
    return {relation: worth(relation, count) for relation, count in counts.items()}


def bearers(*, relations: Collection[Relation]) -> dict[Relation, int]:
    """How many alerts bear each relation, counted up to `COMMON`; 0 for an IOC cleared as a false positive."""
    terms = {"common": COMMON, "cleared": IocStatus.FALSE_POSITIVE.value}
    found = {}
    for sql, keys in ((_COUNT_IOCS, _ioc_keys(relations)), (_COUNT_PIVOTS, _pivot_keys(relations))):
        for kind, value, count in _rows(sql, terms | keys) if keys["values"] else ():
            found[Relation(kind, value)] = count
    return found


def worth(relation: Relation, bearers: int) -> float:
    """What sharing it is worth, 0–1, when so many alerts bear it: two (the pair itself) are worth the whole."""
    if bearers == 0:
        return 0.0
    common = math.log(max(bearers, 2) / 2) / math.log(_UNIVERSAL / 2)
    kind = "technique" if relation.kind == "user" and _is_everybodys(relation.value) else relation.kind
    return round(_WORTH[kind] * max(_LEAST, 1 - common), 4)


def strength(relations: Iterable[Relation], worth: Mapping[Relation, float]) -> float:
    """Several relations as independent evidence: 1 - Π(1 - worth). An unknown one is worth nothing."""
    return round(1 - math.prod(1 - worth.get(relation, 0.0) for relation in relations), 4)


def seconds_apart(one: Alert, other: Alert) -> float:
    """The gap between the two alerts' times, 0 when they overlap."""
    gap = max(one.first_seen - other.last_seen, other.first_seen - one.last_seen, timedelta(0))
    return gap.total_seconds()


def _is_everybodys(user: str) -> bool:
    return user.rpartition("\\")[2].partition("@")[0] in _EVERYBODYS


def _strongest_first(relations: set[Relation], worth: dict[Relation, float]) -> tuple[Relation, ...]:
    return tuple(sorted(relations, key=lambda relation: (-worth.get(relation, 0.0), relation)))


def _ioc_keys(relations: Collection[Relation]) -> dict[str, list[str]]:
    return {"values": [relation.value for relation in relations if relation.kind == "ioc"]}


def _pivot_keys(relations: Collection[Relation]) -> dict[str, list[str]]:
    pivots = [relation for relation in relations if relation.kind != "ioc"]
    return {"kinds": [relation.kind for relation in pivots], "values": [relation.value for relation in pivots]}


def _keys(relations: Collection[Relation]) -> list[tuple[Relation, tuple[object, ...]]]:
    """By what each relation's links are found: an IOC's id, or a pivot's kind and value. Cleared IOCs have none."""
    values = _ioc_keys(relations)["values"]
    rows = Ioc.objects.filter(value__in=values).exclude(status=IocStatus.FALSE_POSITIVE).order_by("value", "type")
    iocs = rows.values_list("value", "id") if values else ()
    pivots = [relation for relation in relations if relation.kind != "ioc"]
    return [
        *((Relation("ioc", value), (ioc_id,)) for value, ioc_id in iocs),
        *((relation, (relation.kind, relation.value)) for relation in pivots),
    ]


def _rows(sql: str, terms: Mapping[str, Any] | Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, terms)
        return list(cursor.fetchall())
