"""An intruder goes from one host of ours to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agents.builtin import killchain
from agents.builtin.hypotheses.credentials import is_serious
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis, is_taken_seriously, sensors_word
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Term
from agents.builtin.scope import distinct
from agents.builtin.wording import clock, listed, many, moment
from cases.models import Alert

_LATERAL = "lateral-movement"
_CREDENTIALS = "credential-access"


@dataclass(slots=True)
class Move:
    """From a host to another, in the order of first sight. `is_seen`: a sensor named both ends; else the origin is where the account was last."""

    source: str
    target: str
    is_seen: bool = False
    alerts: list[Alert] = field(default_factory=list)


def lateral_movement(web: Web) -> Iterator[Hypothesis]:
    """Alerts with a lateral movement technique between two hosts; else one user on several hosts after credentials were got at."""
    moves = moves_between_hosts(web)
    if moves:
        yield _moved(web, moves)
        return
    yield from _one_user_on_several_hosts(web)


def moves_between_hosts(web: Web) -> list[Move]:
    """Each pair of hosts between which a sensor saw lateral movement, in order of time."""
    moves: dict[tuple[str, str], Move] = {}
    for alert in web.with_tactic(_LATERAL):
        seen = web.source(alert)
        source = seen or _came_from(web, alert)
        target = web.destination(alert) or next((host for host in web.hosts(alert) if host != source), "")
        if source and target and source != target:
            move = moves.setdefault((source, target), Move(source, target))
            move.alerts.append(alert)
            move.is_seen = move.is_seen or bool(seen)
    return list(moves.values())


def _came_from(web: Web, alert: Alert) -> str:
    """Where the same user was last seen before, on another host."""
    users, hosts = set(web.users(alert)), set(web.hosts(alert))
    before = [one for one in web.alerts if one.first_seen < alert.first_seen and users & set(web.users(one))]
    elsewhere = (host for one in reversed(before) for host in web.hosts(one) if not hosts & set(web.hosts(one)))
    return next(elsewhere, "")


def _moved(web: Web, moves: list[Move]) -> Hypothesis:
    alerts = [alert for move in moves for alert in move.alerts]
    users = distinct(user for alert in alerts for user in web.users(alert))
    hosts = distinct(host for move in moves for host in (move.source, move.target))
    steps = [
        f"{move.source} → {move.target} ({clock(move.alerts[0].first_seen)}, {many(len(move.alerts), 'alert')})"
        for move in moves
    ]
    as_whom = f" as {listed(users, 3)}" if users else ""
    techniques = distinct(name for alert in alerts for name in web.scope.of(alert).techniques)
    return hypothesis(
        "lateral_movement",
        web,
        alerts,
        title=f"Lateral movement {moves[0].source} → {' and '.join(distinct(move.target for move in moves[:3]))}{as_whom}",
        detail=f"{'; '.join(steps[:6])}{as_whom}, by {listed(map(killchain.named_technique, techniques))}.",
        terms=list(_terms(web, moves, users)),
        hosts=hosts,
        users=users,
        actions=[
            *(f"Review every log-on of {user} since {moment(alerts[0].first_seen)}" for user in users[:3]),
            f"Check {listed(hosts, 4)} for services, tasks and files created after {moment(alerts[0].first_seen)}",
        ],
    )


def _terms(web: Web, moves: list[Move], users: list[str]) -> Iterator[Term]:
    alerts = [alert for move in moves for alert in move.alerts]
    pairs = f"between {many(len(moves), 'pair')} of hosts"
    if any(move.is_seen for move in moves):
        yield sensors_word(40, f"a sensor names lateral movement {pairs}", alerts)
    else:
        yield sensors_word(20, f"lateral movement {pairs}, its origin told from where the account was before", alerts)
    # A rule that fires again is the same word again, not a second witness.
    witnesses = sum(len({(alert.source, alert.title) for alert in move.alerts}) for move in moves)
    if witnesses > len(moves):
        yield Term(min(15, 5 * (witnesses - len(moves))), f"{witnesses} rules agree")
    # An administrator's account is the same throughout as well.
    if is_taken_seriously(alerts) and any(len([one for one in alerts if user in web.users(one)]) > 1 for user in users):
        yield Term(12, "the same account throughout")
    if _was_breached_before(web, moves[0]):
        yield Term(15, f"{moves[0].source} showed an intruder's work before")
    if any(move.source == earlier.target for number, move in enumerate(moves) for earlier in moves[:number]):
        yield Term(10, "one move starts where another ended")


def _was_breached_before(web: Web, move: Move) -> bool:
    start = move.alerts[0].first_seen
    return any(
        alert.first_seen < start
        and is_taken_seriously([alert])
        and killchain.latest_rank(web.scope, alert) >= killchain.BREACH
        for alert in web.alerts
        if move.source in web.hosts(alert)
    )


def _one_user_on_several_hosts(web: Web) -> Iterator[Hypothesis]:
    for user in web.all_users(web.with_tactic(_CREDENTIALS)):
        own = [alert for alert in web.alerts if user in web.users(alert)]
        attacks = [alert for alert in own if killchain.has_tactic(web.scope, alert, _CREDENTIALS)]
        first = attacks[0]
        before = set(web.all_hosts(one for one in own if one.first_seen <= first.first_seen))
        after = [one for one in own if one.first_seen > first.first_seen and not before & set(web.hosts(one))]
        new = web.all_hosts(after)
        if before and new and is_serious(web, attacks):
            yield hypothesis(
                "lateral_movement",
                web,
                [first, *after],
                title=f"{user} appears on {listed(new, 3)} after an attack on credentials",
                detail=(
                    f"{user} was on {listed(sorted(before))} when credentials were attacked ({moment(first.first_seen)}), and "
                    f"on {listed(new)} from {moment(after[0].first_seen)}."
                ),
                terms=[
                    sensors_word(35, f"one account on {many(len(before | set(new)), 'host')}", after),
                    Term(10, "after credential access"),
                ],
                hosts=[*sorted(before), *new],
                users=[user],
                actions=[f"Ask {user} whether the log-on on {listed(new, 3)} was theirs"],
            )
