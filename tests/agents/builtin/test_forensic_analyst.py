"""The course of events: in order, with sources, gaps and evidence that is not what it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from cases import evidence, evidence_store, lifecycle
from tests.agents.builtin.world import ask, case_of, dangling, intrusion, noise
from tests.cast import ANALYST
from tests.factories import NOW, make_alert

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _store(settings, tmp_path):
    settings.DATA_DIR = tmp_path


def _ask(alert=None, case=None):
    return ask("forensic_analyst", alert=alert, case=case)


def _kinds(answer):
    return {one["kind"] for one in answer.data["hypotheses"]}


def test_a_days_noise_yields_nothing_and_says_why():
    answers = [_ask(alert) for alert in noise(12)]
    assert all(answer.output["findings"] == [] for answer in answers)
    assert all(answer.data["silent_because"] in answer.summary for answer in answers)


def test_the_events_are_in_order_of_time_each_with_its_source():
    story = intrusion()
    answer = _ask(case=case_of(story.alerts[::-1]))
    rows = [row for row in answer.data["timeline"] if row["kind"] == "alert"]
    assert [row["evidence"]["id"] for row in rows] == [str(alert.id) for alert in story.alerts]
    assert {row["source"] for row in rows} == {"suricata", "wazuh"}
    assert dangling(answer.output) == []


def test_the_time_from_foothold_to_objective_is_told():
    story = intrusion()
    answer = _ask(case=case_of(story.alerts))
    assert _kinds(answer) >= {"intrusion", "dwell_time"}
    [finding] = [one for one in answer.output["findings"] if "from foothold to objective" in one["title"]]
    assert {cited["id"] for cited in finding["evidence"]} >= {str(story.pack.id)}


def test_what_an_analyst_wrote_and_what_was_taken_in_are_part_of_it():
    alert = make_alert()
    case = case_of([alert])
    lifecycle.comment(case_id=case.id, text="The host was unplugged", actor=ANALYST)
    evidence.add_evidence(case_id=case.id, name="disk.img", chunks=[b"bytes"], actor=ANALYST)
    rows = {row["kind"]: row for row in _ask(case=case).data["timeline"]}
    assert rows["comment"]["text"] == "The host was unplugged"
    assert "disk.img" in str(rows["evidence"])


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_evidence_that_is_gone_or_changed_is_found_by_its_hash(harm):
    alert = make_alert()
    case = case_of([alert])
    row = evidence.add_evidence(case_id=case.id, name="disk.img", chunks=[b"bytes"], actor=ANALYST)
    assert "evidence_changed" not in _kinds(_ask(case=case))
    place = evidence_store._place(row.sha256)
    place.write_bytes(b"other bytes") if harm == "changed" else place.unlink()
    answer = _ask(case=case)
    assert "evidence_changed" in _kinds(answer)
    assert row.sha256 in str(answer.output["findings"])


def test_a_clock_that_is_ahead_is_found():
    alert = make_alert(severity="high", source="zeek", first_seen=timezone.now() + timedelta(hours=2))
    assert _kinds(_ask(alert)) == {"clock_ahead"}


def test_covered_tracks_are_found():
    assert _kinds(_ask(make_alert(severity="high", mitre_techniques=["T1070.001"]))) == {"covered_tracks"}
    assert _kinds(_ask(make_alert(severity="high", mitre_techniques=["T1059.001"]))) == set()


def test_hostile_text_in_a_comment_stays_text_on_one_line():
    case = case_of([make_alert(first_seen=NOW)])
    lifecycle.comment(case_id=case.id, text="\x1b[31m<script>\n# Heading", actor=ANALYST)
    texts = [row["text"] for row in _ask(case=case).data["timeline"]]
    assert any("<script>" in text for text in texts)
    assert not any(mark in text for text in texts for mark in ("\n", "\x1b"))
