"""What playbooks do with messages, and their periodic jobs."""

from __future__ import annotations

from typing import ClassVar

from django.utils.dateparse import parse_datetime

from agents.playbooks import approvals, automation, deliveries, disabled_accounts, engine, events, notices, recovery
from aurora.bus import registry, schedule, streams
from aurora.bus.streams import Message
from aurora.bus.worker import Worker
from aurora.errors import Invalid
from aurora.ids import uuid_or_none
from cases.events import ALERT_CREATED, ALERT_UPDATED


class PlaybooksWorker(Worker):
    """Runs the steps of playbooks. A step's own state says whether it is still to be done, so a second delivery does no harm."""

    name: ClassVar[str] = "playbooks"
    stream: ClassVar[str] = streams.AGENT_TASKS
    group: ClassVar[str] = recovery.GROUP
    types: ClassVar[frozenset[str]] = frozenset({events.PLAYBOOK_STEP})
    concurrency: ClassVar[int] = 4
    prefetch: ClassVar[int] = 0
    timeout: ClassVar[float] = 6_600.0  # ten attempts of ten minutes, the longest that a step may be given
    exactly_once: ClassVar[bool] = False

    def handle(self, message: Message) -> None:
        step_id = uuid_or_none(message.data.get("step_id"))
        if step_id is None:
            raise Invalid("The message has no valid `step_id`")
        engine.run_step(step_id=step_id, undo=message.data.get("undo") is True)


class ApprovalNoticesWorker(Worker):
    """Tells approvers that they are wanted. Who has been told of an announcement is written down, so a second delivery tells nobody twice."""

    name: ClassVar[str] = "approval-notices"
    stream: ClassVar[str] = streams.SYSTEM
    group: ClassVar[str] = "approval-notices"
    types: ClassVar[frozenset[str]] = frozenset({events.APPROVAL_REQUESTED})
    prefetch: ClassVar[int] = 0
    exactly_once: ClassVar[bool] = False

    def handle(self, message: Message) -> None:
        approval_id, announcement = uuid_or_none(message.data.get("id")), uuid_or_none(message.id)
        if approval_id is None or announcement is None:
            raise Invalid("The message has no valid `id`")
        notices.tell(approval_id=approval_id, announcement=announcement)


class AutomationWorker(Worker):
    """Begins the playbooks that rules name for new alerts, and for those that became graver. The database knows which it has begun."""

    name: ClassVar[str] = "automation"
    stream: ClassVar[str] = streams.ALERTS
    group: ClassVar[str] = "automation"
    types: ClassVar[frozenset[str]] = frozenset({ALERT_CREATED, ALERT_UPDATED})
    concurrency: ClassVar[int] = 2
    exactly_once: ClassVar[bool] = False

    def concerns(self, message: Message) -> bool:
        return message.type == ALERT_CREATED or message.data.get("is_raised") is True

    def handle(self, message: Message) -> None:
        alert_id, arrived_at = uuid_or_none(message.data.get("id")), parse_datetime(message.timestamp)
        if alert_id is None or arrived_at is None:
            raise Invalid("The message has no valid `id` or `timestamp`")
        automation.respond(alert_id=alert_id, arrived_at=arrived_at)


def register_all() -> None:
    """Offers the workers and the jobs to `manage.py work`, and says which types of events there are."""
    for worker in (PlaybooksWorker, ApprovalNoticesWorker, AutomationWorker):
        registry.register(worker.name, worker)
    registry.declare_types(streams.AGENT_TASKS, {events.PLAYBOOK_STEP})
    schedule.register("lost-playbook-steps", every=30, function=recovery.recover)
    schedule.register("overdue-approvals", every=60, function=approvals.expire_overdue)
    schedule.register("forget-deliveries", every=3_600, function=deliveries.forget)
    schedule.register("forget-disabled-accounts", every=3_600, function=disabled_accounts.forget)
