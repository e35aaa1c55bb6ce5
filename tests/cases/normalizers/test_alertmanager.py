from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aurora.errors import Invalid
from cases.normalizers import Ignored
from tests.cases.normalizers.feed import alert, merged, outcome, values

FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": {
        "alertname": "TapirProxyDown",
        "severity": "critical",
        "instance": "proxy-3.corp.test:9100",
        "job": "proxy",
        "team": "edge",
    },
    "annotations": {
        "summary": "Proxy proxy-3 does not answer",
        "description": "No scrape for a while; last peer was 198.51.100.77.",
        "runbook_url": "https://wiki.corp.test/proxy",
    },
    "startsAt": "2025-03-11T08:00:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "https://prom.corp.test/graph?g0.expr=up",
    "fingerprint": "5ca1ab1e5ca1ab1e",
}


def with_labels(**labels: Any) -> dict[str, Any]:
    return merged(FIRING, labels=merged(FIRING["labels"], **labels))


def with_summary(summary: str) -> dict[str, Any]:
    return merged(FIRING, annotations={"summary": summary})


def test_a_firing_alert_is_told_whole():
    found = alert("alertmanager", FIRING)
    assert found.title == "TapirProxyDown: Proxy proxy-3 does not answer"
    assert (found.severity, found.source) == ("critical", "alertmanager")
    assert found.affected_assets == ["proxy-3.corp.test"]
    assert found.occurred_at == datetime(2025, 3, 11, 8, 0, 0, 123456, tzinfo=UTC)
    assert "198.51.100.77" in values(found, "ip")
    assert found.metadata["fingerprint"] == "5ca1ab1e5ca1ab1e"


@pytest.mark.parametrize("status", ["resolved", "Resolved", {"state": "resolved"}, {"state": "inactive"}], ids=str)
def test_a_resolved_alert_is_ignored(status):
    assert isinstance(outcome("alertmanager", merged(FIRING, status=status)), Ignored)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"status": "firing"}, "`labels` is missing"),
        (with_labels(alertname=...), r"`labels\.alertname` is missing"),
    ],
)
def test_what_is_no_alert_is_refused_with_a_reason(record, reason):
    with pytest.raises(Invalid, match=reason):
        outcome("alertmanager", record)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("page", "critical"),
        ("critical", "critical"),
        ("error", "high"),
        ("Warning", "medium"),
        ("info", "info"),
        ("none", "info"),
        ("purple", "medium"),
        (..., "medium"),
    ],
)
def test_severities_map_as_the_domain_page_says(word, expected):
    assert alert("alertmanager", with_labels(severity=word)).severity == expected


@pytest.mark.parametrize(
    "summary",
    ["CPU at 93.2%", "Load is 17.25", "Disk 97 % full", "Latency 250ms", "Only 3.1GiB left", "Rate 5Mbps"],
)
def test_a_summary_with_a_reading_stays_out_of_the_title(summary):
    found = alert("alertmanager", with_summary(summary))
    assert found.title == "TapirProxyDown: proxy-3.corp.test"
    assert summary in found.description


@pytest.mark.parametrize("summary", ["Target 10.0.0.5:9100 is down", "Node web01 lost", "HTTP 500 from v1.2.3"])
def test_a_summary_with_names_and_addresses_stays_in_the_title(summary):
    assert alert("alertmanager", with_summary(summary)).title == f"TapirProxyDown: {summary}"


def test_a_summary_that_names_the_alert_is_not_told_twice():
    assert alert("alertmanager", with_summary("TapirProxyDown on edge")).title == "TapirProxyDown on edge"


@pytest.mark.parametrize(
    ("instance", "asset"),
    [
        ("10.0.0.5:9100", "10.0.0.5"),
        ("[fd00::5]:9100", "fd00::5"),
        ("https://shop.corp.test/login", "shop.corp.test"),
        ("fd00::5", "fd00::5"),
    ],
)
def test_an_instance_is_an_asset_without_its_port(instance, asset):
    assert alert("alertmanager", with_labels(instance=instance)).affected_assets == [asset]


def test_an_alert_without_a_status_of_its_own_has_its_group_s():
    body = {"status": "resolved", "alerts": [{"labels": {"alertname": "Up"}}]}
    assert isinstance(outcome("alertmanager", body), Ignored)


def test_addresses_in_labels_count():
    found = alert("alertmanager", with_labels(src_ip="203.0.113.50", user="ann"))
    assert "203.0.113.50" in values(found, "ip")
    assert (found.users, found.metadata["src_ip"]) == (["ann"], "203.0.113.50")


def test_an_alert_of_prometheus_itself_is_read():
    record = {"state": "firing", "labels": {"alertname": "Up"}, "activeAt": "2025-03-11T08:00:00Z"}
    found = alert("alertmanager", record)
    assert found.title == "Up"
    assert found.occurred_at == datetime(2025, 3, 11, 8, tzinfo=UTC)
