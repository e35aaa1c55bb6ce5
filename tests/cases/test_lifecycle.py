"""The life of a case, and IOCs as rows."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from aurora.errors import Conflict, Invalid
from aurora.models import OutboxEvent
from cases import iocs, lifecycle, queries
from cases.models import Ioc
from cases.observables.values import MAX_VALUE_BYTES
from tests.cast import ANALYST, ApiClient, make_user
from tests.factories import make_alert, make_case, make_ioc
from tests.waiting import somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db


def _kinds(case):
    return list(case.timeline.order_by("id").values_list("kind", flat=True))


def test_promoting_an_alert_opens_a_case_that_tells_of_it():
    alert = make_alert(severity="high")
    case = lifecycle.promote_alert(alert_id=alert.id, actor=ANALYST)
    alert.refresh_from_db()
    assert (alert.case_id, case.severity, _kinds(case)) == (case.id, "high", ["opened", "alert_linked"])


def test_an_alert_is_promoted_once():
    alert = make_alert()
    lifecycle.promote_alert(alert_id=alert.id, actor=ANALYST)
    with pytest.raises(Conflict):
        lifecycle.promote_alert(alert_id=alert.id, actor=ANALYST)


def test_a_graver_alert_raises_the_cases_severity_and_a_milder_one_does_not():
    case = make_case(severity="medium")
    lifecycle.link_alert(alert_id=make_alert(severity="critical").id, case_id=case.id, actor=ANALYST)
    linked = lifecycle.link_alert(alert_id=make_alert(severity="low").id, case_id=case.id, actor=ANALYST)
    assert linked.severity == "critical"


def test_linking_twice_changes_nothing():
    case, alert = make_case(), make_alert()
    for _ in range(2):
        lifecycle.link_alert(alert_id=alert.id, case_id=case.id, actor=ANALYST)
    assert _kinds(case) == ["alert_linked"]


def test_a_closed_case_takes_no_alert():
    case = make_case(status="closed")
    with pytest.raises(Conflict):
        lifecycle.link_alert(alert_id=make_alert().id, case_id=case.id, actor=ANALYST)


def test_closing_needs_a_resolution():
    case = make_case()
    with pytest.raises(Invalid):
        lifecycle.change_status(case_id=case.id, status="closed", actor=ANALYST)
    closed = lifecycle.change_status(case_id=case.id, status="closed", actor=ANALYST, reason="contained")
    assert (closed.resolution, closed.closed_at is not None) == ("contained", True)


def test_reopening_needs_a_reason():
    case = make_case(status="closed")
    with pytest.raises(Invalid):
        lifecycle.change_status(case_id=case.id, status="in_progress", actor=ANALYST)
    assert (
        lifecycle.change_status(case_id=case.id, status="in_progress", actor=ANALYST, reason="again").closed_at is None
    )


def test_a_step_that_may_not_follow_names_those_that_may():
    case = make_case(status="open")
    with pytest.raises(Conflict, match="in_progress"):
        lifecycle.change_status(case_id=case.id, status="recovered", actor=ANALYST)


def test_the_api_opens_edits_comments_and_tells_the_story():
    analyst = ApiClient("analyst")
    case_id = analyst.call("POST", "/cases", {"title": "Odd traffic", "severity": "medium"}).json()["id"]
    analyst.call("POST", f"/cases/{case_id}/comments", {"text": "looking"})
    patched = analyst.call("PATCH", f"/cases/{case_id}", {"status": "in_progress", "severity": "high"})
    assert (patched.status_code, patched.json()["status"], patched.json()["severity"]) == (200, "in_progress", "high")
    items = analyst.call("GET", f"/cases/{case_id}/timeline").json()["items"]
    assert [item["kind"] for item in items] == ["status_changed", "comment", "opened"]


@pytest.mark.django_db(transaction=True)
def test_who_waited_for_a_case_tells_the_assignee_that_it_has_by_then():
    case = make_case()
    make_user("analyst", "ana")
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            lifecycle.edit_case(case_id=case.id, changes={"assignee": "ana"}, actor=ANALYST)
            waiting = pool.submit(_comment_and_close, case.id)
            until(somebody_waits_for_a_lock)
        waiting.result()
    last = OutboxEvent.objects.filter(aggregate=f"case:{case.id}").latest("id")
    assert json.loads(last.data)["assignee"] == "ana"


def _comment_and_close(case_id):
    lifecycle.comment(case_id=case_id, text="looking", actor=ANALYST)
    connection.close()


def test_an_ioc_is_kept_in_canonical_form():
    row = iocs.add_ioc(ioc_type="url", value="hXXps://Evil[.]Example/a", actor=ANALYST)
    assert row.value == "https://evil.example/a"


def test_the_same_ioc_twice_conflicts_and_says_which():
    known = make_ioc("evil.example")
    body = {"type": "domain", "value": "EVIL[.]example"}
    answer = ApiClient("analyst").call("POST", "/iocs", body)
    assert answer.status_code == 409
    assert str(known.id) in answer.json()["detail"]


def test_a_value_that_is_not_of_its_type_is_refused():
    with pytest.raises(Invalid):
        iocs.add_ioc(ioc_type="ip", value="evil.example", actor=ANALYST)


def test_an_ioc_longer_than_what_is_stored_is_refused():
    for length, status in ((MAX_VALUE_BYTES, 201), (MAX_VALUE_BYTES + 1, 400)):
        value = "http://evil.example/".ljust(length, "a")
        assert ApiClient("analyst").call("POST", "/iocs", {"type": "url", "value": value}).status_code == status


def test_an_edit_sets_what_was_sent_and_nothing_else():
    row = make_ioc("evil.example", confidence=0.9, description="seen")
    answer = ApiClient("analyst").call("PATCH", f"/iocs/{row.id}", {"status": "false_positive"}).json()
    assert (answer["status"], answer["confidence"], answer["description"]) == ("false_positive", 0.9, "seen")


def test_the_blocklist_holds_only_vouched_for_active_indicators():
    make_ioc("203.0.113.1", confidence=0.9)
    make_ioc("203.0.113.2", confidence=0.5)
    make_ioc("203.0.113.3", confidence=0.9, status="expired")
    answer = ApiClient("viewer").call("GET", "/feeds/blocklist?type=ip")
    assert answer.content == b"203.0.113.1\n"


def test_a_lookup_takes_a_defanged_value():
    make_ioc("evil.example")
    answer = ApiClient("viewer").call("GET", "/iocs/lookup?value=evil[.]example").json()
    assert [item["value"] for item in answer["items"]] == ["evil.example"]


def test_a_deleted_ioc_is_gone():
    row = make_ioc("evil.example")
    assert ApiClient("analyst").call("DELETE", f"/iocs/{row.id}").status_code == 204
    assert not Ioc.objects.exists()


def test_a_case_shows_its_alerts():
    alert = make_alert()
    case = make_case(alerts=[alert])
    assert [item["id"] for item in queries.case(case.id)["alerts"]] == [alert.id]
