"""The hosts' side: chains of processes, what stays behind, what the estate hardly knows, and accounts that cannot be where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.builtin.contract import Output, Task, Think
from agents.builtin.host_events import MAX_ALERTS, HostEvent, read_event
from agents.builtin.hypotheses.persistence import mechanism, persistence
from agents.builtin.hypotheses.travel import impossible_travel
from agents.builtin.pivoting import WINDOW, Web
from agents.builtin.process_chains import Chain, chains, deed, suspicious_chains
from agents.builtin.rarity import Frequency, frequency
from agents.builtin.specialist import answer, sifted, surroundings
from agents.builtin.wording import clock, line, listed, many
from cases.models import Alert

_MAX_SHOWN = 50
_SOURCES_OF_NONE = ("suricata", "zeek", "alertmanager")


def analyse(task: Task, think: Think) -> Output:
    """Suspicious chains, persistence and impossible travel around the task's alert; none for mere noise."""
    web = surroundings(task, think)
    raws = _raws(web)
    events = _events(web, raws)
    _think_of_events(events, think)
    found_chains = chains(events)
    _think_of_chains(found_chains, think)
    common = frequency(since=web.scope.leading.first_seen - 7 * WINDOW, until=web.until)
    think(
        f"{many(common.starts, 'start')} of programs were reported in the fortnight before"
        f"{'' if common.can_tell else '; too few hosts among them to call any of them rare'}: {len(common.pairs)} distinct pairs.",
        {"pairs": len(common.pairs)},
    )
    stays = [event for event in events if mechanism(event)]
    think(f"{many(len(stays), 'event')} left something that starts by itself.", {"events": len(stays)})
    found = sifted(
        web,
        [
            *suspicious_chains(web, found_chains, common),
            *persistence(web, events),
            *impossible_travel(web, raws),
        ],
    )
    return answer(
        web,
        found,
        looked_at=f"{many(len(events), 'event')} of processes and files in {many(len(found_chains), 'chain')}",
        silent_because="no process did what honest software does not, nothing stays behind, nobody signed in from two places at once",
        data=_data(found_chains, stays, common),
        think=think,
    )


def _raws(web: Web) -> dict[Any, str]:
    """The records of the alerts that hosts or sign-ins can be behind, the strongest first. One query."""
    told = [alert for alert in web.alerts if alert.source not in _SOURCES_OF_NONE]
    told.sort(key=lambda alert: (-web.reached[alert.id].strength, alert.id))
    return dict(Alert.objects.filter(pk__in=[alert.pk for alert in told[:MAX_ALERTS]]).values_list("pk", "raw"))


def _events(web: Web, raws: dict[Any, str]) -> list[HostEvent]:
    read = (read_event(web, alert, raws[alert.pk]) for alert in web.alerts if alert.pk in raws)
    return sorted((one for one in read if one), key=lambda one: (one.at, one.alert.id))


def _think_of_events(events: Sequence[HostEvent], think: Think) -> None:
    kinds = {
        kind: sum(event.kind == kind for event in events) for kind in dict.fromkeys(event.kind for event in events)
    }
    hosts = dict.fromkeys(event.host for event in events)
    think(
        f"{many(len(events), 'event')} of processes and files on {many(len(hosts), 'host')}: "
        f"{listed((f'{number} {kind}' for kind, number in kinds.items()), 8)}.",
        {"alert_ids": [str(event.alert.id) for event in events[:_MAX_SHOWN]]},
    )


def _think_of_chains(found: Sequence[Chain], think: Think) -> None:
    longest = max(found, key=lambda chain: (len(chain.names), len(chain.events)), default=None)
    told = (
        f"; longest {' → '.join(line(name, 40) for name in longest.names[:6])} on {line(longest.host, 60)}"
        if longest
        else ""
    )
    think(f"{many(len(found), 'chain')} of processes{told}.", {"chains": len(found)})


def _data(found: Sequence[Chain], stays: Sequence[HostEvent], common: Frequency) -> dict[str, Any]:
    return {
        "chains": [
            {
                "host": chain.host,
                "names": list(chain.names[:12]),
                "events": [
                    {
                        "at": event.at.isoformat(),
                        "clock": clock(event.at),
                        "did": deed(event),
                        "alert_id": str(event.alert.id),
                    }
                    for event in chain.events[:20]
                ],
            }
            for chain in found[:_MAX_SHOWN]
        ],
        "persistence": [
            {"host": event.host, "mechanism": mechanism(event), "target": event.target, "alert_id": str(event.alert.id)}
            for event in stays[:_MAX_SHOWN]
        ],
        "frequency": {"starts": common.starts, "pairs": len(common.pairs), "can_tell": common.can_tell},
    }
