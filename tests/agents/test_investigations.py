"""Investigations from the plan to the conclusion, on the real agents."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from django.db import transaction

from agents import investigations, journal, registry, tasks
from agents.builtin import ANALYSES
from agents.models import Agent, Investigation, InvestigationStep
from agents.states import StepStatus
from aurora.errors import Denied, Invalid, Missing
from aurora.ids import new_id
from aurora.models import OutboxEvent
from tests.cast import ANALYST, VIEWER, ApiClient
from tests.factories import NOW, make_alert, make_case

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _agents(settings, redis_client):
    """The agents, and short waits."""
    settings.RETRY_BASE_SECONDS = 0.001
    registry.ensure_agents()


CORE = ("security_analyst", "threat_intel", "threat_hunter", "incident_responder", "report_generator")


def _carry_out(investigation: Investigation) -> Investigation:
    """Does what the workers do with tasks and results until nothing is queued any more."""
    while queued := list(investigation.steps.filter(status=StepStatus.QUEUED)):
        for step in queued:
            tasks.run_step(task_id=step.id)
            with transaction.atomic():
                investigations.advance(task_id=step.id)
    investigation.refresh_from_db()
    return investigation


def _broken(_task, _think):
    raise RuntimeError("the agent fell over")


def test_an_alert_is_investigated_to_the_end():
    alert = make_alert(severity="high", iocs=["203.0.113.77"], affected_assets=["web-03"])
    done = _carry_out(investigations.start(alert_id=alert.id, actor=ANALYST))
    assert done.status == "completed"
    assert set(done.steps.values_list("status", flat=True)) == {"completed"}
    assert done.summary
    assert 0 < (done.confidence or 0) <= 1


def test_the_log_is_numbered_without_gap_and_names_the_evidence():
    alert = make_alert(severity="high", iocs=["203.0.113.77"])
    done = _carry_out(investigations.start(alert_id=alert.id, actor=ANALYST))
    lines = list(done.events.order_by("number"))
    assert [line.number for line in lines] == list(range(1, done.event_count + 1))
    assert {"planned", "step_started", "thought", "finding", "step_completed", "concluded"} <= {
        line.kind for line in lines
    }
    assert any("203.0.113.77" in line.text for line in lines)


def test_results_are_written_to_the_cases_timeline():
    done = _carry_out(investigations.start(alert_id=make_alert().id, actor=ANALYST))
    findings = done.case.timeline.filter(kind="agent_finding")
    asked = set(done.steps.values_list("agent_type", flat=True))
    assert set(findings.values_list("actor", flat=True)) == asked
    assert asked > {"security_analyst", "report_generator"}


@pytest.mark.parametrize(
    ("category", "specialist"), [("network", "network_security"), ("identity", "endpoint_security")]
)
def test_the_alerts_category_calls_in_its_specialist_between_hunter_and_responder(category, specialist):
    done = _carry_out(investigations.start(alert_id=make_alert(category=category).id, actor=ANALYST))
    stages = dict(done.steps.values_list("agent_type", "stage"))
    assert set(stages) - set(CORE) == {specialist}
    assert stages["threat_hunter"] < stages[specialist] < stages["incident_responder"]


def test_the_alert_goes_from_new_to_triaged_to_investigating():
    alert = make_alert()
    investigation = investigations.start(alert_id=alert.id, actor=ANALYST)
    seen = [alert.status]
    first = investigation.steps.get(agent_type="security_analyst")
    tasks.run_step(task_id=first.id)
    with transaction.atomic():
        investigations.advance(task_id=first.id)
    events = OutboxEvent.objects.filter(type="alert.updated", aggregate=f"alert:{alert.id}").order_by("id")
    seen += [orjson.loads(event.data)["status"] for event in events]
    assert list(dict.fromkeys(seen)) == ["new", "triaged", "investigating"]


def test_each_line_of_the_log_is_announced_as_a_thought():
    investigation = investigations.start(alert_id=make_alert().id, actor=ANALYST)
    with transaction.atomic():
        journal.append(investigation_id=investigation.id, kind="thought", text="a thought")
    thoughts = OutboxEvent.objects.filter(type="agent.thought")
    assert thoughts.count() == Investigation.objects.get().event_count


def test_a_failing_agent_leaves_the_rest_running_and_the_investigation_partial(monkeypatch):
    monkeypatch.setitem(ANALYSES, "threat_intel", _broken)
    done = _carry_out(investigations.start(alert_id=make_alert().id, actor=ANALYST))
    assert done.status == "partial"
    assert done.steps.get(agent_type="threat_intel").error == "RuntimeError: the agent fell over"
    assert done.steps.get(agent_type="report_generator").status == "completed"
    assert done.case.timeline.filter(kind="agent_failed", actor="threat_intel").exists()


def test_an_investigation_in_which_every_agent_fails_has_failed(monkeypatch):
    for agent_type in registry.OFFERED:
        monkeypatch.setitem(ANALYSES, agent_type, _broken)
    assert _carry_out(investigations.start(alert_id=make_alert().id, actor=ANALYST)).status == "failed"


def test_two_alerts_of_one_incident_share_a_case():
    shared = {"iocs": ["203.0.113.77"], "affected_assets": ["web-03"], "users": ["deploy"]}
    first, second = make_alert(**shared), make_alert(first_seen=NOW + timedelta(minutes=5), **shared)
    cases = {investigations.start(alert_id=alert.id, actor=ANALYST).case_id for alert in (first, second)}
    assert len(cases) == 1


def test_unrelated_alerts_get_cases_of_their_own():
    alerts = [make_alert(iocs=[f"203.0.113.{n}"], affected_assets=[f"ws-{n}"]) for n in (1, 2)]
    cases = {investigations.start(alert_id=alert.id, actor=ANALYST).case_id for alert in alerts}
    assert len(cases) == 2


def test_an_alert_that_ties_two_cases_joins_the_nearer_and_both_name_each_other_once():
    first = make_case(alerts=[make_alert(iocs=["203.0.113.77"])])
    second = make_case(alerts=[make_alert(iocs=["203.0.113.78"], users=["jdoe"])])
    for _ in range(2):
        both = make_alert(iocs=["203.0.113.77", "203.0.113.78"], users=["jdoe"])
        assert investigations.start(alert_id=both.id, actor=ANALYST).case_id == second.id
    for case, other in ((first, second), (second, first)):
        [entry] = case.timeline.filter(data__same_intrusion=str(other.id))
        assert other.reference in entry.text


def test_a_closed_case_takes_no_new_alert():
    shared = {"iocs": ["203.0.113.77"], "affected_assets": ["web-03"]}
    closed = make_case(alerts=[make_alert(**shared)], status="closed")
    assert investigations.start(alert_id=make_alert(**shared).id, actor=ANALYST).case_id != closed.id


def test_a_step_delivered_twice_runs_once():
    investigation = investigations.start(alert_id=make_alert().id, actor=ANALYST)
    step = investigation.steps.get(agent_type="security_analyst")
    tasks.run_step(task_id=step.id)
    lines = Investigation.objects.get().event_count
    tasks.run_step(task_id=step.id)
    assert Investigation.objects.get().event_count == lines


def test_a_step_whose_worker_died_is_run_again():
    investigation = investigations.start(alert_id=make_alert().id, actor=ANALYST)
    step = investigation.steps.get(agent_type="security_analyst")
    InvestigationStep.objects.filter(pk=step.pk).update(status=StepStatus.RUNNING)
    tasks.run_step(task_id=step.id)
    step.refresh_from_db()
    assert step.status == "completed"


def test_a_result_that_comes_twice_moves_nothing_twice():
    investigation = investigations.start(alert_id=make_alert().id, actor=ANALYST)
    step = investigation.steps.get(agent_type="security_analyst")
    tasks.run_step(task_id=step.id)
    for _ in range(2):
        with transaction.atomic():
            investigations.advance(task_id=step.id)
    queued = OutboxEvent.objects.filter(type="agent.task")
    assert queued.count() == 3


def test_a_whole_case_can_be_investigated():
    case = make_case(alerts=[make_alert(), make_alert()])
    assert _carry_out(investigations.start(case_id=case.id, actor=ANALYST)).status == "completed"


def test_a_disabled_agent_is_not_asked():
    Agent.objects.filter(agent_type="threat_intel").update(enabled=False)
    investigation = investigations.start(alert_id=make_alert().id, actor=ANALYST)
    assert not investigation.steps.filter(agent_type="threat_intel").exists()


def test_neither_or_both_subjects_are_refused():
    with pytest.raises(Invalid):
        investigations.start(actor=ANALYST)
    with pytest.raises(Invalid):
        investigations.start(alert_id=new_id(), case_id=new_id(), actor=ANALYST)


def test_an_unknown_alert_is_missing():
    with pytest.raises(Missing):
        investigations.start(alert_id=new_id(), actor=ANALYST)


def test_a_viewer_starts_nothing():
    with pytest.raises(Denied):
        investigations.start(alert_id=make_alert().id, actor=VIEWER)


def test_the_api_starts_shows_and_pages_an_investigation():
    analyst = ApiClient("analyst")
    answer = analyst.call("POST", "/investigations", {"alert_id": str(make_alert().id)})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    path = f"/investigations/{answer.json()['id']}"
    _carry_out(Investigation.objects.get())
    assert analyst.call("GET", path).json()["status"] == "completed"
    numbers, cursor = [], None
    while True:
        page = analyst.call("GET", f"{path}/events?limit=5" + (f"&cursor={cursor}" if cursor else "")).json()
        numbers += [item["number"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert numbers == list(range(1, page["total"] + 1))


def test_the_api_dispatches_to_one_agent_and_answers_with_its_output():
    body = {"agent_type": "security_analyst", "prompt": "triage", "alert_id": str(make_alert().id)}
    answer = ApiClient("analyst").call("POST", "/orchestrator/dispatch", body)
    assert answer.status_code == 200
    assert set(answer.json()) == {"task_id", "agent_type", "output", "attempts", "duration_ms"}
    assert answer.json()["attempts"] == 1


def test_three_failures_open_the_breaker_and_the_next_call_is_refused_at_once(monkeypatch):
    monkeypatch.setitem(ANALYSES, "threat_intel", _broken)
    analyst = ApiClient("analyst")
    body = {"agent_type": "threat_intel", "prompt": "look", "alert_id": str(make_alert().id)}
    first, second = (analyst.call("POST", "/orchestrator/dispatch", body) for _ in range(2))
    assert (first.status_code, first.json()) == (503, {"detail": "Agent service unavailable"})
    assert (second.status_code, second.json()) == (503, {"detail": "Agent service unavailable"})
    assert 1 <= int(second.headers["Retry-After"]) <= 30
    agent = analyst.call("GET", "/agents/threat_intel").json()
    assert (agent["health"], agent["breaker"]["state"], agent["breaker"]["trips"]) == ("offline", "open", 1)


def test_an_operator_resets_a_breaker(monkeypatch):
    operator = ApiClient("operator")
    opened = operator.call("POST", "/agents/threat_intel/breaker", {"action": "force_open"}).json()
    closed = operator.call("POST", "/agents/threat_intel/breaker", {"action": "reset"}).json()
    assert (opened["breaker"]["state"], closed["breaker"]["state"]) == ("open", "closed")


def test_an_agent_that_hangs_is_given_up(monkeypatch, settings):
    from threading import Event

    released = Event()
    monkeypatch.setitem(ANALYSES, "threat_intel", lambda _task, _think: released.wait(20))
    Agent.objects.filter(agent_type="threat_intel").update(timeout=0.1)
    settings.RETRY_ATTEMPTS = 1
    body = {"agent_type": "threat_intel", "prompt": "look", "alert_id": str(make_alert().id)}
    answer = ApiClient("analyst").call("POST", "/orchestrator/dispatch", body)
    released.set()
    assert answer.status_code == 503


def test_every_failed_attempt_is_logged_with_its_number(monkeypatch, caplog):
    monkeypatch.setitem(ANALYSES, "threat_intel", _broken)
    body = {"agent_type": "threat_intel", "prompt": "look", "alert_id": str(make_alert().id)}
    ApiClient("analyst").call("POST", "/orchestrator/dispatch", body)
    logged = [record.msg for record in caplog.records if "agent_dispatch_failed" in str(record.msg)]
    assert [entry["attempt"] for entry in logged] == [1, 2, 3]
    assert {"agent_type", "error", "case_id", "attempt"} <= set(logged[0])


def test_an_operator_configures_an_agent():
    answer = ApiClient("operator").call("PATCH", "/agents/threat_intel", {"failure_threshold": 7, "enabled": False})
    body = answer.json()
    assert (answer.status_code, body["failure_threshold"], body["enabled"], body["health"]) == (
        200,
        7,
        False,
        "offline",
    )
