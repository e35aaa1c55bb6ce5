"""Alerts, cases and IOCs over HTTP, where the callers are careless."""

from __future__ import annotations

import pytest

from tests.cast import ApiClient, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def analyst() -> ApiClient:
    return ApiClient("analyst")


def test_an_alert_lies_within_the_times_around_which_windows_can_be_laid(analyst):
    alert = {"title": "t", "source": "s", "severity": "low", "occurred_at": "9999-12-31T00:00:00Z"}
    assert analyst.call("POST", "/alerts", alert).json()["detail"][0]["type"] == "less_than_equal"


def test_a_long_address_is_kept_as_an_indicator(analyst):
    address = "http://long.example/" + "a" * 1_900
    assert analyst.call("POST", "/iocs", {"type": "url", "value": address}).json()["value"] == address
    alert = {"title": "t", "source": "s", "severity": "low", "iocs": [address]}
    assert analyst.call("POST", "/alerts", alert).json()["iocs"] == [{"type": "url", "value": address}]


def test_a_patch_that_fails_changes_nothing(analyst):
    make_user("analyst", "ana")
    alert = analyst.call("POST", "/alerts", {"title": "t", "source": "s", "severity": "low"}).json()
    assert analyst.call("PATCH", f"/alerts/{alert['id']}", {"assignee": "ana", "status": "new"}).status_code == 409
    assert analyst.call("GET", f"/alerts/{alert['id']}").json()["assignee"] is None


def test_a_patch_of_a_case_that_fails_changes_nothing(analyst):
    case = analyst.call("POST", "/cases", {"title": "before", "severity": "low"}).json()
    assert analyst.call("PATCH", f"/cases/{case['id']}", {"title": "after", "status": "recovered"}).status_code == 409
    assert analyst.call("GET", f"/cases/{case['id']}").json()["title"] == "before"
