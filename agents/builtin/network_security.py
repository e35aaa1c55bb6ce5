"""The network's side: who talked with whom, how evenly and how much, who calls home, who moved on, and what left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.builtin.contract import Output, Task, Think
from agents.builtin.conversations import Conversation, conversations
from agents.builtin.hypotheses.beaconing import beacons
from agents.builtin.hypotheses.movement import lateral_movement, moves_between_hosts
from agents.builtin.hypotheses.supposition import Hypothesis
from agents.builtin.hypotheses.theft import exfiltration
from agents.builtin.hypotheses.tunnel import dns_tunnel
from agents.builtin.pivoting import Web
from agents.builtin.reachability import Passage, Reached, furthest
from agents.builtin.specialist import answer, sifted, surroundings
from agents.builtin.wording import clock, duration, line, listed, many, percent, volume

_MAX_SHOWN = 50


def analyse(task: Task, think: Think) -> Output:
    """Beacons, tunnels, lateral movement and uploads in the chain around the task's alert; none for mere noise."""
    web = surroundings(task, think)
    talks = conversations(web)
    _think_of_talks(talks, think)
    _think_of_rhythm(talks, think)
    reached = furthest(_passages(web))
    _think_of_reach(reached, think)
    found = sifted(web, [*beacons(web, talks), *dns_tunnel(web), *lateral_movement(web), *exfiltration(web)])
    if reached:
        _tell_reach(found, reached)
    moves = len(reached.arrivals) if reached else 0
    return answer(
        web,
        found,
        looked_at=f"{many(len(talks), 'conversation')} with outside places and {many(moves, 'host')} reached from inside",
        silent_because="no even calls, no coded names, no movement between hosts and no large upload hang together with it",
        data=_data(talks, reached),
        think=think,
    )


def _think_of_talks(talks: Sequence[Conversation], think: Think) -> None:
    contacts = sum(talk.count for talk in talks)
    up, down = sum(talk.up for talk in talks), sum(talk.down for talk in talks)
    think(
        f"{many(len(talks), 'conversation')} of our hosts with outside places, {many(contacts, 'contact')}; the contacts kept "
        f"count {volume(up)} out and {volume(down)} in.",
        {"places": [talk.place.value for talk in talks[:_MAX_SHOWN]]},
    )
    most = max(talks, key=lambda talk: talk.up, default=None)
    if most and most.up:
        where = line(most.place.value, 60)
        think(f"Most left from {listed(most.callers, 3)} to {where}: {volume(most.up)}.", {"place": most.place.value})


def _think_of_rhythm(talks: Sequence[Conversation], think: Think) -> None:
    measured = [(talk, talk.rhythm) for talk in talks if talk.rhythm]
    if not measured:
        think("0 conversations have times enough to measure a rhythm by (5 separate ones).", {"measured": 0})
        return
    talk, rhythm = min(measured, key=lambda one: one[1].spread)
    think(
        f"Rhythm of {many(len(measured), 'conversation')} measured; evenest {line(talk.place.value, 60)}: every "
        f"{duration(rhythm.median)}, spread {percent(rhythm.spread)}, jitter {percent(rhythm.jitter)}, skew {rhythm.skew:+.2f}.",
        {"measured": len(measured), "place": talk.place.value},
    )


def _passages(web: Web) -> list[Passage]:
    return [
        Passage(
            move.source,
            move.target,
            tuple(sorted({moment for one in move.alerts for moment in (one.first_seen, one.last_seen)})),
            tuple(web.all_users(move.alerts)),
        )
        for move in moves_between_hosts(web)
    ]


def _think_of_reach(reached: Reached | None, think: Think) -> None:
    if reached is None:
        think("0 moves between hosts of ours were seen.", {"hosts": 0})
        return
    think(
        f"From {reached.entry} {many(len(reached.arrivals), 'host')} could be reached in {many(reached.depth, 'hop')}: "
        f"{listed(_path(arrival.path) for arrival in reached.arrivals)}.",
        {"entry": reached.entry, "hosts": len(reached.arrivals)},
    )


def _tell_reach(found: Sequence[Hypothesis], reached: Reached) -> None:
    """Says on the finding how far the moves lead, by the graph of them."""
    for one in found:
        if one.kind == "lateral_movement":
            paths = listed(f"{_path(arrival.path)} ({clock(arrival.at)})" for arrival in reached.arrivals)
            detail, mark, sum_of = one.finding.detail.partition(" Confidence in points")
            one.finding.detail = f"{detail} Within reach of {reached.entry}: {paths}.{mark}{sum_of}"


def _path(hosts: Sequence[str]) -> str:
    return " → ".join(hosts)


def _data(talks: Sequence[Conversation], reached: Reached | None) -> dict[str, Any]:
    return {
        "conversations": [_talk(talk) for talk in talks[:_MAX_SHOWN]],
        "reach": {
            "entry": reached.entry,
            "hosts": [
                {
                    "host": arrival.path[-1],
                    "at": arrival.at.isoformat(),
                    "path": list(arrival.path),
                    "users": list(arrival.users),
                }
                for arrival in reached.arrivals[:_MAX_SHOWN]
            ],
        }
        if reached
        else None,
    }


def _talk(talk: Conversation) -> dict[str, Any]:
    rhythm = talk.rhythm
    return {
        "place": talk.place.value,
        "also": [ioc.value for ioc in talk.also[:10]],
        "callers": list(talk.callers[:10]),
        "contacts": talk.count,
        "seconds": round(talk.seconds),
        "bytes_out": talk.up,
        "bytes_in": talk.down,
        "periodicity": {
            "period": round(rhythm.median, 1),
            "spread": round(rhythm.spread, 3),
            "jitter": round(rhythm.jitter, 3),
            "skew": round(rhythm.skew, 3),
            "intervals": rhythm.count,
            "is_even": talk.is_even,
        }
        if rhythm
        else None,
        "alert_ids": [str(alert.id) for alert in talk.alerts[:20]],
    }
