"""The report: complete, in order, and with nothing of an attacker's making in its markup."""

from __future__ import annotations

from datetime import timedelta

import pytest
from markdown_it import MarkdownIt

from agents.models import Investigation, InvestigationStep
from cases.models import TimelineEntry
from tests.agents.builtin.world import C2, ask, case_of, intrusion, investigate
from tests.factories import NOW, make_alert, make_case, make_ioc

pytestmark = pytest.mark.django_db

SECTIONS = [
    "Executive summary",
    "What happened",
    "Affected assets and accounts",
    "Indicators of compromise",
    "Techniques by tactic",
    "Findings",
    "Actions taken",
    "Actions pending",
    "Tasks",
    "Evidence",
    "Open questions",
    "Confidence",
]


def _report(**task):
    return ask("report_generator", **task).data["markdown"]


def _section(markdown: str, title: str) -> str:
    return markdown.partition(f"## {title}\n")[2].partition("\n## ")[0]


def _html(markdown: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


def test_all_sections_are_there_in_order_even_for_an_empty_case():
    markdown = _report(case=make_case(title="Nothing yet"))
    assert [line[3:] for line in markdown.splitlines() if line.startswith("## ")] == SECTIONS
    assert "has no alerts yet" in markdown


def test_the_timeline_holds_alerts_and_entries_in_order_of_time():
    story = intrusion()
    case = case_of(story.alerts)
    TimelineEntry.objects.create(
        case=case, kind="comment", actor="dana", text="Called the user", created_at=NOW + timedelta(minutes=100)
    )
    rows = [line for line in _section(_report(case=case), "What happened").splitlines() if line.startswith("| 2026")]
    assert len(rows) == len(story.alerts) + 1
    assert rows == sorted(rows, key=lambda row: row[2:21])
    assert any("dana" in row and "Called the user" in row for row in rows)
    assert all(str(alert.id) in "".join(rows) for alert in story.alerts)


def test_what_the_other_agents_found_is_told_with_their_confidence():
    story = intrusion()
    answers = investigate(alert=story.beacon, case=case_of([story.beacon]))
    findings = _section(answers["report_generator"].data["markdown"], "Findings")
    assert f"### Threat hunter ({answers['threat_hunter'].output['confidence']:.0%})" in findings
    assert "beaconing to" in findings


def test_what_the_hunt_ties_to_the_case_is_in_the_report_and_marked():
    story = intrusion()
    report = investigate(alert=story.beacon, case=case_of([story.beacon]))["report_generator"]
    happened = _section(report.data["markdown"], "What happened")
    assert str(story.dump.id) in happened
    assert "from the hunt" in happened
    assert "holds 1 alert (1 medium), the hunt ties" in report.summary


def test_pending_actions_are_those_of_the_plan():
    story = intrusion()
    answers = investigate(alert=story.move, case=case_of([story.move]))
    pending = _section(answers["report_generator"].data["markdown"], "Actions pending")
    assert len([line for line in pending.splitlines() if line.startswith("| ")]) == (
        2 + len(answers["incident_responder"].data["plan"])
    )


def test_actions_taken_come_from_the_cases_timeline():
    case = make_case(alerts=[make_alert()])
    TimelineEntry.objects.create(case=case, kind="playbook", actor="dana", text="isolate host ws-01 done")
    assert "isolate host ws-01 done" in _section(_report(case=case), "Actions taken")


def test_addresses_and_names_are_defanged_everywhere():
    alert = make_alert(title=f"Beacon to {C2} and http://evil.example/gate", iocs=[C2, "evil.example"])
    case = make_case(alerts=[alert], title=f"C2 at {C2}")
    html = _html(_report(case=case))
    assert C2 not in html
    assert "evil.example" not in html
    assert "203[.]0[.]113[.]77" in html


def test_techniques_are_grouped_by_tactic_in_kill_chain_order():
    techniques = _section(_report(case=case_of(intrusion().alerts)), "Techniques by tactic")
    places = [techniques.index(name) for name in ("Reconnaissance", "Execution", "Lateral Movement", "Exfiltration")]
    assert places == sorted(places)
    assert "T1021.002 Remote Services: SMB/Windows Admin Shares" in techniques


def test_indicators_come_with_reputation_and_reason():
    bad = make_ioc(C2, source="abuse.ch", confidence=0.95)
    indicators = _section(_report(case=make_case(alerts=[make_alert(iocs=[bad])])), "Indicators of compromise")
    assert "malicious (76)" in indicators
    assert "abuse.ch" in indicators


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "![x](http://evil.example/pixel.png)",
        "<http://evil.example>",
        "a | b | c\n| --- |",
        "\n# Heading\n\n- item",
        "`code` **bold** _em_ ~~gone~~",
        "&lt;script&gt; &#60;b&#62;",
        "\\[click\\](http://evil.example)",
    ],
)
def test_untrusted_text_stays_text(hostile):
    alert = make_alert(title=hostile, source=hostile[:60], affected_assets=[hostile], users=[hostile])
    case = make_case(alerts=[alert], title=hostile, opened_by=hostile[:100])
    TimelineEntry.objects.create(case=case, kind="comment", actor="dana", text=hostile)
    earlier = {
        "threat_hunter": {"summary": hostile, "confidence": 0.5, "findings": [{"title": hostile, "detail": hostile}]}
    }
    clean = {"threat_hunter": {"summary": "x", "confidence": 0.5, "findings": [{"title": "x", "detail": "x"}]}}
    html = _html(_report(case=case, earlier=earlier))
    for tag in ("<script", "<img", "<a ", "<code", "<em", "<del"):
        assert tag not in html
    make_alert()
    plain = make_case(alerts=[make_alert(title="x", source="x", affected_assets=["x"], users=["x"])], title="x")
    TimelineEntry.objects.create(case=plain, kind="comment", actor="dana", text="x")
    expected = _html(_report(case=plain, earlier=clean))
    for tag in ("<h1", "<h2", "<h3", "<li", "<td", "<tr", "<table", "<strong"):
        assert html.count(tag) == expected.count(tag), tag


def test_an_agent_that_was_not_asked_is_heard_by_its_last_answer_on_the_case():
    case = make_case(alerts=[make_alert()])
    investigation = Investigation.objects.create(case=case, requested_by="dana")
    InvestigationStep.objects.create(
        investigation=investigation, agent_type="threat_intel", stage=2, reason="r", status="completed",
        output={"summary": "One bad address", "confidence": 0.6, "findings": []},
    )  # fmt: skip
    report = ask("report_generator", case=case)
    assert "One bad address" in _section(report.data["markdown"], "Findings")
    assert report.data["agents"] == {"threat_intel": 0.6}


def test_missing_answers_lower_the_confidence_and_are_an_open_question():
    story = intrusion()
    case = case_of([story.beacon])
    full = investigate(alert=story.beacon, case=case)
    hunter = {"threat_hunter": full["threat_hunter"].output}
    partial = ask("report_generator", alert=story.beacon, case=case, earlier=hunter)
    assert partial.output["confidence"] < full["report_generator"].output["confidence"]
    assert any("Incident responder" in question for question in partial.data["open_questions"])


def test_a_closed_case_is_reported_with_its_resolution():
    case = make_case(alerts=[make_alert()], status="closed", closed_at=NOW, resolution="Host rebuilt.")
    assert "Host rebuilt." in _report(case=case)


def test_a_long_case_is_cut_and_says_so():
    case = make_case(alerts=[make_alert() for _ in range(103)])
    assert "3 later events not shown." in _section(_report(case=case), "What happened")


def test_the_report_lists_each_host_once_under_its_name_and_accounts_apart():
    story = intrusion()
    make_alert(severity="high", asset_type="identity", affected_assets=["l.brandt"], users=["l.brandt"], case=None)
    report = investigate(case=case_of(story.alerts))["report_generator"].data["markdown"]
    affected = report.partition("## Affected assets and accounts")[2].partition("##")[0]
    assert affected.count("ws-hr-02") == affected.count("10.20.6.12") == 1
    assert "ws-hr-02 (10.20.6.12)" in affected
    assert "| l.brandt |" in affected.partition("| Account |")[2]


def test_the_timeline_holds_the_incident_and_not_the_machinery_that_looked_at_it():
    story = intrusion()
    case = case_of(story.alerts)
    for text, data in (("Investigation started", {}), ("May be one intrusion with C-1", {"same_intrusion": "1"})):
        case.timeline.create(kind="investigation", actor="orchestrator", text=text, data=data)
    report = investigate(case=case)["report_generator"].data["markdown"]
    assert "Investigation started" not in report
    assert "May be one intrusion with C-1" in report


def test_one_alert_that_names_nothing_is_summed_up_without_lists_of_nothing():
    answer = investigate(case=case_of([make_alert(severity="high", title="Something odd")]))["report_generator"]
    assert answer.summary.endswith("“Something odd”. No alert says which host or account it concerns.")
    assert "none" not in answer.summary
