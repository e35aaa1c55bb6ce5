"""The report as data: the case, the agents' conclusions and the rows they rest on."""

from __future__ import annotations

import orjson
from django.utils import timezone

from agents.reports.paper import Paper
from cases import events, queries


def write(paper: Paper) -> bytes:
    case, output = paper.case, paper.output
    report = {
        "generated_at": timezone.now(),
        "case": events.case_data(case) | {"description": case.description, "resolution": case.resolution},
        "summary": output.summary,
        "confidence": output.confidence,
        "confidence_reason": output.confidence_reason,
        "open_questions": output.data["open_questions"],
        "agents": output.data["agents"],
        "model_wording": paper.wording and {name: value for name, value in paper.wording.items() if name != "of"},
        "techniques": [{"id": one.id, "name": one.name, "tactics": list(one.tactics)} for one in paper.techniques],
        "iocs": [queries.ioc_data(row) for row in paper.iocs],
        "alerts": [events.alert_data(row) for row in paper.alerts],
        "timeline": [queries.timeline_data(entry) for entry in paper.entries],
        "tasks": [queries.task_data(task) for task in paper.tasks],
        "evidence": [queries.evidence_data(row) for row in paper.files],
        "markdown": paper.markdown,
    }
    return orjson.dumps(report, option=orjson.OPT_INDENT_2)
