"""Triage."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agents.builtin.security_analyst import severity_of
from tests.agents.builtin.world import ask, case_of
from tests.factories import NOW, make_alert, make_ioc

pytestmark = pytest.mark.django_db


def _triage(alert):
    return ask("security_analyst", alert=alert)


def _reasons(answer):
    return " | ".join(term["reason"] for term in answer.data["terms"])


@pytest.mark.parametrize("severity", ["critical", "high", "medium", "low", "info"])
def test_an_alert_of_which_nothing_else_is_known_keeps_its_sensors_severity(severity):
    answer = _triage(make_alert(severity=severity))
    assert (answer.data["severity"], len(answer.data["terms"])) == (severity, 1)


def test_the_score_is_the_sum_of_its_terms():
    alert = make_alert(severity="medium", count=500, last_seen=NOW + timedelta(hours=1), affected_assets=["dc-01"])
    data = _triage(alert).data
    assert data["score"] == sum(term["points"] for term in data["terms"]) > 42


def test_a_domain_controller_raises_the_score_above_a_workstation():
    controller, station = (_triage(make_alert(affected_assets=[name])) for name in ("dc-01", "ws-sales-03"))
    assert controller.data["score"] > station.data["score"]
    assert "dc-01 is of critical importance (domain controller" in _reasons(controller)


def test_an_indicator_that_a_feed_calls_bad_raises_the_severity():
    bad = make_ioc("203.0.113.77", source="abuse.ch", confidence=0.95)
    answer = _triage(make_alert(severity="medium", iocs=[bad]))
    assert answer.data["severity"] == "high"
    assert "203.0.113.77 is malicious" in _reasons(answer)
    assert str(bad.id) in {cited["id"] for cited in answer.output["findings"][0]["evidence"]}


def test_an_alert_of_known_harmless_indicators_only_is_lowered():
    answer = _triage(make_alert(severity="medium", iocs=[make_ioc("203.0.113.77", status="false_positive")]))
    assert answer.data["severity"] == "low"


def test_a_late_tactic_weighs_more_than_an_early_one():
    early, late = (_triage(make_alert(mitre_techniques=[name])) for name in ("T1595", "T1486"))
    assert late.data["score"] > early.data["score"]
    assert "Impact" in _reasons(late)


def test_what_the_sensor_blocked_is_lowered():
    assert _triage(make_alert(metadata={"action": "blocked"})).data["score"] < _triage(make_alert()).data["score"]


def test_techniques_come_with_names_and_tactics():
    [technique] = _triage(make_alert(mitre_techniques=["T1071.001"])).data["techniques"]
    assert technique == {
        "id": "T1071.001",
        "name": "Application Layer Protocol: Web Protocols",
        "tactics": ["command-and-control"],
    }


def test_related_alerts_say_what_relates_them():
    alert = make_alert(iocs=["203.0.113.77"], users=["jdoe"])
    other = make_alert(iocs=["203.0.113.77"], users=["jdoe"], first_seen=NOW + timedelta(minutes=5))
    [related] = _triage(alert).data["related_alerts"]
    assert related["id"] == str(other.id)
    assert related["seconds_apart"] == 300
    assert {(one["kind"], one["value"]) for one in related["relations"]} == {("ioc", "203.0.113.77"), ("user", "jdoe")}


def test_the_window_is_fifteen_minutes_and_a_day_when_those_hold_none():
    alert = make_alert(iocs=["203.0.113.77"])
    late = make_alert(iocs=["203.0.113.77"], first_seen=NOW + timedelta(minutes=16))
    answer = _triage(alert)
    assert (answer.data["window_seconds"], answer.data["related_alerts"][0]["id"]) == (86_400, str(late.id))
    near = make_alert(iocs=["203.0.113.77"], first_seen=NOW + timedelta(minutes=14))
    answer = _triage(alert)
    assert (answer.data["window_seconds"], [one["id"] for one in answer.data["related_alerts"]]) == (
        900,
        [str(near.id)],
    )


def test_an_alert_that_stands_alone_is_said_to():
    answer = _triage(make_alert(iocs=["203.0.113.77"]))
    assert "stands alone" in answer.summary
    assert answer.data["related_alerts"] == []


def test_more_kinds_of_evidence_give_more_confidence():
    bare = _triage(make_alert())
    full = _triage(make_alert(affected_assets=["dc-01"], mitre_techniques=["T1003.001"]))
    assert full.output["confidence"] > bare.output["confidence"]


def test_of_a_case_the_gravest_alert_leads():
    grave = make_alert(severity="critical", title="The grave one")
    answer = ask("security_analyst", case=case_of([make_alert(severity="low"), grave, make_alert(severity="high")]))
    assert answer.data["alert_id"] == str(grave.id)


@pytest.mark.parametrize(
    ("score", "severity"), [(100, "critical"), (78, "critical"), (77, "high"), (38, "medium"), (0, "info")]
)
def test_bands_turn_scores_into_severities(score, severity):
    assert severity_of(score) == severity


def test_a_score_close_to_another_severity_is_held_with_less_confidence():
    at_the_edge = _triage(make_alert(severity="medium", title="High by a hair", affected_assets=["ca-01"], count=10))
    inside = _triage(make_alert(severity="high", affected_assets=["ca-02"]))
    assert (at_the_edge.data["score"], inside.data["score"]) == (59, 75)
    assert at_the_edge.output["confidence"] == pytest.approx(inside.output["confidence"] - 0.1)
    assert "59 lies within 3 points" in at_the_edge.output["confidence_reason"]
