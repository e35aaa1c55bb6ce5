"""A host of ours calls the same outside address again and again: an implant that asks for orders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from agents.builtin import killchain
from agents.builtin.conversations import Conversation, conversations
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis, is_taken_seriously, sensors_word
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Term
from agents.builtin.wording import duration, line, listed, many, moment, percent

_LEAST_CONTACTS = 3
_LEAST_SPAN = 300.0
_MAX_FOUND = 5
_SAME_SIZE = 0.2


def beaconing(web: Web) -> Iterator[Hypothesis]:
    """Three contacts or more over five minutes or more, held to be C2 by a technique, or outbound and even beyond chance."""
    yield from beacons(web, conversations(web))


def beacons(web: Web, talks: Iterable[Conversation]) -> Iterator[Hypothesis]:
    """As `beaconing`, for conversations that are at hand already."""
    found = [talk for talk in talks if _is_beacon(web, talk)]
    for talk in found[:_MAX_FOUND]:
        yield _beacon(web, talk)


def _is_beacon(web: Web, talk: Conversation) -> bool:
    if talk.count < _LEAST_CONTACTS or talk.seconds < _LEAST_SPAN:
        return False
    is_outbound = any(web.source(alert) for alert in talk.alerts)
    return talk.is_c2 or (talk.is_even and is_outbound)


def _beacon(web: Web, talk: Conversation) -> Hypothesis:
    hosts = talk.callers
    place = line(talk.place.value, 80)
    with_names = f" (with {listed((line(ioc.value, 80) for ioc in talk.also), 3)})" if talk.also else ""
    start, end = min(one.first_seen for one in talk.alerts), max(one.last_seen for one in talk.alerts)
    return hypothesis(
        "beaconing",
        web,
        talk.alerts,
        title=f"{listed(hosts, 3)} beaconing to {place}",
        detail=(
            f"{many(talk.count, 'contact')} to {place}{with_names} from {many(len(hosts), 'host')} ({listed(hosts)}) in "
            f"{duration(talk.seconds)}, {moment(start)} to {moment(end)}: one every {duration(talk.period)} on average"
            f"{_evenness(talk)}."
        ),
        terms=list(_terms(web, talk, hosts)),
        hosts=hosts,
        users=web.all_users(talk.alerts),
        iocs=[ioc.value for ioc in (talk.place, *talk.also)],
        actions=[
            f"Block {place} and search DNS, proxy and flow records for other hosts that reached it",
            f"Find the process behind the connections on {listed(hosts, 3)}",
        ],
    )


def _evenness(talk: Conversation) -> str:
    if talk.rhythm:
        jitter = f"jitter {percent(talk.rhythm.jitter)} of their median"
        return f", {talk.rhythm.count} intervals spread by {percent(talk.rhythm.spread)} of their mean, {jitter}"
    return "; too few separate times to measure how even, flow records would tell"


def _odds(chance: float) -> str:
    return "1 in a million" if chance < 1e-6 else f"1 in {int(1 / chance)}"


def _terms(web: Web, talk: Conversation, hosts: Sequence[str]) -> Iterator[Term]:
    yield Term(30, f"{talk.count} contacts over {duration(talk.seconds)}")
    if talk.is_c2:
        named = [alert for alert in talk.alerts if killchain.has_tactic(web.scope, alert, "command-and-control")]
        yield sensors_word(25, "a sensor names a command-and-control technique", named)
    if talk.is_even and talk.rhythm:
        yield Term(20, f"even intervals, by chance less than {_odds(talk.rhythm.chance * talk.among)}")
    elif talk.count >= 10:
        yield Term(8, "many contacts, even or not")
    yield from _circumstances(talk, hosts)
    if not is_taken_seriously(talk.alerts):
        # Updates, telemetry and probes of one's own call by the clock as well.
        yield Term(-25, f"every sensor rates it {talk.alerts[0].severity}")


def _circumstances(talk: Conversation, hosts: Sequence[str]) -> Iterator[Term]:
    if talk.size_unevenness is not None and talk.size_unevenness <= _SAME_SIZE:
        yield Term(5, f"calls of the same size, within {percent(talk.size_unevenness)}")
    if len(hosts) > 1:
        yield Term(10, f"{len(hosts)} hosts call the same place")
    if len({alert.source for alert in talk.alerts}) > 1:
        yield Term(8, "sensors of different kinds agree")
    if talk.also:
        yield Term(5, "address and name occur together")
