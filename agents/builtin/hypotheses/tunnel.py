"""Orders and data hidden in the names that a host looks up."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Term
from agents.builtin.wording import line, listed, many, moment
from cases.models import Alert, Ioc
from cases.states import IocType

_LEAST_NAMES = 3
_LEAST_LENGTH = 16
_LEAST_ENTROPY = 3.0
_MAX_FOUND = 3


def dns_tunnel(web: Web) -> Iterator[Hypothesis]:
    """Three or more names under one domain whose first label is long and as good as random: no person and no host is called so."""
    under: defaultdict[str, list[tuple[Alert, Ioc]]] = defaultdict(list)
    for alert in web.alerts:
        for ioc in web.scope.of(alert).iocs:
            label, _, parent = ioc.value.partition(".")
            if ioc.type == IocType.DOMAIN and "." in parent and _is_coded(label):
                under[parent].append((alert, ioc))
    found = [(parent, rows) for parent, rows in under.items() if len({ioc.value for _, ioc in rows}) >= _LEAST_NAMES]
    for parent, rows in sorted(found, key=lambda one: -len(one[1]))[:_MAX_FOUND]:
        yield _tunnel(web, parent, rows)


def entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values()) if text else 0.0


def _is_coded(label: str) -> bool:
    return len(label) >= _LEAST_LENGTH and entropy(label) >= _LEAST_ENTROPY and not label.startswith("xn--")


def _tunnel(web: Web, parent: str, rows: Sequence[tuple[Alert, Ioc]]) -> Hypothesis:
    alerts, names = [alert for alert, _ in rows], sorted({ioc.value for _, ioc in rows})
    labels = [name.partition(".")[0] for name in names]
    mean = sum(map(entropy, labels)) / len(labels)
    hosts = web.all_hosts(alerts)
    place = line(parent, 80)
    terms = [
        Term(30, f"{len(names)} coded names under one domain"),
        Term(min(20, 4 * (len(names) - _LEAST_NAMES)), "more names than chance gives"),
        Term(
            15,
            f"first labels of {mean:.1f} bits a character, {sum(map(len, labels)) / len(labels):.0f} characters long",
        ),
    ]
    if web.with_tactic("command-and-control"):
        terms.append(Term(10, "a sensor names a command-and-control technique in the same chain"))
    return hypothesis(
        "dns_tunnel",
        web,
        alerts,
        title=f"{listed(hosts, 3)} talking in DNS names under {place}",
        detail=(
            f"{many(len(names), 'name')} under {place} with a coded first label, from {moment(alerts[0].first_seen)} to "
            f"{moment(alerts[-1].last_seen)}, looked up by {listed(hosts)}."
        ),
        terms=[term for term in terms if term.points],
        hosts=hosts,
        users=web.all_users(alerts),
        iocs=names,
        actions=[
            f"Answer queries below {place} with nothing on the resolver",
            f"Find the process on {listed(hosts, 3)}",
        ],
    )
