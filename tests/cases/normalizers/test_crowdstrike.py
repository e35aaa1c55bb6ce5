from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aurora.errors import Invalid
from cases.normalizers import Ignored
from tests.cases.normalizers.feed import alert, merged, outcome, values

EVENT: dict[str, Any] = {
    "ProcessStartTime": 1741680895,
    "ComputerName": "WS17",
    "UserName": "ann",
    "LocalIP": "10.20.3.17",
    "DetectName": "Suspicious Activity",
    "DetectDescription": "A process wrote a known tool.",
    "FileName": "tapir.exe",
    "CommandLine": "tapir.exe -x",
    "ParentImageFileName": "winword.exe",
    "SHA256String": "a" * 64,
    "MD5String": "b" * 32,
    "Severity": 4,
    "SeverityName": "High",
    "Tactic": "Execution",
    "Technique": "PowerShell",
    "TechniqueId": "T1059.001",
    "DetectId": "ldt:1:2",
    "FalconHostLink": "https://falcon.test/d/1",
    "NetworkAccesses": [{"LocalAddress": "10.20.3.17", "RemoteAddress": "203.0.113.66", "RemotePort": 443}],
}
STREAMED: dict[str, Any] = {
    "metadata": {"eventType": "DetectionSummaryEvent", "eventCreationTime": 1741680899000},
    "event": EVENT,
}


def test_a_streamed_detection_is_told_whole():
    found = alert("crowdstrike", STREAMED)
    assert (found.title, found.severity, found.category) == ("Suspicious Activity", "high", "endpoint")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, tzinfo=UTC)
    assert (found.affected_assets, found.users) == (["WS17", "10.20.3.17"], ["ann"])
    assert (values(found, "ip"), values(found, "hash_sha256")) == (["203.0.113.66"], ["a" * 64])
    assert found.mitre_techniques == ["T1059.001"]
    assert (found.metadata["dest_port"], found.metadata["parent_process"]) == (443, "winword.exe")


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (1, "info"),
        (20, "info"),
        (21, "low"),
        (41, "medium"),
        (60, "medium"),
        (61, "high"),
        (81, "critical"),
        (100, "critical"),
    ],
)
def test_without_a_word_the_score_counts_in_five_steps_of_twenty(score, expected):
    assert alert("crowdstrike", {"event": merged(EVENT, SeverityName=..., Severity=score)}).severity == expected


def test_an_alert_of_the_api_is_read():
    record = {
        "composite_id": "c:1",
        "display_name": "Credential theft",
        "description": "x",
        "severity": 70,
        "severity_name": "High",
        "timestamp": "2025-03-11T08:14:55Z",
        "device": {"hostname": "SRV2", "local_ip": "10.0.0.2", "product_type_desc": "Server"},
        "user_name": "bob",
        "technique_id": "T1003",
        "sha256": "c" * 64,
    }
    found = alert("crowdstrike", record)
    assert (found.title, found.asset_type, found.mitre_techniques) == ("Credential theft", "server", ["T1003"])
    assert (found.affected_assets, values(found, "hash_sha256")) == (["SRV2", "10.0.0.2"], ["c" * 64])


def test_a_detection_of_the_older_api_keeps_its_story_in_behaviours():
    record = {
        "detection_id": "ldt:9",
        "max_severity": 90,
        "device": {"hostname": "WS3"},
        "behaviors": [{"display_name": "Ransomware", "filename": "x.exe", "technique_id": "T1486", "user_name": "eve"}],
    }
    found = alert("crowdstrike", record)
    assert (found.title, found.severity, found.users) == ("Ransomware", "critical", ["eve"])


def test_identity_detections_have_their_category():
    record = merged(STREAMED, metadata={"eventType": "IdpDetectionSummaryEvent"})
    assert alert("crowdstrike", record).category == "identity"


@pytest.mark.parametrize(
    "event_type", ["UserActivityAuditEvent", "AuthActivityAuditEvent", "RemoteResponseSessionStartEvent"]
)
def test_audit_events_are_ignored(event_type):
    assert isinstance(outcome("crowdstrike", {"metadata": {"eventType": event_type}, "event": {}}), Ignored)


def test_a_record_that_names_no_detection_is_refused():
    with pytest.raises(Invalid, match=r"event\.DetectName"):
        outcome("crowdstrike", {"event": {"Severity": 3}})
