from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aurora.errors import Invalid
from cases.normalizers import Ignored
from tests.cases.normalizers.feed import alert, merged, outcome, values

DETECTION: dict[str, Any] = {
    "@timestamp": "2025-03-11T08:31:00.000Z",
    "kibana.alert.original_time": "2025-03-11T08:30:00.000Z",
    "kibana.alert.uuid": "0f0f",
    "kibana.alert.status": "active",
    "kibana.alert.workflow_status": "open",
    "kibana.alert.severity": "high",
    "kibana.alert.risk_score": 73,
    "kibana.alert.reason": "process event with process tapir.exe on WS17 created high alert",
    "kibana.alert.rule.name": "Tapir Loader Execution",
    "kibana.alert.rule.rule_id": "77aa",
    "kibana.alert.rule.tags": ["Domain: Endpoint"],
    "kibana.alert.rule.threat": [
        {
            "framework": "MITRE ATT&CK",
            "tactic": {"id": "TA0002", "name": "Execution"},
            "technique": [{"id": "T1059", "subtechnique": [{"id": "T1059.001"}]}],
        }
    ],
    "event": {"kind": "signal", "category": ["process"], "action": "start"},
    "host": {"name": "WS17", "ip": ["10.20.3.17", "fe80::1"]},
    "user": {"name": "ann"},
    "process": {"name": "tapir.exe", "hash": {"sha256": "a" * 64}, "parent": {"name": "winword.exe"}},
    "destination": {"ip": "203.0.113.66", "port": 443},
}


def test_a_detection_alert_is_told_whole():
    found = alert("elastic", DETECTION)
    assert (found.title, found.severity, found.category) == ("Tapir Loader Execution", "high", "endpoint")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 30, tzinfo=UTC)
    assert (found.affected_assets, found.users) == (["WS17"], ["ann"])
    assert found.mitre_techniques == ["T1059", "T1059.001"]
    assert (values(found, "ip"), values(found, "hash_sha256")) == (["203.0.113.66"], ["a" * 64])
    assert (found.metadata["parent_process"], found.metadata["risk_score"]) == ("winword.exe", 73)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0, "low"),
        (21, "low"),
        (22, "medium"),
        (47, "medium"),
        (48, "high"),
        (73, "high"),
        (74, "critical"),
        (100, "critical"),
    ],
)
def test_without_a_word_the_risk_score_decides(score, expected):
    record = merged(DETECTION, **{"kibana.alert.severity": ..., "kibana.alert.risk_score": score})
    assert alert("elastic", record).severity == expected


def test_a_search_hit_and_the_fields_of_the_fields_api_are_read():
    assert alert("elastic", {"_id": "x", "_source": DETECTION}).title == "Tapir Loader Execution"
    fields = {"kibana.alert.rule.name": ["Tapir"], "kibana.alert.severity": ["low"], "host.name": ["WS17"]}
    found = alert("elastic", {"_id": "x", "fields": fields})
    assert (found.title, found.severity, found.affected_assets) == ("Tapir", "low", ["WS17"])


def test_nested_and_older_documents_are_read():
    nested = {"kibana": {"alert": {"rule": {"name": "Nested"}, "severity": "low"}}}
    older = {"signal": {"rule": {"name": "Older", "severity": "critical"}}}
    assert alert("elastic", nested).severity == "low"
    assert (alert("elastic", older).title, alert("elastic", older).severity) == ("Older", "critical")


@pytest.mark.parametrize("state", [{"kibana.alert.status": "recovered"}, {"kibana.alert.workflow_status": "closed"}])
def test_recovered_and_closed_alerts_are_ignored(state):
    assert isinstance(outcome("elastic", merged(DETECTION, **state)), Ignored)


def test_a_plain_document_is_refused():
    with pytest.raises(Invalid, match=r"kibana\.alert\.rule\.name"):
        outcome("elastic", {"@timestamp": "2025-03-11T08:31:00Z", "message": "hello", "event": {"kind": "event"}})


def test_the_name_under_which_an_outsider_calls_our_own_server_is_no_observable():
    record = {
        "kibana.alert.rule.name": "Web attack",
        "source": {"ip": "198.51.100.9"},
        "destination": {"ip": "10.0.0.80", "domain": "shop.ours.test"},
        "url": {"full": "https://shop.ours.test/login", "domain": "shop.ours.test"},
    }
    found = alert("elastic", record)
    assert [tuple(observable) for observable in found.observables] == [("ip", "198.51.100.9")]
    assert found.metadata["url"] == "https://shop.ours.test/login"
