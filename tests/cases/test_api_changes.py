"""What callers change of alerts, cases and IOCs over HTTP."""

from __future__ import annotations

import pytest

from aurora.ids import new_id
from cases.models import Alert
from tests.cast import ApiClient, make_user
from tests.factories import make_alert, make_case, make_ioc

pytestmark = pytest.mark.django_db


@pytest.fixture
def analyst() -> ApiClient:
    return ApiClient("analyst")


def test_an_alert_is_acknowledged_once(analyst):
    alert = make_alert()
    first, second = (analyst.call("POST", f"/alerts/{alert.id}/acknowledge") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert Alert.objects.get().acknowledged_at is not None


def test_an_alert_is_promoted_to_a_case_once(analyst):
    alert = make_alert(title="Beacon", severity="high")
    case = analyst.call("POST", f"/alerts/{alert.id}/promote")
    assert (case.status_code, case.json()["title"], case.json()["severity"]) == (201, "Beacon", "high")
    assert analyst.call("POST", f"/alerts/{alert.id}/promote").status_code == 409


def test_an_alert_is_put_into_a_case_and_raises_it(analyst):
    alert, case = make_alert(severity="critical"), make_case(severity="low")
    answer = analyst.call("POST", f"/alerts/{alert.id}/case-link", {"case_id": str(case.id)})
    assert (answer.status_code, answer.json()["case_id"]) == (200, str(case.id))
    shown = analyst.call("GET", f"/cases/{case.id}").json()
    assert (shown["severity"], [item["id"] for item in shown["alerts"]]) == ("critical", [str(alert.id)])


def test_an_alert_has_one_case(analyst):
    first, second = make_case(), make_case()
    alert = make_alert(case=first)
    assert analyst.call("POST", f"/alerts/{alert.id}/case-link", {"case_id": str(second.id)}).status_code == 409


def test_a_closed_case_takes_no_alert(analyst):
    case = make_case(status="closed")
    answer = analyst.call("POST", f"/alerts/{make_alert().id}/case-link", {"case_id": str(case.id)})
    assert (answer.status_code, answer.json()["detail"]) == (409, "The case is closed; reopen it first")


def test_a_link_to_no_case_is_missing(analyst):
    answer = analyst.call("POST", f"/alerts/{make_alert().id}/case-link", {"case_id": str(new_id())})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("action", "argument", "field", "value"),
    [
        ("acknowledge", {}, "acknowledged_at__isnull", False),
        ("status", {"status": "triaged"}, "status", "triaged"),
        ("assign", {"assignee": "ana"}, "assignee__username", "ana"),
    ],
)
def test_one_action_is_done_to_many_alerts(action, argument, field, value, analyst):
    make_user("analyst", "ana")
    ids = [str(make_alert().id) for _ in range(3)]
    answer = analyst.call("POST", "/alerts/bulk", {"ids": ids, "action": action, **argument})
    assert answer.json() == {"done": ids, "failed": []}
    assert Alert.objects.filter(**{field: value}).count() == 3


def test_many_alerts_are_put_into_one_case(analyst):
    case, ids = make_case(), [str(make_alert().id) for _ in range(2)]
    body = {"ids": ids, "action": "case-link", "case_id": str(case.id)}
    assert analyst.call("POST", "/alerts/bulk", body).json()["done"] == ids
    assert case.alerts.count() == 2


def test_of_many_each_fails_alone_and_says_why(analyst):
    good, ended, nothing = make_alert(), make_alert(status="resolved"), new_id()
    ids = [str(good.id), str(ended.id), str(nothing)]
    answer = analyst.call("POST", "/alerts/bulk", {"ids": ids, "action": "status", "status": "escalated"}).json()
    assert answer["done"] == [str(good.id)]
    assert {item["id"] for item in answer["failed"]} == {str(ended.id), str(nothing)}
    assert all(item["detail"] for item in answer["failed"])


@pytest.mark.parametrize(("action", "name"), [("status", "status"), ("case-link", "case_id")])
def test_an_action_without_its_argument_is_refused(action, name, analyst):
    answer = analyst.call("POST", "/alerts/bulk", {"ids": [str(make_alert().id)], "action": action})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", name])


def test_a_transition_that_the_state_forbids_says_what_is_allowed(analyst):
    alert = make_alert(status="resolved")
    answer = analyst.call("PATCH", f"/alerts/{alert.id}", {"status": "triaged"})
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith("allowed: investigating")


def test_a_case_lives_from_open_to_closed_and_back(analyst):
    path = f"/cases/{analyst.call('POST', '/cases', {'title': 'Beacon', 'severity': 'high'}).json()['id']}"
    for status in ("in_progress", "contained", "eradicated", "recovered"):
        assert analyst.call("PATCH", path, {"status": status}).json()["status"] == status
    assert analyst.call("PATCH", path, {"status": "closed"}).status_code == 400
    closed = analyst.call("PATCH", path, {"status": "closed", "reason": "reimaged"}).json()
    assert (closed["resolution"], closed["closed_at"] is None) == ("reimaged", False)
    assert analyst.call("PATCH", path, {"status": "in_progress", "reason": "again"}).json()["closed_at"] is None


def test_a_comment_is_in_the_timeline(analyst):
    case = make_case()
    assert analyst.call("POST", f"/cases/{case.id}/comments", {"text": "Seen it"}).status_code == 201
    newest = analyst.call("GET", f"/cases/{case.id}/timeline").json()["items"][0]
    assert (newest["kind"], newest["text"]) == ("comment", "Seen it")


def test_an_ioc_is_added_changed_and_removed(analyst):
    added = analyst.call("POST", "/iocs", {"type": "domain", "value": "evil[.]example", "confidence": 0.9})
    assert (added.status_code, added.json()["value"]) == (201, "evil.example")
    path = f"/iocs/{added.json()['id']}"
    assert analyst.call("PATCH", path, {"status": "false_positive"}).json()["status"] == "false_positive"
    assert analyst.call("DELETE", path).status_code == 204
    assert analyst.call("GET", path).status_code == 404


def test_the_same_ioc_a_second_time_conflicts_and_names_the_first(analyst):
    known = make_ioc("evil.example")
    answer = analyst.call("POST", "/iocs", {"type": "domain", "value": "EVIL.example"})
    assert answer.status_code == 409
    assert str(known.id) in answer.json()["detail"]


def test_a_lookup_takes_what_is_defanged(analyst):
    make_ioc("http://evil.example/a")
    found = analyst.get("/api/v1/iocs/lookup", {"value": "hxxp://evil[.]example/a"}).json()["items"]
    assert [item["value"] for item in found] == ["http://evil.example/a"]


def test_the_blocklist_holds_only_what_somebody_vouches_for(analyst):
    make_ioc("203.0.113.1", confidence=0.9)
    make_ioc("203.0.113.2", confidence=0.5)
    make_ioc("203.0.113.3", confidence=0.9, status="false_positive")
    answer = analyst.call("GET", "/feeds/blocklist?type=ip")
    assert (answer.content, answer["Content-Type"]) == (b"203.0.113.1\n", "text/plain; charset=utf-8")
