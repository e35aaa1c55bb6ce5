"""What this app does with messages: alerts become investigations, tasks are run, results move investigations on."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.conf import settings

from agents import events, investigations, recovery, tasks
from agents.dispatch import LONGEST_SECONDS
from agents.registry import agent_type_of
from agents.states import ENDED_INVESTIGATIONS
from aurora.bus import registry, schedule, streams
from aurora.bus.streams import Message
from aurora.bus.worker import Worker
from aurora.errors import Invalid
from aurora.ids import uuid_or_none
from aurora.resilience.breakers import BREAKER_CHANGED
from cases.events import ALERT_CREATED, ALERT_UPDATED
from cases.states import URGENT


class AlertsWorker(Worker):
    """Every alert that is high or critical, or becomes it by a repetition, is investigated without anybody asking."""

    name: ClassVar[str] = "alerts"
    stream: ClassVar[str] = streams.ALERTS
    group: ClassVar[str] = "orchestrator"
    types: ClassVar[frozenset[str]] = frozenset({ALERT_CREATED, ALERT_UPDATED})

    def concerns(self, message: Message) -> bool:
        is_news = message.type == ALERT_CREATED or message.data.get("is_raised") is True
        return is_news and message.data.get("severity") in URGENT

    def handle(self, message: Message) -> None:
        investigations.start_unasked(alert_id=_uuid(message, "id"))


class AgentTasksWorker(Worker):
    """Runs the agents. A step's own state says whether it is still to be done, so a second delivery does no harm."""

    name: ClassVar[str] = "agent-tasks"
    stream: ClassVar[str] = streams.AGENT_TASKS
    group: ClassVar[str] = "agent-tasks"
    types: ClassVar[frozenset[str]] = frozenset({events.AGENT_TASK})
    concurrency: ClassVar[int] = 12
    timeout: ClassVar[float] = LONGEST_SECONDS + 60
    prefetch: ClassVar[int] = 0
    exactly_once: ClassVar[bool] = False

    def handle(self, message: Message) -> None:
        tasks.run_step(task_id=_uuid(message, "task_id"))


class ResultsWorker(Worker):
    """Moves investigations on when a step has ended."""

    name: ClassVar[str] = "results"
    stream: ClassVar[str] = streams.AGENT_RESULTS
    group: ClassVar[str] = "results"
    types: ClassVar[frozenset[str]] = frozenset({events.AGENT_RESULT})

    def handle(self, message: Message) -> None:
        investigations.advance(task_id=_uuid(message, "task_id"))


class BreakersWorker(Worker):
    """When an agent is back, does what investigations still lack because it was away."""

    name: ClassVar[str] = "breakers"
    stream: ClassVar[str] = streams.SYSTEM
    group: ClassVar[str] = "breakers"
    types: ClassVar[frozenset[str]] = frozenset({BREAKER_CHANGED})

    def concerns(self, message: Message) -> bool:
        return message.data.get("after") == "closed" and agent_type_of(str(message.data.get("name"))) is not None

    def handle(self, message: Message) -> None:
        agent_type = agent_type_of(str(message.data.get("name")))
        if agent_type is not None:
            investigations.resume(agent_type=agent_type)


class ModelWorker(Worker):
    """Has an ended investigation's findings worded by the language model, where an operator named one."""

    name: ClassVar[str] = "model"
    stream: ClassVar[str] = streams.AGENT_RESULTS
    group: ClassVar[str] = "model"
    types: ClassVar[frozenset[str]] = frozenset({events.INVESTIGATION_UPDATED})
    concurrency: ClassVar[int] = 2
    prefetch: ClassVar[int] = 0
    exactly_once: ClassVar[bool] = False

    def concerns(self, message: Message) -> bool:
        return bool(settings.LLM_BASE_URL) and message.data.get("status") in ENDED_INVESTIGATIONS

    def handle(self, message: Message) -> None:
        # An HTTP client that most installations have no use for.
        from agents.narration import narrate

        narrate.narrate(investigation_id=_uuid(message, "id"))


def register_all() -> None:
    """Offers the workers and this app's periodic jobs to `manage.py work`, and says which types of events there are."""
    for worker in (AlertsWorker, AgentTasksWorker, ResultsWorker, BreakersWorker, ModelWorker):
        registry.register(worker.name, worker)
    registry.declare_types(streams.ALERTS, {ALERT_CREATED, ALERT_UPDATED})
    registry.declare_types(streams.AGENT_TASKS, {events.AGENT_TASK})
    registry.declare_types(
        streams.AGENT_RESULTS, {events.AGENT_RESULT, events.AGENT_THOUGHT, events.INVESTIGATION_UPDATED}
    )
    schedule.register("lost-messages", every=60, function=recovery.recover)
    schedule.register("owed-steps", every=5, function=recovery.complete_owed)


def _uuid(message: Message, name: str) -> UUID:
    found = uuid_or_none(message.data.get(name))
    if found is None:
        raise Invalid(f"The message has no valid `{name}`")
    return found
