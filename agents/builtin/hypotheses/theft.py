"""Data is gathered and taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.builtin import killchain
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis, sensors_word
from agents.builtin.pivoting import Web
from agents.builtin.reputation import Term
from agents.builtin.scope import distinct
from agents.builtin.wording import duration, line, listed, moment, volume
from cases.models import Alert

LARGE = 100_000_000
"""Bytes that one flow has to carry out before its size alone is worth a thought."""

_OUT = "exfiltration"
_GATHERED = "collection"


def exfiltration(web: Web) -> Iterator[Hypothesis]:
    """Per host: an exfiltration technique or a large upload to an outside place, after collection on it or with such a volume."""
    leaving = [alert for alert in web.alerts if _leaves(web, alert)]
    hosts = distinct(host for alert in leaving for host in _senders(web, alert))
    claimed: set[Alert] = set()
    for host in hosts:
        out = [alert for alert in leaving if host in _senders(web, alert)]
        gathered = [
            alert
            for alert in web.with_tactic(_GATHERED)
            if host in web.hosts(alert) and alert.first_seen <= out[-1].last_seen and alert not in out
        ]
        is_believable = gathered or (uploaded(out) >= LARGE and any(_is_named(web, one) for one in out))
        if is_believable and not claimed.issuperset(out):
            claimed.update(out)
            yield _taken(web, host, gathered, out)


def uploaded(alerts: Sequence[Alert]) -> int:
    """Bytes sent out, as far as the sensors counted them."""
    sizes = [alert.metadata.get("bytes_toserver") for alert in alerts]
    return sum(size for size in sizes if type(size) is int and size > 0)


def _leaves(web: Web, alert: Alert) -> bool:
    return _is_named(web, alert) or (
        uploaded([alert]) >= LARGE and not web.destination(alert) and bool(web.source(alert))
    )


def _is_named(web: Web, alert: Alert) -> bool:
    return killchain.has_tactic(web.scope, alert, _OUT)


def _senders(web: Web, alert: Alert) -> list[str]:
    source = web.source(alert)
    return [source] if source else web.hosts(alert)


def _taken(web: Web, host: str, gathered: Sequence[Alert], out: Sequence[Alert]) -> Hypothesis:
    places = distinct(ioc.value for alert in out for ioc in web.scope.of(alert).iocs if ioc.type in ("ip", "domain"))
    size = uploaded(out)
    how_much = volume(size) if size else "an uncounted volume"
    before = ""
    if gathered:
        gap = max(0.0, (out[0].first_seen - gathered[0].first_seen).total_seconds())
        names = distinct(name for alert in gathered for name in web.scope.of(alert).techniques)
        before = f"Collection from {moment(gathered[0].first_seen)} ({listed(map(killchain.named_technique, names))}); "
        before += f"{duration(gap)} later "
    where = listed((line(place, 80) for place in places), 3) if places else "an outside place that no alert names"
    return hypothesis(
        "exfiltration",
        web,
        [*gathered, *out],
        title=f"Data leaving {host} to {where}",
        detail=f"{before}{how_much} went from {host} to {where} from {moment(out[0].first_seen)}.",
        terms=list(_terms(web, gathered, out, size)),
        hosts=[host],
        users=web.all_users([*gathered, *out]),
        iocs=places,
        actions=[
            f"Block egress from {host} to {where}",
            f"Establish from {host}'s file and share logs what was packed and sent",
        ],
    )


def _terms(web: Web, gathered: Sequence[Alert], out: Sequence[Alert], size: int) -> Iterator[Term]:
    named = [alert for alert in out if _is_named(web, alert)]
    if named:
        yield sensors_word(35, "a sensor names an exfiltration technique", named)
    if gathered:
        yield sensors_word(30, "collection on the same host before", gathered)
    if size >= LARGE:
        yield Term(20, f"{volume(size)} sent out")
    if len({alert.source for alert in out}) > 1:
        yield Term(8, "sensors of different kinds agree")
