"""Credentials were guessed or read out, and then used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.builtin import killchain
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Web, bare_account
from agents.builtin.reputation import Term
from agents.builtin.wording import duration, listed, many, moment
from cases.models import Alert

FAILED_LOGONS = 5
"""Fewer failed log-ins than this are people who mistype."""

_CREDENTIALS = "credential-access"
_USE = ("lateral-movement", "initial-access")
_MAX_FOUND = 3


def stolen_credentials(web: Web) -> Iterator[Hypothesis]:
    """For each account: an attack on its credentials, and later the account in use where it gets into something.

    What a sensor tells for information is the account's ordinary work: a backup goes on while its account is guessed at.
    """
    attacks = web.with_tactic(_CREDENTIALS)
    found = []
    for user in web.all_users(web.alerts):
        own = [alert for alert in attacks if user in web.users(alert)]
        if not own or not is_serious(web, own):
            continue
        used = [
            alert
            for alert in web.with_tactic(*_USE)
            if user in web.users(alert)
            and alert.last_seen > own[0].first_seen
            and alert not in own
            and alert.severity != "info"
        ]
        if used:
            found.append(_stolen(web, user, own, used))
    yield from sorted(found, key=lambda one: -one.finding.confidence)[:_MAX_FOUND]


def failed_logons(web: Web, attacks: Sequence[Alert]) -> int:
    """How many log-ins failed, by the alerts of the brute force techniques (T1110)."""
    return sum(alert.count for alert in attacks if any(t.startswith("T1110") for t in web.scope.of(alert).techniques))


def is_serious(web: Web, attacks: Sequence[Alert]) -> bool:
    """Whether it is more than a few failed log-ins: people mistype every day."""
    is_guessing = all(
        all(
            t.startswith("T1110") for t in web.scope.of(alert).techniques if killchain.primary_tactic(t) == _CREDENTIALS
        )
        for alert in attacks
    )
    return not is_guessing or failed_logons(web, attacks) >= FAILED_LOGONS


def _stolen(web: Web, user: str, attacks: Sequence[Alert], used: Sequence[Alert]) -> Hypothesis:
    hosts = web.all_hosts([*attacks, *used])
    guesses = failed_logons(web, attacks)
    techniques = [name for alert in attacks for name in web.scope.of(alert).techniques]
    origins = {web.source(alert) for alert in used}
    entered = [host for host in web.all_hosts(used) if host not in origins and bare_account(host) != user]
    where = f"gets into {listed(entered)}" if entered else "is in use"
    gap = max(0.0, (used[0].first_seen - attacks[0].first_seen).total_seconds())
    guessed = f", {guesses} failed log-ins among them" if guesses else ""
    terms = [Term(35, f"an attack on {user}'s credentials"), Term(20, f"{user} in use {duration(gap)} later")]
    if guesses >= FAILED_LOGONS:
        terms.append(Term(12, f"{guesses} failed log-ins before"))
    if len({alert.source for alert in (*attacks, *used)}) > 1:
        terms.append(Term(8, "sensors of different kinds agree"))
    return hypothesis(
        "stolen_credentials",
        web,
        [*attacks, *used],
        title=f"Credentials of {user} attacked and then used",
        detail=(
            f"{many(len(attacks), 'alert')} of credential access from {moment(attacks[0].first_seen)}"
            f"{guessed} ({listed(map(killchain.named_technique, dict.fromkeys(techniques)))}); from "
            f"{moment(used[0].first_seen)} {user} {where}."
        ),
        terms=terms,
        hosts=hosts,
        users=[user],
        actions=[f"Reset {user}'s credentials and end its sessions", f"List where {user} logged on since the attack"],
    )
