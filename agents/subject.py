"""What an agent in a service of its own is told beside the question: a foreign one cannot look into our database."""

from __future__ import annotations

from typing import Any

import orjson

from agents.builtin.contract import Task
from cases.events import alert_data, case_data
from cases.models import Alert, Case

MOST_ALERTS = 20
"""Of a case; the newest."""
LONGEST = 50_000
"""Characters."""


def subject_of(task: Task) -> str:
    """The task's alert, or its case with its newest alerts, and what agents before found, as JSON; empty for a task about nothing.

    What stands in it was written by sensors, and so by attackers: it is passed on as data, between lines that say so.
    """
    facts: dict[str, Any] = {}
    alert = Alert.objects.select_related("assignee").filter(pk=task.alert_id).first() if task.alert_id else None
    case = Case.objects.select_related("assignee").filter(pk=task.case_id).first() if task.case_id else None
    if alert is not None:
        facts["alert"] = alert_data(alert) | {"description": alert.description, "metadata": alert.metadata}
    if case is not None:
        facts["case"] = case_data(case)
        if alert is None:
            facts["alerts"] = [alert_data(each) for each in case.alerts.select_related("assignee")[:MOST_ALERTS]]
    if task.earlier:
        facts["findings"] = {name: output.get("findings", []) for name, output in task.earlier.items()}
    return orjson.dumps(facts, default=str, option=orjson.OPT_INDENT_2).decode()[:LONGEST] if facts else ""
