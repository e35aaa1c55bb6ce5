"""An investigation whose agent is down: the rest goes on, it says what is missing, and completes it by itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from agents import investigations, recovery, registry, tasks, workers
from agents.builtin import ANALYSES
from agents.models import Agent, Investigation, InvestigationStep
from agents.states import StepStatus
from aurora.bus.streams import Message
from aurora.models import OutboxEvent
from tests.agents.agent_process import AgentProcess
from tests.cast import ANALYST, ApiClient
from tests.factories import make_alert
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

TYPE = "threat_intel"


@pytest.fixture(autouse=True)
def _agents(settings, redis_client):
    settings.RETRY_BASE_SECONDS = 0.001
    registry.ensure_agents()
    Agent.objects.filter(pk=TYPE).update(reset_timeout=0.2)


@pytest.fixture
def agent() -> Iterator[AgentProcess]:
    """The threat intelligence in a process of its own."""
    process = AgentProcess(TYPE)
    process.start()
    Agent.objects.filter(pk=TYPE).update(transport="a2a", endpoint=process.url)
    yield process
    process.kill()


def carry_out(investigation: Investigation) -> Investigation:
    """Does what the workers do until nothing is queued any more."""
    while queued := list(investigation.steps.filter(status=StepStatus.QUEUED)):
        for step in queued:
            tasks.run_step(task_id=step.id)
            with transaction.atomic():
                investigations.advance(task_id=step.id)
    investigation.refresh_from_db()
    return investigation


def begin(number: int = 77) -> Investigation:
    alert = make_alert(severity="high", iocs=[f"203.0.113.{number}"], affected_assets=[f"web-{number}"])
    return investigations.start(alert_id=alert.id, actor=ANALYST)


def hear_of_breakers() -> None:
    """What the `breakers` worker does with what was announced."""
    worker = workers.BreakersWorker()
    for event in OutboxEvent.objects.filter(type="breaker.changed").order_by("id"):
        message = Message(
            id=str(event.event_id),
            stream=event.stream,
            type=event.type,
            timestamp="",
            data=orjson.loads(event.data),
            traceparent="",
            entry_id="0-1",
            addressee="",
        )
        if worker.concerns(message):
            worker.handle(message)


def the_step(investigation: Investigation) -> InvestigationStep:
    return investigation.steps.get(agent_type=TYPE)


def broken(_task, _think):
    raise RuntimeError("the agent fell over")


def test_an_investigation_completes_itself_when_a_killed_agent_is_back(agent):
    investigation = begin()
    agent.kill()
    partial = carry_out(investigation)
    concluded = partial.events.filter(kind="concluded").get()
    assert partial.status == "partial"
    assert concluded.data["missing"] == concluded.data["owed"] == [TYPE]
    assert "threat_intel will follow when back" in concluded.text
    assert registry.breaker_of(Agent.objects.get(pk=TYPE)).snapshot().state == "open"

    agent.start()
    until(lambda: recovery.complete_owed() or _is_closed())
    hear_of_breakers()
    whole = carry_out(investigation)
    assert whole.status == "completed"
    assert the_step(whole).status == "completed"
    assert the_step(whole).resumptions == 1
    assert whole.events.filter(kind="resumed").count() == 1
    report, back = whole.steps.get(agent_type="report_generator"), the_step(whole)
    assert report.started_at
    assert back.finished_at
    assert report.started_at > back.finished_at


def _is_closed() -> bool:
    return registry.breaker_of(Agent.objects.get(pk=TYPE)).snapshot().state == "closed"


def test_while_the_agent_stays_down_nothing_is_begun(agent):
    agent.kill()
    partial = carry_out(begin())
    for _ in range(3):
        assert recovery.complete_owed() == 0
    partial.refresh_from_db()
    assert partial.status == "partial"
    assert the_step(partial).resumptions == 0


def test_a_built_in_agent_that_is_well_again_is_given_its_owed_step(monkeypatch):
    analysis = ANALYSES[TYPE]
    monkeypatch.setitem(ANALYSES, TYPE, broken)
    partial = carry_out(begin())
    assert partial.status == "partial"
    monkeypatch.setitem(ANALYSES, TYPE, analysis)
    until(recovery.complete_owed)
    assert carry_out(partial).status == "completed"


def test_a_step_that_always_fails_is_not_begun_for_ever(monkeypatch):
    monkeypatch.setattr(tasks, "MOST_RESUMPTIONS", 3)
    monkeypatch.setitem(ANALYSES, TYPE, broken)
    investigation = carry_out(begin())
    for _ in range(3):
        _let_pass(hours=1)
        until(recovery.complete_owed)
        carry_out(investigation)
    _let_pass(hours=1)
    assert (the_step(investigation).is_owed, the_step(investigation).resumptions) == (False, 3)
    assert recovery.complete_owed() == 0


def test_who_resets_the_breaker_of_a_dead_agent_again_and_again_loses_no_step(monkeypatch):
    monkeypatch.setattr(investigations, "FIRST_PAUSE", timedelta(hours=1))  # however long the twelve rounds take
    analysis, breaker = ANALYSES[TYPE], registry.breaker_of(Agent.objects.get(pk=TYPE))
    monkeypatch.setitem(ANALYSES, TYPE, broken)
    investigation = carry_out(begin())
    for _ in range(12):
        breaker.reset()
        investigations.resume(agent_type=TYPE)
        carry_out(investigation)
    assert (the_step(investigation).is_owed, the_step(investigation).resumptions) == (True, 1)
    monkeypatch.setitem(ANALYSES, TYPE, analysis)
    _let_pass(hours=1)
    breaker.reset()
    until(recovery.complete_owed)
    assert carry_out(investigation).status == "completed"


def test_steps_that_have_to_wait_keep_no_other_from_being_begun(monkeypatch):
    monkeypatch.setitem(ANALYSES, TYPE, broken)
    first, second = carry_out(begin()), carry_out(begin())
    InvestigationStep.objects.filter(investigation=first, agent_type=TYPE).update(resumptions=1)
    monkeypatch.setattr(investigations, "MOST_OWED", 1)
    assert investigations.resume(agent_type=TYPE) == 1
    assert the_step(second).status == "queued"


def _let_pass(**time: float) -> None:
    """For the steps, as if they had ended longer ago."""
    InvestigationStep.objects.filter(agent_type=TYPE).update(finished_at=F("finished_at") - timedelta(**time))


def test_news_that_come_twice_begin_a_step_once(monkeypatch):
    analysis = ANALYSES[TYPE]
    monkeypatch.setitem(ANALYSES, TYPE, broken)
    investigation = carry_out(begin())
    monkeypatch.setitem(ANALYSES, TYPE, analysis)
    assert [investigations.resume(agent_type=TYPE) for _ in range(2)] == [1, 0]
    assert the_step(investigation).resumptions == 1


def test_what_is_a_day_old_or_of_a_closed_case_is_left(monkeypatch):
    monkeypatch.setitem(ANALYSES, TYPE, broken)
    old, closed = carry_out(begin(1)), carry_out(begin(2))
    InvestigationStep.objects.filter(investigation=old).update(finished_at=timezone.now() - timedelta(days=2))
    type(closed.case).objects.filter(pk=closed.case_id).update(status="closed")
    assert investigations.resume(agent_type=TYPE) == 0


def test_what_the_task_itself_got_wrong_is_not_owed(monkeypatch):
    from aurora.errors import Invalid

    def declines(_task, _think):
        raise Invalid("not like this")

    monkeypatch.setitem(ANALYSES, TYPE, declines)
    assert not the_step(carry_out(begin())).is_owed


def test_an_investigation_still_under_way_takes_the_step_in(monkeypatch):
    analysis = ANALYSES[TYPE]
    monkeypatch.setitem(ANALYSES, TYPE, broken)
    investigation = begin()
    first = investigation.steps.get(agent_type="security_analyst")
    tasks.run_step(task_id=first.id)
    with transaction.atomic():
        investigations.advance(task_id=first.id)
    tasks.run_step(task_id=the_step(investigation).id)
    monkeypatch.setitem(ANALYSES, TYPE, analysis)
    registry.breaker_of(Agent.objects.get(pk=TYPE)).reset()
    assert investigations.resume(agent_type=TYPE) == 1
    assert carry_out(investigation).status == "completed"


def test_the_service_ends_when_asked_to(agent):
    assert agent.stop() in (0, -signal.SIGTERM)


def test_a_service_for_others_needs_a_bearer():
    with pytest.raises(CommandError, match="AURORA_AGENT_TOKEN"):
        call_command("serve_agent", TYPE, "--port", "9", "--host", "0.0.0.0")


def test_a_service_with_a_bearer_takes_tasks_that_show_it():
    process = AgentProcess(TYPE, AURORA_AGENT_TOKEN="s3cret")
    process.start()
    try:
        body = {"transport": "a2a", "endpoint": process.url, "bearer": "s3cret"}
        assert ApiClient("operator").call("PATCH", f"/agents/{TYPE}", body).status_code == 200
        asked = {"agent_type": TYPE, "prompt": "look", "alert_id": str(make_alert().id)}
        assert ApiClient("analyst").call("POST", "/orchestrator/dispatch", asked).status_code == 200
    finally:
        process.kill()
