"""What the specialists have in common: from where they look, when a finding is one, and how they say that there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents.builtin.contract import Output, Task, Think
from agents.builtin.hypotheses import LEAST_LINK
from agents.builtin.hypotheses.supposition import LEAST_CONFIDENCE, Hypothesis, as_json, joint_confidence, link
from agents.builtin.pivoting import Web, follow
from agents.builtin.scope import scope_of
from agents.builtin.wording import listed, many, percent, quoted

_SURE_OF_NOTHING = 0.5


def surroundings(task: Task, think: Think) -> Web:
    """All that hangs together with the task's alert, or with those of its case. Raises as `scope_of` does."""
    scope = scope_of(task)
    web = follow(scope)
    think(
        f"{quoted(scope.leading)} and {many(len(web.alerts) - 1, 'alert')} around it: {many(len(web.all_hosts(web.alerts)), 'host')}, "
        f"{many(len(web.all_users(web.alerts)), 'account')}.",
        {"alert_ids": [str(alert.id) for alert in web.alerts[:100]]},
    )
    return web


def sifted(web: Web, supposed: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Those that have to do with the start and are likely enough, the most confident first."""
    found = [
        one for one in supposed if one.finding.confidence >= LEAST_CONFIDENCE and link(web, one.alerts) >= LEAST_LINK
    ]
    return sorted(found, key=lambda one: (-one.finding.confidence, one.finding.title))


def answer(
    web: Web, found: Sequence[Hypothesis], *, looked_at: str, silent_because: str, data: Mapping[str, Any], think: Think
) -> Output:
    """The findings with their joint confidence, or none with the reason. `looked_at` says what the judgement rests on, with figures."""
    for one in found[:4]:
        think(
            f"{one.finding.title}: {percent(one.finding.confidence)} ({many(len(one.alerts), 'alert')}).",
            {"alert_ids": [item.id for item in one.finding.evidence if item.kind == "alert"]},
        )
    findings = [one.finding for one in found]
    rows = {"hypotheses": [as_json(one) for one in found], "looked_at": looked_at, "silent_because": None}
    if findings:
        value, reason = joint_confidence(findings)
        told = listed(f"{one.title} ({percent(one.confidence)})" for one in findings)
        best = findings[0].detail.partition(" Confidence in points")[0]
        return Output(f"{told}. {best}", value, reason, findings, rows | dict(data))
    think(f"No finding of {looked_at}: {silent_because}.", {"findings": 0})
    reason = f"{_SURE_OF_NOTHING:.2f}: {looked_at} looked at, {silent_because}; what no sensor saw stays unknown."
    summary = f"Nothing found around {quoted(web.scope.leading)}: {looked_at}; {silent_because}."
    return Output(summary, _SURE_OF_NOTHING, reason, [], rows | {"silent_because": silent_because} | dict(data))
