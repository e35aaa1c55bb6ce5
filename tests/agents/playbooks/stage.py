"""What the tests of playbooks act with: a bus in this very thread, connectors whose target counts, people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from agents.playbooks import authoring, engine, executions
from agents.playbooks.definition import Definition
from agents.playbooks.models import Execution, Playbook
from aurora.actors import Actor
from aurora.errors import Unavailable
from aurora.identity.credentials import actor_from_user
from aurora.models import OutboxEvent
from tests.cast import ADMIN, make_user
from tests.factories import make_alert, make_case


def person(name: str, role: str = "analyst") -> Actor:
    """An account and its owner: approvals are looked at again with the rights that the account has by then."""
    return actor_from_user(make_user(role, username=name))


def write(*steps: dict[str, Any], name: str = "drill") -> Playbook:
    definition = Definition.model_validate({"name": name, "steps": list(steps)})
    return authoring.write_playbook(definition=definition, source="", actor=ADMIN)


def block(name: str = "block", target: str = "198.51.100.7", **more: Any) -> dict[str, Any]:
    """A step that the built-in block list serves."""
    return {
        "name": name,
        "action": "block_ip",
        "parameters": {"targets": [target]},
        "rollback": {"action": "block_ip"},
    } | more


def begin(playbook: Playbook, actor: Actor, **more: Any) -> Execution:
    """A run over a case with one alert."""
    if not more.keys() & {"case_id", "alert_id"}:
        alert = make_alert(severity="high", affected_assets=["ws-12"], users=["jo"], iocs=["198.51.100.7"])
        more["case_id"] = make_case(alerts=[alert]).id
    return executions.execute(playbook_id=playbook.id, actor=actor, **more)


def waiting() -> Iterator[tuple[Any, bool]]:
    """Takes the messages to workers off the outbox, as a relay and a stream would bring them."""
    for row in list(OutboxEvent.objects.filter(type="playbook.step").order_by("id")):
        data = orjson.loads(row.data)
        row.delete()
        yield data["step_id"], data["undo"]


def work_off() -> list[tuple[Any, bool]]:
    """Handles messages until none is left; those that have to wait are returned."""
    postponed: list[tuple[Any, bool]] = []
    while messages := list(waiting()):
        for step_id, undo in messages:
            try:
                engine.run_step(step_id=step_id, undo=undo)
            except Unavailable:
                postponed.append((step_id, undo))
    return postponed


def statuses(execution: Execution) -> dict[str, str]:
    return dict(execution.steps.order_by("position").values_list("name", "status"))


def now(execution: Execution) -> Execution:
    execution.refresh_from_db()
    return execution
