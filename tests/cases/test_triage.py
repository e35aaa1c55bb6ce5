"""What analysts do to an alert."""

from __future__ import annotations

import pytest

from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.ids import new_id
from aurora.models import AuditEntry, OutboxEvent
from cases import triage
from cases.states import ALERT_TRANSITIONS, AlertStatus
from tests.cast import ANALYST, VIEWER, ApiClient, make_user
from tests.factories import make_alert

pytestmark = pytest.mark.django_db


def test_acknowledging_stops_the_clock_once():
    alert = make_alert()
    first = triage.acknowledge(alert_id=alert.id, actor=ANALYST).acknowledged_at
    assert first is not None
    assert triage.acknowledge(alert_id=alert.id, actor=ANALYST).acknowledged_at == first


def test_a_change_leaves_an_audit_entry_and_an_event():
    alert = make_alert()
    triage.change_status(alert_id=alert.id, status="triaged", actor=ANALYST)
    entry = AuditEntry.objects.get(target_id=str(alert.id))
    assert (entry.actor, entry.action, entry.before, entry.after) == (
        "ana",
        "alert.status_changed",
        {"status": "new"},
        {"status": "triaged"},
    )
    assert OutboxEvent.objects.filter(type="alert.updated", aggregate=f"alert:{alert.id}").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [(a, b) for a in AlertStatus.values for b in AlertStatus.values if b not in ALERT_TRANSITIONS[a]],
)
def test_what_may_not_follow_conflicts_and_changes_nothing(before, after):
    alert = make_alert(status=before)
    with pytest.raises(Conflict, match="allowed"):
        triage.change_status(alert_id=alert.id, status=after, actor=ANALYST)
    alert.refresh_from_db()
    assert alert.status == before


def test_resolving_notes_the_time_and_reopening_forgets_it():
    alert = make_alert()
    assert triage.change_status(alert_id=alert.id, status="resolved", actor=ANALYST).resolved_at
    assert triage.change_status(alert_id=alert.id, status="investigating", actor=ANALYST).resolved_at is None


def test_agents_do_not_override_an_analysts_decision():
    alert = make_alert(status="false_positive")
    assert triage.advance_status(alert_id=alert.id, status="investigating", actor=ANALYST) is False


def test_an_unknown_alert_is_missing():
    with pytest.raises(Missing):
        triage.acknowledge(alert_id=new_id(), actor=ANALYST)


def test_a_viewer_changes_nothing():
    with pytest.raises(Denied):
        triage.acknowledge(alert_id=make_alert().id, actor=VIEWER)


def test_an_alert_is_assigned_to_an_active_account_only():
    user = make_user("analyst")
    alert = make_alert()
    assert triage.assign(alert_id=alert.id, username=user.username, actor=ANALYST).assignee == user
    with pytest.raises(Invalid):
        triage.assign(alert_id=alert.id, username="nobody", actor=ANALYST)


def test_the_api_lists_by_filter():
    wanted = make_alert(severity="critical", source="probe", affected_assets=["DC-01"], mitre_techniques=["T1071.004"])
    make_alert(severity="low")
    viewer = ApiClient("viewer")
    for query in ("severity=critical", "source=probe", "technique=T1071.004", "q=dc-01", f"q={wanted.title[-4:]}"):
        items = viewer.call("GET", f"/alerts?{query}").json()["items"]
        assert wanted.title in {item["title"] for item in items}, query
    assert len(viewer.call("GET", "/alerts?severity=critical").json()["items"]) == 1


def test_the_api_finds_alerts_by_a_defanged_ioc():
    wanted = make_alert(iocs=["203.0.113.77"])
    make_alert(iocs=["203.0.113.78"])
    items = ApiClient("viewer").call("GET", "/alerts?ioc=203[.]0[.]113[.]77").json()["items"]
    assert [item["id"] for item in items] == [str(wanted.id)]


def test_pages_follow_each_other_without_gap_or_double():
    made = [str(make_alert().id) for _ in range(7)]
    viewer, seen = ApiClient("viewer"), []
    page = viewer.call("GET", "/alerts?limit=3").json()
    while page["next_cursor"]:
        seen += [item["id"] for item in page["items"]]
        page = viewer.call("GET", f"/alerts?limit=3&cursor={page['next_cursor']}").json()
    seen += [item["id"] for item in page["items"]]
    assert seen == made[::-1]
    assert (page["total"], page["total_is_exact"], page["data_source"]) == (7, True, "database")


def test_a_foreign_cursor_is_refused():
    answer = ApiClient("viewer").call("GET", "/alerts?cursor=%25%25")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["query", "cursor"])


def test_a_bulk_action_tells_what_failed():
    fine, ended = make_alert(), make_alert(status="resolved")
    body = {"ids": [str(fine.id), str(ended.id)], "action": "status", "status": "triaged"}
    answer = ApiClient("analyst").call("POST", "/alerts/bulk", body).json()
    assert answer["done"] == [str(fine.id)]
    assert [item["id"] for item in answer["failed"]] == [str(ended.id)]


def test_a_bulk_action_needs_its_argument():
    answer = ApiClient("analyst").call("POST", "/alerts/bulk", {"ids": [str(new_id())], "action": "status"})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", "status"])


def test_the_detail_names_techniques():
    alert = make_alert(mitre_techniques=["T1071.004"])
    body = ApiClient("viewer").call("GET", f"/alerts/{alert.id}").json()
    assert body["techniques"][0]["name"].endswith("DNS")
