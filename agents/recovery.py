"""What lost messages left undone is done after all: a Redis that forgets delays investigations, it ends none.

A message is taken for lost only when it is nowhere any more (`aurora.bus.whereabouts`), not when it is old. Making one again that was not lost
does no harm: a step runs once, a result is taken in once, an alert has one investigation that nobody asked for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import redis
import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from agents import dispatch, events, investigations, registry, tasks
from agents.models import Agent, InvestigationStep
from agents.states import ENDED_STEPS, OPEN_STEPS, StepStatus, Transport
from aurora.bus import outbox, streams
from aurora.bus.whereabouts import Sought, Whereabouts, locate
from aurora.errors import AuroraError
from aurora.ids import first_id_of
from aurora.resilience.breaker import Status
from cases.events import ALERT_CREATED
from cases.models import Alert
from cases.states import ENDED_ALERTS, URGENT

AFTER = timedelta(minutes=2)
"""Younger rows are not looked at: nearly all of them are under way."""
LONGEST_RUN = timedelta(minutes=15)
"""A step may run this long before its message is missed: running it twice at once would write its log twice."""
LOOK_BACK = timedelta(days=1)
"""Older alerts that nobody investigated are left alone: they are not what a Redis forgot."""

_TASKS = Sought(streams.AGENT_TASKS, "agent-tasks", events.AGENT_TASK, "task_id")
_RESULTS = Sought(streams.AGENT_RESULTS, "results", events.AGENT_RESULT, "task_id")
_ALERTS = Sought(streams.ALERTS, "orchestrator", ALERT_CREATED, "id")

log = structlog.get_logger(__name__)


def recover() -> int:
    """Does again what lost messages left undone; how many. While Redis is away nothing can be told, and nothing is done."""
    before = timezone.now() - AFTER
    try:
        return _recover_tasks(before) + _recover_results(before) + _recover_alerts(before)
    except redis.RedisError as error:
        log.warning("recovery_postponed", error=str(error))
        return 0


def complete_owed() -> int:
    """Does what investigations lack because an agent was down; how many steps were begun.

    A breaker closes only when somebody calls, and without traffic nobody does. An agent by A2A is asked for its card, through its breaker,
    whose closing then brings everything that is owed; a built-in one is given one of its owed steps.
    """
    owed = InvestigationStep.objects.filter(is_owed=True).order_by().values_list("agent_type", flat=True).distinct()
    return sum(_complete(agent) for agent in Agent.objects.filter(agent_type__in=list(owed), enabled=True))


def _complete(agent: Agent) -> int:
    breaker = registry.breaker_of(agent).snapshot()
    if breaker.state is Status.CLOSED:
        return investigations.resume(agent_type=agent.agent_type)
    is_due = breaker.next_probe_at is not None and breaker.next_probe_at <= timezone.now()
    if not is_due:
        return 0
    if agent.transport == Transport.BUILTIN:
        return investigations.resume(agent_type=agent.agent_type, limit=1)
    try:
        dispatch.greet(agent)
    except AuroraError as error:
        log.debug("agent_still_down", agent_type=agent.agent_type, error=error.detail)
    return 0


def _recover_tasks(before: datetime) -> int:
    """Announces lost tasks again. A step whose task was buried is ended as failed, so that the rest of its investigation goes on."""
    may_be_lost = Q(status=StepStatus.QUEUED) | Q(started_at__lt=timezone.now() - LONGEST_RUN)
    steps = InvestigationStep.objects.filter(may_be_lost, status__in=OPEN_STEPS, investigation__created_at__lt=before)
    found = _locate(_TASKS, steps)
    for task_id in found.lost:
        step = _step(task_id)
        log.warning("agent_task_lost", agent_type=step.agent_type, task_id=task_id)
        with transaction.atomic():
            outbox.announce(events.agent_task(step, step.investigation))
    for task_id, error in found.buried.items():
        tasks.give_up(task_id=UUID(task_id), error=error)
    return len(found.lost) + len(found.buried)


def _recover_results(before: datetime) -> int:
    """Announces lost results again. Buried ones wait for an operator: whatever failed would fail again."""
    steps = InvestigationStep.objects.filter(status__in=ENDED_STEPS, finished_at__lt=before)
    found = _locate(_RESULTS, steps)
    for task_id in found.lost:
        step = _step(task_id)
        log.warning("agent_result_lost", agent_type=step.agent_type, task_id=task_id)
        with transaction.atomic():
            outbox.announce(events.agent_result(step))
    return len(found.lost)


def _recover_alerts(before: datetime) -> int:
    """Begins the investigations that urgent alerts should have had."""
    overlooked = Alert.objects.filter(
        severity__in=URGENT,
        id__gte=first_id_of(before - LOOK_BACK),
        created_at__lt=before,
        investigations__isnull=True,
    ).exclude(status__in=ENDED_ALERTS)
    found = locate(_ALERTS, [str(alert_id) for alert_id in overlooked.values_list("id", flat=True)])
    begun = [alert_id for alert_id in found.lost if investigations.start_unasked(alert_id=UUID(alert_id))]
    for alert_id in begun:
        log.warning("alert_overlooked", alert_id=alert_id)
    return len(begun)


def _locate(sought: Sought, steps: QuerySet[InvestigationStep]) -> Whereabouts:
    unnoted = steps.filter(noted_at__isnull=True).values_list("id", flat=True)
    return locate(sought, [str(step_id) for step_id in unnoted])


def _step(task_id: str) -> InvestigationStep:
    return InvestigationStep.objects.select_related("investigation").get(pk=task_id)
