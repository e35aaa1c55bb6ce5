"""What lost messages left undone in runs is done after all, as `agents.recovery` does it for investigations."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import redis
import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from agents.playbooks import engine, events, runs
from agents.playbooks.models import Execution, ExecutionStep
from agents.playbooks.states import ENDED_EXECUTIONS, StepState, UndoState
from aurora.bus import outbox, streams
from aurora.bus.whereabouts import Sought, locate

AFTER = timedelta(seconds=30)
"""Younger steps are not looked at: nearly all of them are under way."""

GROUP = "playbooks"
_SOUGHT = Sought(streams.AGENT_TASKS, GROUP, events.PLAYBOOK_STEP, "work")

log = structlog.get_logger(__name__)


def recover() -> int:
    """Announces lost steps again, ends buried ones, and looks whether runs without a step in flight have one to come; how many."""
    try:
        return _recover_steps(undo=False) + _recover_steps(undo=True) + _recover_runs()
    except redis.RedisError as error:
        log.warning("playbook_recovery_postponed", error=str(error))
        return 0


def _recover_steps(*, undo: bool) -> int:
    due = Q(undo=UndoState.QUEUED) if undo else Q(status=StepState.QUEUED, execution__is_paused=False)
    running = Q(undo=UndoState.RUNNING) if undo else Q(status=StepState.RUNNING)
    rows = ExecutionStep.objects.filter(due | (running & Q(lease_until__lt=Now())), queued_at__lt=Now() - AFTER)
    steps = {events.work_of(step, undo=undo): step for step in rows.exclude(execution__status__in=ENDED_EXECUTIONS)}
    found = locate(_SOUGHT, steps)
    for work in found.lost:
        log.warning("playbook_step_lost", work=work)
        with transaction.atomic():
            outbox.announce(events.playbook_step(steps[work], undo=undo))
    for work, error in found.buried.items():
        engine.give_up(step_id=steps[work].pk, undo=undo, error=error)
    return len(found.lost) + len(found.buried)


def _recover_runs() -> int:
    """Nothing should ever be found here: what follows from a step is written with its end."""
    asleep = Execution.objects.exclude(status__in=ENDED_EXECUTIONS).exclude(
        Q(steps__status__in=(StepState.QUEUED, StepState.RUNNING, StepState.AWAITING_APPROVAL))
        | Q(steps__undo__in=(UndoState.QUEUED, UndoState.RUNNING))
    )
    woken: list[UUID] = list(asleep.values_list("pk", flat=True))
    for execution_id in woken:
        log.error("playbook_run_asleep", execution=str(execution_id))
        with transaction.atomic():
            runs.advance(runs.held(execution_id))
    return len(woken)
