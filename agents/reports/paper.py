"""What a report has to say, before any form: the case, the report agent's answer, the rows it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agents.builtin import markdown as md
from agents.builtin.contract import Output
from agents.states import ENDED_INVESTIGATIONS
from cases import attack
from cases.models import Alert, Case, CaseTask, Evidence, Ioc, TimelineEntry
from cases.states import IocStatus

_MOST_ALERTS = 1_000
_MOST_IOCS = 2_000
_MOST_ENTRIES = 2_000
_MOST_TASKS = 1_000
_MOST_FILES = 1_000


@dataclass(frozen=True)
class Paper:
    case: Case
    output: Output

    @property
    def markdown(self) -> str:
        """The whole report. Untrusted text in it is escaped, indicators are defanged. What a model worded comes last, under a heading that says so."""
        return str(self.output.data["markdown"]) + "".join(f"{row}\n" for row in _worded(self))

    @cached_property
    def wording(self) -> dict[str, Any] | None:
        """What a language model made of the newest investigation's findings, if it was asked."""
        newest = self.case.investigations.filter(status__in=ENDED_INVESTIGATIONS).order_by("-id").first()
        return newest.model_wording if newest else None

    @cached_property
    def alerts(self) -> list[Alert]:
        """The case's own alerts in order of time; of a very large case the first thousand."""
        return list(
            self.case.alerts.select_related("assignee").defer("raw").order_by("first_seen", "pk")[:_MOST_ALERTS]
        )

    @cached_property
    def iocs(self) -> list[Ioc]:
        """What the case's alerts carried, without what was found to be harmless."""
        rows = Ioc.objects.filter(alert_links__alert__case=self.case).exclude(status=IocStatus.FALSE_POSITIVE)
        return list(rows.distinct().order_by("type", "value")[:_MOST_IOCS])

    @cached_property
    def entries(self) -> list[TimelineEntry]:
        """The timeline, oldest first."""
        return list(self.case.timeline.order_by("id")[:_MOST_ENTRIES])

    @cached_property
    def tasks(self) -> list[CaseTask]:
        """What is and was to be done, oldest first."""
        return list(self.case.tasks.select_related("assignee").order_by("id")[:_MOST_TASKS])

    @cached_property
    def files(self) -> list[Evidence]:
        """What is kept of the incident, oldest first."""
        return list(self.case.evidence.order_by("id")[:_MOST_FILES])

    @cached_property
    def techniques(self) -> list[attack.Technique]:
        """Those that the alerts name, by id; an id that ATT&CK does not know has no name to report."""
        named = sorted({name for alert in self.alerts for name in alert.mitre_techniques})
        return [known for known in map(attack.technique, named) if known]


def _worded(paper: Paper) -> list[str]:
    wording = paper.wording
    if not wording:
        return []
    head = f"By {md.text(wording['model'], limit=100)} from the findings above: text only, nothing was computed or decided by it."
    rows = ["", "## Worded by a language model", "", head, ""]
    rows += [_statement(paper, one) for one in wording["summary"]]
    if wording["hypotheses"]:
        rows += ["", "Suggested, not proven:", "", *(_statement(paper, one) for one in wording["hypotheses"])]
    cited = [f"- {one['id']}: {md.text(one['title'], paper.iocs, 200)}" for one in wording["findings"]]
    return [*rows, "", "Findings cited:", "", *cited]


def _statement(paper: Paper, one: dict[str, Any]) -> str:
    return f"- {md.text(one['text'], paper.iocs, 600)} ({', '.join(one['cites'])})"
