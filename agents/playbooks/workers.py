"""What playbooks do with messages, and their periodic jobs."""

from __future__ import annotations

from typing import ClassVar

from agents.playbooks import approvals, engine, events, notices, recovery
from aurora.bus import registry, schedule, streams
from aurora.bus.streams import Message
from aurora.bus.worker import Worker
from aurora.errors import Invalid
from aurora.ids import uuid_or_none


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


def register_all() -> None:
    """Offers the workers and the jobs to `manage.py work`, and says which types of events there are."""
    for worker in (PlaybooksWorker, ApprovalNoticesWorker):
        registry.register(worker.name, worker)
    registry.declare_types(streams.AGENT_TASKS, {events.PLAYBOOK_STEP})
    schedule.register("lost-playbook-steps", every=30, function=recovery.recover)
    schedule.register("overdue-approvals", every=60, function=approvals.expire_overdue)
