"""How far an intruder got: hosts reachable over moves between hosts, each move no earlier than the one that made it possible. Pure."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Passage:
    """A move from a host to another, with every moment at which it was seen, in order, and the accounts that were used."""

    source: str
    target: str
    at: tuple[datetime, ...]
    users: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a host could first be reached, over which hosts (the entry first, itself last), as which accounts."""

    at: datetime
    path: tuple[str, ...]
    users: tuple[str, ...]

    @property
    def hops(self) -> int:
        return len(self.path) - 1


@dataclass(frozen=True, slots=True)
class Reached:
    """From `entry`, the host from which the most others are within reach: those others in order of arrival."""

    entry: str
    arrivals: tuple[Arrival, ...]

    @property
    def depth(self) -> int:
        return max((arrival.hops for arrival in self.arrivals), default=0)


def furthest(passages: Sequence[Passage]) -> Reached | None:
    """The entry that explains the most; of several, the one that moved first. None without a passage."""
    sources = {passage.source: passage.at[0] for passage in sorted(passages, key=lambda one: one.at[0], reverse=True)}
    found = [Reached(source, _arrivals(source, passages)) for source in sources]
    return min(found, key=lambda one: (-len(one.arrivals), sources[one.entry], one.entry), default=None)


def _arrivals(entry: str, passages: Sequence[Passage]) -> tuple[Arrival, ...]:
    """Earliest arrival at each host: Dijkstra's algorithm over moments, in which waiting costs nothing and going back in time is impossible."""
    leaving: defaultdict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        leaving[passage.source].append(passage)
    first = min(passage.at[0] for passage in passages)
    queue: list[tuple[datetime, tuple[str, ...], tuple[str, ...]]] = [(first, (entry,), ())]
    done: dict[str, Arrival] = {}
    while queue:
        at, path, users = heapq.heappop(queue)
        if path[-1] in done:
            continue
        done[path[-1]] = Arrival(at, path, users)
        for passage in leaving[path[-1]]:
            later = next((moment for moment in passage.at if moment >= at), None)
            if later and passage.target not in done:
                heapq.heappush(queue, (later, (*path, passage.target), _joined(users, passage.users)))
    del done[entry]
    return tuple(sorted(done.values(), key=lambda one: (one.at, one.path)))


def _joined(users: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*users, *more)))
