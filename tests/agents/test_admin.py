"""The console's pages of agents and investigations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agents import calls, registry
from agents.models import Agent, Investigation, InvestigationEvent, InvestigationStep
from aurora.models import AuditEntry
from aurora.resilience import breakers
from cases.lifecycle import promote_alert
from tests.cast import ANALYST
from tests.console_pages import make_alert, signed_in, text_of

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"
AGENT = "/admin/agents/agent/security_analyst"


@pytest.fixture
def agent(redis_client) -> Agent:
    registry.ensure_agents()
    return registry.find("security_analyst")


@pytest.fixture
def investigation() -> Investigation:
    alert = make_alert(title="Beacon to a known address")
    case = promote_alert(alert_id=alert.pk, actor=ANALYST)
    return Investigation.objects.create(alert=alert, case=case, requested_by="ana", status="completed", event_count=1)


def _page(investigation: Investigation) -> str:
    return f"/admin/agents/investigation/{investigation.pk}/change/"


@pytest.mark.parametrize("role", ["admin", "analyst", "operator", "viewer"])
def test_every_role_of_people_reads_investigations(role, investigation):
    assert "Beacon to a known address" in text_of(signed_in(role).get("/admin/agents/investigation/"))


def test_an_investigation_shows_its_steps_and_its_numbered_log(investigation):
    InvestigationStep.objects.create(
        investigation=investigation,
        agent_type="threat_intel",
        stage=2,
        reason="r",
        status="completed",
        output={"summary": "Known bad", "confidence": 0.8},
    )
    InvestigationEvent.objects.create(
        investigation=investigation, number=1, kind="finding", agent_type="threat_intel", text="Seen before"
    )
    shown = text_of(signed_in("viewer").get(_page(investigation)))
    for part in ("Known bad", "Stage 2", 'value="80"', "#1", "Seen before"):
        assert part in shown


def test_what_an_agent_answers_is_text(investigation):
    investigation.summary = HOSTILE
    investigation.save()
    InvestigationStep.objects.create(
        investigation=investigation,
        agent_type="threat_intel",
        stage=1,
        reason=HOSTILE,
        status="failed",
        error=HOSTILE,
        output={"summary": HOSTILE, HOSTILE: 1},
    )
    InvestigationEvent.objects.create(
        investigation=investigation, number=1, kind="thought", text=HOSTILE, data={"a": HOSTILE}
    )
    assert HOSTILE not in text_of(signed_in("viewer").get(_page(investigation)))


@pytest.mark.parametrize("output", [[], "text", None, {"confidence": "high", "summary": {"a": 1}}])
def test_an_answer_of_another_shape_breaks_no_page(output, investigation):
    InvestigationStep.objects.create(
        investigation=investigation, agent_type="threat_intel", stage=1, reason="r", output=output or {}
    )
    InvestigationStep.objects.filter(investigation=investigation).update(output=output if output is not None else {})
    assert signed_in("viewer").get(_page(investigation)).status_code == 200


def test_running_ones_can_be_told_from_ended_ones(investigation):
    client = signed_in("viewer")
    assert str(investigation.pk) not in text_of(client.get("/admin/agents/investigation/?state=running"))
    assert str(investigation.pk) in text_of(client.get("/admin/agents/investigation/?state=ended"))


def test_an_alert_shows_its_investigations(investigation):
    assert str(investigation.pk) in text_of(
        signed_in("viewer").get(f"/admin/cases/alert/{investigation.alert_id}/change/")
    )


def test_investigating_an_alert_leads_to_the_investigation(agent):
    alert = make_alert()
    answer = signed_in("analyst").post(f"/admin/cases/alert/{alert.pk}/do/investigate/")
    started = Investigation.objects.get(alert=alert)
    assert answer.headers["Location"] == _page(started)


def test_a_case_is_investigated_by_its_button(agent, investigation):
    signed_in("analyst").post(f"/admin/cases/case/{investigation.case_id}/do/investigate/")
    assert Investigation.objects.filter(case=investigation.case, alert=None).exists()


def test_an_operator_starts_no_investigation(agent):
    assert signed_in("operator").post(f"/admin/cases/alert/{make_alert().pk}/do/investigate/").status_code == 403


def test_agents_are_listed_with_health_and_breaker(agent):
    shown = text_of(signed_in("viewer").get("/admin/agents/agent/"))
    assert "au-status-online" in shown
    assert "au-breaker-closed" in shown


def test_an_agent_shows_its_configuration_and_counts(agent):
    shown = text_of(signed_in("viewer").get(f"{AGENT}/change/"))
    for part in ("Failure threshold", "Answered", "Trips", "30 s"):
        assert part in shown


def test_an_operator_opens_and_resets_a_breaker(agent):
    client = signed_in("operator")
    assert "au-breaker-open" in text_of(client.post(f"{AGENT}/do/force-open/", follow=True))
    assert "au-breaker-closed" in text_of(client.post(f"{AGENT}/do/reset/", follow=True))


def test_an_operator_switches_an_agent_off(agent):
    signed_in("operator").post(f"{AGENT}/do/disable/")
    assert Agent.objects.get(pk="security_analyst").enabled is False


def test_a_reason_goes_into_the_audit(agent):
    client = signed_in("operator")
    client.post(f"{AGENT}/do/disable/", {"text": "it cries wolf"})
    client.post(f"{AGENT}/do/force-open/", {"text": "maintenance"})
    client.post(f"{AGENT}/do/reset/", {"text": "it is done"})
    told = dict(AuditEntry.objects.filter(target_type="agent").values_list("action", "after__reason"))
    assert told == {
        "agent.configured": "it cries wolf",
        "breaker.force_open": "maintenance",
        "breaker.reset": "it is done",
    }
    held = AuditEntry.objects.get(action="breaker.force_open")
    assert (held.before["state"], held.after["state"]) == ("closed", "open")


def test_a_breaker_can_be_held_closed(agent):
    shown = text_of(signed_in("operator").post(f"{AGENT}/do/force-closed/", follow=True))
    assert "held by an operator" in shown


def test_an_agent_shows_its_last_calls_and_their_errors_as_text(agent):
    calls.note(
        "security_analyst", task_id="t", case_id=None, outcome="failed", attempts=3, duration_ms=12.3, error=HOSTILE
    )
    page = signed_in("viewer").get(f"{AGENT}/change/").content.decode()
    assert "Last calls" in page
    assert "12 ms" in page
    assert HOSTILE not in page


def test_while_redis_is_away_list_and_page_speak_for_this_process(agent, own_redis, monkeypatch):
    monkeypatch.setattr(breakers, "_breakers", {})
    monkeypatch.setattr(breakers, "_store", None)
    own_redis.stop()
    client = signed_in("viewer")
    assert "this process" in text_of(client.get("/admin/agents/agent/"))
    assert text_of(client.get(f"{AGENT}/change/")).count("this process: Redis is away") == 2
    assert breakers._store is not None
    breakers._store.stop()


def test_an_analyst_manages_no_agent(agent):
    client = signed_in("analyst")
    assert client.post(f"{AGENT}/do/force-open/").status_code == 403
    assert "/do/" not in text_of(client.get(f"{AGENT}/change/"))


def test_an_alerts_page_shows_what_the_newest_investigation_found(investigation):
    Investigation.objects.filter(pk=investigation.pk).update(summary="Contain fs-01 first")
    InvestigationStep.objects.create(
        investigation=investigation,
        agent_type="threat_intel",
        stage=2,
        reason="r",
        status="completed",
        output={"summary": "Known bad"},
    )
    shown = text_of(signed_in("viewer").get(f"/admin/cases/alert/{investigation.alert_id}/change/"))
    for part in ("Contain fs-01 first", "Threat intel", "Known bad", _page(investigation)):
        assert part in shown


def test_an_alerts_page_links_earlier_investigations(investigation):
    Investigation.objects.create(
        alert=investigation.alert, case=investigation.case, requested_by="ben", status="queued"
    )
    shown = text_of(signed_in("viewer").get(f"/admin/cases/alert/{investigation.alert_id}/change/"))
    assert shown.index("asked by ben") < shown.index(str(investigation))


def test_a_step_of_less_than_a_second_is_told_in_milliseconds(investigation):
    begun = timezone.now()
    InvestigationStep.objects.create(
        investigation=investigation,
        agent_type="threat_intel",
        stage=1,
        reason="r",
        status="completed",
        started_at=begun,
        finished_at=begun + timedelta(milliseconds=340),
    )
    assert "340 ms" in text_of(signed_in("viewer").get(_page(investigation)))


def test_a_case_shows_its_newest_report_with_nothing_of_an_attackers_markup(investigation):
    text = f"# Report\n\n| Host | Note |\n|---|---|\n| web-03 | {HOSTILE} |\n\n[link](javascript:alert(1)) ![p](http://evil.example/p)"
    InvestigationStep.objects.create(
        investigation=investigation,
        agent_type="report_generator",
        stage=5,
        reason="report",
        status="completed",
        finished_at=timezone.now(),
        output={"summary": "s", "confidence": 0.5, "data": {"markdown": text}},
    )
    page = signed_in("viewer").get(f"/admin/cases/case/{investigation.case_id}/change/").content.decode()
    assert "<td>web-03</td>" in page
    assert HOSTILE not in page
    assert 'href="javascript' not in page
    assert "evil.example/p" not in page


def test_the_agents_page_tells_at_which_rates_its_breaker_opens(agent):
    Agent.objects.filter(pk=agent.pk).update(failure_rate=0.5, slow_call_rate=0.8, slow_call_seconds=2)
    assert "50% failed, 80% slower than 2 s; of 20 calls or more in 60 s" in text_of(
        signed_in("viewer").get(f"{AGENT}/change/")
    )
