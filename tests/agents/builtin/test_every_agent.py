"""What holds for each of the built-in agents."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.builtin import ANALYSES
from agents.builtin.contract import Task
from agents.states import AgentType
from aurora.errors import Invalid, Missing
from cases.models import Alert
from tests.agents.builtin.world import ask, case_of, dangling, intrusion, investigate, noise
from tests.factories import make_alert, make_case

pytestmark = pytest.mark.django_db

AGENTS = sorted(ANALYSES)


def _task(agent_type: str, *, alert_id: str | None = None, case_id: str | None = None) -> Task:
    return Task("task-1", agent_type, "", alert_id, case_id, {})


def _silent(text, data):
    return None


def test_the_agents_are_there_in_the_order_of_the_workflow():
    assert list(ANALYSES) == [
        AgentType.SECURITY_ANALYST,
        AgentType.THREAT_INTEL,
        AgentType.THREAT_HUNTER,
        AgentType.NETWORK_SECURITY,
        AgentType.ENDPOINT_SECURITY,
        AgentType.MALWARE_ANALYST,
        AgentType.FORENSIC_ANALYST,
        AgentType.INCIDENT_RESPONDER,
        AgentType.REPORT_GENERATOR,
    ]


@pytest.mark.parametrize("agent_type", AGENTS)
def test_a_task_with_neither_alert_nor_case_is_invalid(agent_type):
    with pytest.raises(Invalid, match=agent_type):
        ANALYSES[agent_type](_task(agent_type), _silent)


@pytest.mark.parametrize("agent_type", AGENTS)
@pytest.mark.parametrize("gone", ["4d530173-34f2-4b76-8bd3-38ad7e018672", "not-a-uuid", "../../etc/passwd"])
@pytest.mark.parametrize("subject", ["alert_id", "case_id"])
def test_an_alert_or_case_that_is_gone_is_missing(agent_type, gone, subject):
    with pytest.raises(Missing):
        ANALYSES[agent_type](_task(agent_type, **{subject: gone}), _silent)


@pytest.mark.parametrize("agent_type", [name for name in AGENTS if name != "report_generator"])
def test_a_case_without_alerts_cannot_be_analysed(agent_type):
    case = make_case()
    with pytest.raises(Invalid, match=case.reference):
        ask(agent_type, case=case)


@pytest.mark.parametrize("agent_type", AGENTS)
def test_a_task_with_only_a_case_works_on_its_alerts(agent_type):
    story = intrusion()
    answer = ask(agent_type, case=case_of(story.alerts))
    cited = {cited["id"] for finding in answer.output["findings"] for cited in finding["evidence"]}
    assert cited & {str(alert.id) for alert in story.alerts} or agent_type == "threat_intel"


def test_every_piece_of_evidence_exists():
    noise()
    story = intrusion()
    answers = investigate(alert=story.beacon, case=case_of([story.beacon]))
    assert [cited for answer in answers.values() for cited in dangling(answer.output)] == []
    assert all(answer.output["findings"] for name, answer in answers.items() if name != "threat_intel")


def test_the_same_question_gets_the_same_answer():
    noise(10)
    story = intrusion()
    case = case_of([story.beacon])
    first, second = (investigate(alert=story.beacon, case=case) for _ in range(2))
    assert {name: a.output for name, a in first.items()} == {name: a.output for name, a in second.items()}


@pytest.mark.parametrize("agent_type", AGENTS)
def test_another_alert_gets_another_answer(agent_type):
    story = intrusion()
    summaries = {ask(agent_type, alert=alert).summary for alert in (story.scan, story.beacon, story.theft)}
    assert len(summaries) == 3


def test_agents_think_aloud_in_five_to_twelve_steps_with_figures():
    story = intrusion()
    for name, answer in investigate(alert=story.beacon, case=case_of([story.beacon])).items():
        texts = [text for text, _ in answer.thoughts]
        assert 5 <= len(texts) <= 12, name
        assert sum(any(letter.isdigit() for letter in text) for text in texts) >= 4, name


def test_confidences_are_fractions_with_a_reason():
    story = intrusion()
    for answer in investigate(alert=story.beacon, case=case_of([story.beacon])).values():
        assert 0 < answer.output["confidence"] < 1
        assert any(letter.isdigit() for letter in answer.output["confidence_reason"])
        assert all(0 <= finding["confidence"] <= 1 for finding in answer.output["findings"])


def test_agents_change_nothing():
    story = intrusion()
    case = case_of([story.beacon])
    with CaptureQueriesContext(connection) as captured:
        investigate(alert=story.beacon, case=case)
    assert all(query["sql"].lstrip(" (\n").upper().startswith("SELECT") for query in captured)


@pytest.mark.parametrize("agent_type", AGENTS)
def test_the_number_of_queries_is_bounded_whatever_the_case_holds(agent_type):
    def queries(count: int, host: str) -> int:
        case = case_of([make_alert(affected_assets=[host], iocs=[f"198.18.{count}.{n + 1}"]) for n in range(count)])
        with CaptureQueriesContext(connection) as captured:
            ask(agent_type, case=case)
        return len(captured)

    assert queries(25, "host-b") <= queries(2, "host-a") + 3 <= 40


@pytest.mark.parametrize("agent_type", AGENTS)
def test_hostile_text_in_an_alert_breaks_no_agent(agent_type):
    alert = make_alert(
        title="\x1b[31m\u202e<script>alert(1)</script>\n# Heading | `code`",
        severity="high",
        affected_assets=["x" * 200, "{0}", "%s"],
        users=["'; DROP TABLE cases_alert; --"],
        mitre_techniques=["T9999", "T1071.999"],
        metadata={"src_ip": ["a"], "dest_ip": {"b": 1}, "bytes_toserver": "many", "action": 7, "process_name": None},
        iocs=[("user_agent", "{}%s<b>"), ("domain", "evil.example"), ("url", "http://a[b@evil.example/")],
    )
    answer = ask(agent_type, alert=alert)
    assert "\x1b" not in answer.summary
    assert "\u202e" not in answer.summary
    assert "\n" not in answer.summary


@pytest.mark.parametrize("agent_type", ["incident_responder", "report_generator"])
@pytest.mark.parametrize(
    "earlier",
    [
        {"threat_hunter": None},
        {"threat_hunter": "text", "security_analyst": []},
        {"threat_hunter": {"data": {"hypotheses": [{"kind": "beaconing"}, 7, None], "host_names": [1], "gaps": {}}}},
        {"threat_hunter": {"data": {"hypotheses": "x" * 100}}, "incident_responder": {"data": {"plan": [{"action": []}]}}},
        {"security_analyst": {"summary": "fine", "confidence": 7}},
        {"threat_hunter": {"summary": "s", "confidence": 0.5, "data": {"hypotheses": [
            {"kind": "beaconing", "title": "t", "confidence": 0.9, "alert_ids": ["4d530173-34f2-4b76-8bd3-38ad7e018672"], "hosts": ["no-such-host"]}
        ]}}},
    ],
)  # fmt: skip
def test_earlier_outputs_of_a_wrong_shape_are_passed_over(agent_type, earlier):
    alert = make_alert(severity="high", affected_assets=["ws-01"])
    answer = ask(agent_type, alert=alert, case=case_of([alert]), earlier=earlier)
    assert "no-such-host" not in str(answer.data.get("assets"))
    assert Alert.objects.count() == 1
