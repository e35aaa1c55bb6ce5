"""The course of events: what happened in which order by whose word, where nobody was looking, and whether the evidence still is what it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from agents.builtin import killchain, previous
from agents.builtin.chronicle import Entry, Gap, chronicle, files_of, gaps
from agents.builtin.contract import Evidence, Output, Task, Think
from agents.builtin.hypotheses.stages import in_kill_chain_order, intrusion_in_stages, tactics_in_order
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Reach, Web
from agents.builtin.reputation import Term
from agents.builtin.scope import Scope, alerts_of, in_order, named_by, scope_of
from agents.builtin.situation import hunted_alerts
from agents.builtin.specialist import answer, sifted
from agents.builtin.wording import clock, duration, line, listed, many, moment, percent, quoted
from cases import attack, evidence_store
from cases.models import Alert
from cases.models import Evidence as CaseFile

_MAX_SHOWN = 200
_MAX_GAPS = 2
_AHEAD = timedelta(minutes=5)
_COVERING_TRACKS = "T1070"
_OBJECTIVES = ("collection", "exfiltration", "impact")


def analyse(task: Task, think: Think) -> Output:
    """The ordered events of the case, and of what the hunt ties to it, with what their order tells."""
    web = _web(task)
    files = files_of(web.scope.case)
    entries = chronicle(web, web.scope.case, files)
    _think_of_entries(entries, think)
    staged = [alert for alert in web.alerts if killchain.alert_tactics(web.scope, alert)]
    tactics = tactics_in_order(web, staged)
    order = in_kill_chain_order(web, staged) if staged else 0.0
    stages = " → ".join(map(attack.tactic_name, tactics)) or "none"
    think(
        f"{many(len(tactics), 'stage')} of the kill chain, {percent(order)} of {many(len(staged), 'alert')} in its order: {stages}.",
        {"tactics": tactics},
    )
    course = list(intrusion_in_stages(web))
    silences = gaps(staged) if course else []
    think(
        f"{many(len(silences), 'silence')} of more than is usual: {listed(map(_told, silences), 2)}.",
        {"gaps": len(silences)},
    )
    broken = [row for row in files if not evidence_store.is_intact(row.sha256)]
    think(
        f"{many(len(files), 'file')} of evidence, {len(broken)} of them gone or changed.",
        {"broken": [row.sha256 for row in broken]},
    )
    supposed = [
        *course,
        *(_inside_time(web, staged) if course else ()),
        *_silences(web, silences),
        *_tracks(web),
        *_clocks(web),
        *_broken(web, broken),
    ]
    return answer(
        web,
        sifted(web, supposed),
        looked_at=f"{many(len(entries), 'event')} in order and {many(len(files), 'file')} of evidence",
        silent_because="the events make no course through the kill chain, no clock is ahead, no track is covered, all evidence is intact",
        data=_data(entries, tactics, order, silences),
        think=think,
    )


def _web(task: Task) -> Web:
    """The task's alerts, its case's, and those that the hunt ties to them, all of them held to belong together."""
    own = scope_of(task)
    held = {alert.id: alert for alert in (*alerts_of(own.case), *own.alerts)}
    supposed = previous.hypotheses(task.earlier.get("threat_hunter"))
    held = {alert.id: alert for alert in hunted_alerts(supposed, is_wide=True)} | held
    alerts = in_order(held.values())
    scope = Scope(alerts, own.case, own.focus, named_by(alerts))
    names = previous.host_names(task.earlier.get("threat_hunter"))
    reached = {alert.id: Reach(0, 1.0, ()) for alert in alerts}
    return Web(scope, reached, alerts[0].first_seen, max(alert.last_seen for alert in alerts), known_names=names)


def _think_of_entries(entries: Sequence[Entry], think: Think) -> None:
    sources = list(dict.fromkeys(entry.source for entry in entries))
    think(
        f"{many(len(entries), 'event')} from {many(len(sources), 'source')} ({listed((line(one, 40) for one in sources), 6)}), first "
        f"{moment(entries[0].at)}: {entries[0].text}.",
        {"alert_ids": [entry.evidence.id for entry in entries[:100] if entry.kind == "alert"]},
    )
    last = max(entries, key=lambda entry: entry.until)
    think(
        f"Last {moment(last.until)}: {last.text}; {duration((last.until - entries[0].at).total_seconds())} in all.",
        {"events": len(entries)},
    )


def _inside_time(web: Web, staged: Sequence[Alert]) -> Iterator[Hypothesis]:
    """How long it took from the first foothold to the first thing that the intruder came for."""
    footholds = [alert for alert in staged if killchain.latest_rank(web.scope, alert) >= killchain.BREACH]
    objectives = [alert for alert in staged if killchain.has_tactic(web.scope, alert, *_OBJECTIVES)]
    if not footholds or not objectives or objectives[0].first_seen <= footholds[0].first_seen:
        return
    first, last = footholds[0], objectives[0]
    took = duration((last.first_seen - first.first_seen).total_seconds())
    sources = {alert.source for alert in (first, last)}
    terms = [
        Term(45, "a foothold and, after it, an objective of the kill chain"),
        Term(15, "each dated by a sensor's own record"),
    ]
    if len(sources) > 1:
        terms.append(Term(8, "sensors of different kinds"))
    yield hypothesis(
        "dwell_time",
        web,
        [first, last],
        title=f"{took} from foothold to objective",
        detail=(
            f"Foothold {quoted(first)} at {moment(first.first_seen)} on {listed(web.hosts(first), 2)}; objective {quoted(last)} at "
            f"{moment(last.first_seen)} on {listed(web.hosts(last), 2)}."
        ),
        terms=terms,
        hosts=web.all_hosts([first, last]),
        users=web.all_users([first, last]),
        actions=[f"Restore from copies made before {moment(first.first_seen)}, not from later ones"],
    )


def _silences(web: Web, silences: Sequence[Gap]) -> Iterator[Hypothesis]:
    for gap in silences[:_MAX_GAPS]:
        hosts = web.all_hosts([gap.before, gap.after])
        yield hypothesis(
            "gap",
            web,
            [gap.before, gap.after],
            title=f"No sensor told of {_told(gap)}",
            detail=f"Between {quoted(gap.before)} and {quoted(gap.after)}: {duration(gap.length.total_seconds())} without a new event of the chain.",
            terms=[
                Term(30, "a silence four times as long as is usual in this chain"),
                Term(10, "the chain goes on after it"),
            ],
            hosts=hosts,
            actions=[
                f"Read the logs of {listed(hosts, 3)} from {moment(gap.before.last_seen)} to {moment(gap.after.first_seen)}"
            ],
        )


def _tracks(web: Web) -> Iterator[Hypothesis]:
    """Logs cleared, files removed, times changed: what is missing then is no proof of absence."""
    found = [
        alert
        for alert in web.alerts
        if any(name.startswith(_COVERING_TRACKS) for name in web.scope.of(alert).techniques)
    ]
    if found:
        yield hypothesis(
            "covered_tracks",
            web,
            found,
            title=f"Tracks covered on {listed(web.all_hosts(found), 3)}",
            detail=f"{many(len(found), 'alert')} of removed indicators from {moment(found[0].first_seen)}: what these hosts' logs do not say may have been taken out.",
            terms=[
                Term(50, "a sensor names the removal of indicators (T1070)"),
                Term(min(15, 5 * (len(found) - 1)), "more than once"),
            ][: 1 + (len(found) > 1)],
            hosts=web.all_hosts(found),
            users=web.all_users(found),
            actions=[f"Take copies of the logs that {listed(web.all_hosts(found), 3)} sent elsewhere"],
        )


def _clocks(web: Web) -> Iterator[Hypothesis]:
    """Events dated after they came in: the order of what such a sensor tells, beside others', is wrong."""
    by_source: dict[str, list[Alert]] = {}
    for alert in web.alerts:
        if alert.first_seen - alert.created_at > _AHEAD:
            by_source.setdefault(alert.source, []).append(alert)
    for source, ahead in sorted(by_source.items()):
        worst = max(alert.first_seen - alert.created_at for alert in ahead)
        yield hypothesis(
            "clock_ahead",
            web,
            ahead,
            title=f"The clock of {line(source, 60)} is ahead",
            detail=f"{many(len(ahead), 'event')} of {line(source, 60)} dated up to {duration(worst.total_seconds())} after they came in.",
            terms=[
                Term(60, "dated later than it was received"),
                Term(min(20, 5 * (len(ahead) - 1)), "again and again"),
            ][: 1 + (len(ahead) > 1)],
            hosts=[],
            actions=[f"Set the clock behind {line(source, 60)} and correct its times by hand"],
        )


def _broken(web: Web, broken: Sequence[CaseFile]) -> Iterator[Hypothesis]:
    for row in broken:
        yield hypothesis(
            "evidence_changed",
            web,
            [],
            title=f"Evidence {line(row.name, 80)} is gone or changed",
            detail=f"What lies in the store under SHA-256 {row.sha256} no longer has that hash, or is not there.",
            terms=[Term(95, "computed from the stored bytes just now")],
            hosts=[],
            actions=[f"Take {line(row.name, 80)} in again from where it came from, and find out who had the store"],
            also=[Evidence("file", str(row.id), f"SHA-256 {row.sha256}")],
        )


def _told(gap: Gap) -> str:
    return f"{duration(gap.length.total_seconds())} from {clock(gap.before.last_seen)} to {clock(gap.after.first_seen)}"


def _data(entries: Sequence[Entry], tactics: Sequence[str], order: float, silences: Sequence[Gap]) -> dict[str, Any]:
    return {
        "timeline": [
            {
                "at": entry.at.isoformat(),
                "until": entry.until.isoformat(),
                "source": entry.source,
                "kind": entry.kind,
                "text": entry.text,
                "where": entry.where,
                "tactic": entry.tactic,
                "evidence": {"kind": entry.evidence.kind, "id": entry.evidence.id},
            }
            for entry in entries[:_MAX_SHOWN]
        ],
        "left_out": max(0, len(entries) - _MAX_SHOWN),
        "tactics": list(tactics),
        "kill_chain_order": round(order, 3),
        "gaps": [
            {
                "since": gap.before.last_seen.isoformat(),
                "until": gap.after.first_seen.isoformat(),
                "seconds": round(gap.length.total_seconds()),
            }
            for gap in silences[:20]
        ],
    }
