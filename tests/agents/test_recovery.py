"""Lost messages are made again, waiting ones are left to wait however long, buried ones end their step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from django.db import transaction
from django.utils import timezone

from agents import events, investigations, recovery, registry, tasks
from agents.models import Investigation, InvestigationStep
from agents.states import StepStatus
from agents.workers import AgentTasksWorker, AlertsWorker, ResultsWorker
from aurora.bus import dead_letters, outbox, postgres, streams
from aurora.bus.groups import GroupConsumer
from aurora.bus.relay import move_batch
from aurora.bus.worker import Worker
from aurora.models import OutboxEvent
from cases.events import alert_created
from cases.models import Alert
from tests.aurora.bus.scene import settle
from tests.cast import ANALYST
from tests.factories import make_alert

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timezone.now() - timedelta(hours=2)


@pytest.fixture(autouse=True)
def _agents(redis_client) -> None:
    registry.ensure_agents()


@pytest.fixture
def relay() -> Iterator[psycopg.Connection]:
    with postgres.session("aurora-test") as session:
        yield session


@pytest.fixture
def investigation() -> Investigation:
    """Begun two hours ago; its first task waits in the outbox."""
    begun = investigations.start(alert_id=make_alert().id, actor=ANALYST)
    Investigation.objects.update(created_at=LONG_AGO)
    return begun


def _first_step(investigation: Investigation) -> InvestigationStep:
    return investigation.steps.get(agent_type="security_analyst")


def _finished_step(investigation: Investigation) -> InvestigationStep:
    """As a worker leaves it, two hours ago."""
    step = _first_step(investigation)
    tasks.run_step(task_id=step.id)
    InvestigationStep.objects.filter(pk=step.pk).update(finished_at=LONG_AGO)
    return step


def _forget_all(client: streams.Client) -> None:
    """What a Redis that was emptied does to events that had left the outbox."""
    OutboxEvent.objects.all().delete()
    client.flushdb()


def _work_off(worker: Worker) -> None:
    """What the worker does with everything that waits before it."""
    consumer = GroupConsumer(stream=worker.stream, group=worker.group, claim_seconds=30)
    for entry in consumer.read(count=1_000, block_ms=1):
        if settle(worker, consumer, entry):
            consumer.acknowledge([entry.entry_id])


def test_a_task_that_waits_in_the_outbox_is_left_alone_however_old(investigation):
    assert recovery.recover() == 0


def test_a_task_behind_a_backlog_is_left_alone_however_old(investigation, relay):
    move_batch(relay)
    assert recovery.recover() == 0
    assert _first_step(investigation).status == StepStatus.QUEUED


def test_a_lost_task_is_announced_again_once(investigation, redis_client):
    _forget_all(redis_client)
    assert recovery.recover() == 1
    assert recovery.recover() == 0
    assert OutboxEvent.objects.get(type=events.AGENT_TASK).aggregate == f"investigation:{investigation.id}"


def test_after_redis_forgot_everything_the_investigation_still_completes(investigation, redis_client, relay):
    move_batch(relay)
    _forget_all(redis_client)
    recovery.recover()
    for _ in range(20):
        while move_batch(relay):
            pass
        _work_off(AgentTasksWorker())
        _work_off(ResultsWorker())
    investigation.refresh_from_db()
    assert investigation.status == "completed"


def test_a_young_investigation_is_not_looked_at(redis_client):
    investigations.start(alert_id=make_alert().id, actor=ANALYST)
    _forget_all(redis_client)
    assert recovery.recover() == 0


def test_a_step_that_runs_is_not_missed_before_its_time(investigation, redis_client):
    _forget_all(redis_client)
    steps = investigation.steps.filter(agent_type="security_analyst")
    steps.update(status=StepStatus.RUNNING, started_at=timezone.now() - timedelta(minutes=5))
    assert recovery.recover() == 0
    steps.update(started_at=LONG_AGO)
    assert recovery.recover() == 1


def test_a_step_whose_task_was_buried_is_ended_so_that_the_rest_goes_on(investigation, redis_client, relay):
    move_batch(relay)
    consumer = GroupConsumer(stream=streams.AGENT_TASKS, group=AgentTasksWorker.group, claim_seconds=30)
    [entry] = consumer.read(count=10, block_ms=1)
    dead_letters.bury(stream=consumer.stream, group=consumer.group, entry=entry, error="its workers died")
    assert recovery.recover() == 1
    step = _first_step(investigation)
    assert (step.status, step.error) == ("failed", "No worker could finish the task: its workers died")
    while move_batch(relay):
        pass
    _work_off(ResultsWorker())
    assert investigation.steps.filter(status=StepStatus.QUEUED).count() == 2


def test_a_lost_result_is_announced_again_once(investigation, redis_client):
    step = _finished_step(investigation)
    _forget_all(redis_client)
    assert recovery.recover() == 1
    assert recovery.recover() == 0
    assert str(step.id) in OutboxEvent.objects.get(type=events.AGENT_RESULT).data


def test_a_result_that_waits_its_turn_is_left_alone(investigation, relay):
    _finished_step(investigation)
    move_batch(relay)
    assert recovery.recover() == 0


def test_a_result_that_was_taken_in_is_not_looked_for(investigation, redis_client):
    step = _finished_step(investigation)
    with transaction.atomic():
        investigations.advance(task_id=step.id)
    Investigation.objects.update(created_at=timezone.now())
    _forget_all(redis_client)
    assert recovery.recover() == 0


def test_a_result_that_comes_late_is_still_written_to_the_case(investigation):
    step = _finished_step(investigation)
    Investigation.objects.update(status="partial")
    with transaction.atomic():
        investigations.advance(task_id=step.id)
    assert investigation.case.timeline.filter(kind="agent_finding").count() == 1


def _overlooked(**fields) -> Alert:
    """An alert whose `alert.created` is nowhere."""
    return make_alert(**{"severity": "high", "created_at": LONG_AGO, **fields})


def test_an_overlooked_urgent_alert_is_investigated_after_all():
    alert = _overlooked()
    assert recovery.recover() == 1
    assert alert.investigations.get().requested_by == "orchestrator"
    assert recovery.recover() == 0


@pytest.mark.parametrize("fields", [{"severity": "medium"}, {"status": "resolved"}])
def test_an_alert_that_asks_for_nothing_is_left_alone(fields):
    _overlooked(**fields)
    assert recovery.recover() == 0


def test_an_urgent_alert_whose_turn_has_not_come_is_left_alone(relay):
    alert = _overlooked()
    with transaction.atomic():
        outbox.announce(alert_created(alert))
    assert recovery.recover() == 0
    move_batch(relay)
    assert recovery.recover() == 0
    _work_off(AlertsWorker())
    assert alert.investigations.count() == 1


def test_an_alert_that_somebody_investigates_is_not_begun_a_second_time():
    alert = _overlooked()
    investigations.start(alert_id=alert.id, actor=ANALYST)
    assert investigations.start_unasked(alert_id=alert.id) is None


def test_while_redis_is_away_nothing_is_taken_for_lost(investigation, own_redis, caplog):
    own_redis.stop()
    OutboxEvent.objects.all().delete()
    assert recovery.recover() == 0
    assert "recovery_postponed" in caplog.text
