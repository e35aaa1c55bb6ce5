"""What was resolved and is seen again: open once more, said where it is looked for, and only when it really came after."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import connection
from django.utils import timezone

from aurora.ids import new_id
from aurora.models import AuditEntry, OutboxEvent
from cases import intake, lifecycle, triage
from cases.models import Alert
from cases.normalizers import NormalizedAlert
from tests.cast import ANALYST, SENSOR, ApiClient
from tests.console_pages import signed_in, text_of

pytestmark = pytest.mark.django_db


def _seen(**more: Any) -> Alert:
    alert = NormalizedAlert(**{"title": "Beacon", "severity": "medium", "source": "probe", "raw": ""} | more)
    return intake.submit_alert(alert=alert, actor=SENSOR)[0]


def _judged(status: str) -> Alert:
    alert = _seen()
    triage.acknowledge(alert_id=alert.id, actor=ANALYST)
    triage.change_status(alert_id=alert.id, status=status, actor=ANALYST)
    return Alert.objects.get(pk=alert.pk)


def test_a_resolved_alert_that_is_seen_again_is_new_and_nobodys_reaction_has_begun():
    resolved = _judged("resolved")
    returned = _seen()
    stored = Alert.objects.get()
    assert (returned.id, returned.status, stored.status, stored.count) == (resolved.id, "new", "new", 2)
    assert (stored.resolved_at, stored.acknowledged_at) == (None, None)
    assert stored.reopened_at == stored.updated_at


def test_the_answer_is_the_same_alert_with_its_count_raised():
    client, body = ApiClient("analyst"), {"title": "Beacon", "severity": "low", "source": "probe"}
    first = client.call("POST", "/alerts", body).json()
    client.call("PATCH", f"/alerts/{first['id']}", {"status": "resolved"})
    again = client.call("POST", "/alerts", body)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert (again.json()["status"], again.json()["count"]) == ("new", 2)
    assert client.call("GET", f"/alerts/{first['id']}").json()["reopened_at"] is not None


def test_a_false_positive_stays_one():
    _judged("false_positive")
    _seen()
    alert = Alert.objects.get()
    assert (alert.status, alert.count, alert.reopened_at) == ("false_positive", 2, None)


@pytest.mark.parametrize("status", ["triaged", "investigating", "escalated"])
def test_what_is_under_way_goes_on(status):
    _judged(status)
    _seen()
    alert = Alert.objects.get()
    assert (alert.status, alert.acknowledged_at is not None, alert.reopened_at) == (status, True, None)


def test_a_record_from_before_it_was_resolved_says_nothing_against_it():
    _judged("resolved")
    _seen(occurred_at=timezone.now() - timedelta(hours=2))
    alert = Alert.objects.get()
    assert (alert.status, alert.count) == ("resolved", 2)


def test_of_several_records_in_one_delivery_the_latest_counts():
    _judged("resolved")
    old = NormalizedAlert(
        title="Beacon", severity="medium", source="probe", raw="", occurred_at=timezone.now() - timedelta(hours=2)
    )
    parcel = intake.parcel_of(old, new_id())
    parcel.alerts.append(NormalizedAlert(title="Beacon", severity="medium", source="probe", raw=""))
    parcel.received = 2
    intake.store([parcel])
    assert Alert.objects.get().status == "new"


def test_it_is_in_the_trail_and_in_the_timeline_of_its_case():
    alert = _judged("resolved")
    case = lifecycle.promote_alert(alert_id=alert.id, actor=ANALYST)
    OutboxEvent.objects.all().delete()
    _seen()
    entry = AuditEntry.objects.get(action="alert.reopened")
    assert (entry.actor, entry.target_id, entry.before) == ("intake", str(alert.id), {"status": "resolved"})
    line = case.timeline.get(kind="alert_reopened")
    assert (line.text, line.data) == ("Seen again after it was resolved: Beacon", {"alert_id": str(alert.id)})
    told = {row.type: orjson.loads(row.data) for row in OutboxEvent.objects.all()}
    assert told["alert.updated"]["is_reopened"] is True
    assert told["case.updated"]["id"] == str(case.id)


def test_it_comes_back_once_and_is_said_once():
    _judged("resolved")
    for _ in range(3):
        _seen()
    assert AuditEntry.objects.filter(action="alert.reopened").count() == 1
    assert OutboxEvent.objects.filter(data__contains='"is_reopened":true').count() == 1


def test_it_can_be_resolved_and_come_back_again():
    alert = _judged("resolved")
    _seen()
    triage.change_status(alert_id=alert.id, status="resolved", actor=ANALYST)
    _seen()
    assert AuditEntry.objects.filter(action="alert.reopened").count() == 2


def test_the_page_of_an_alert_says_that_it_came_back():
    alert = _judged("resolved")
    assert "Reopened" not in text_of(signed_in("viewer").get(f"/admin/cases/alert/{alert.pk}/change/"))
    _seen()
    assert "Reopened" in text_of(signed_in("viewer").get(f"/admin/cases/alert/{alert.pk}/change/"))


@pytest.mark.django_db(transaction=True)
def test_of_many_that_see_it_at_once_one_brings_it_back():
    _judged("resolved")

    def see(_: int) -> None:
        _seen()
        connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(see, range(12)))
    assert (Alert.objects.get().count, Alert.objects.get().status) == (13, "new")
    assert AuditEntry.objects.filter(action="alert.reopened").count() == 1
