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


def streamed(event_type: str, **event: Any) -> dict[str, Any]:
    return {"metadata": {"eventType": event_type, "eventCreationTime": 1741680899000}, "event": event}


def test_the_sensors_own_address_is_an_asset_although_it_is_public():
    found = alert("crowdstrike", {"event": merged(EVENT, LocalIP="198.51.100.7", NetworkAccesses=...)})
    assert (found.affected_assets, values(found, "ip")) == (["WS17", "198.51.100.7"], [])


def test_when_the_detection_names_its_indicator_the_rest_of_the_traffic_is_none():
    named = merged(
        EVENT, IOCType="domain", IOCValue="panel.tapir.test", DnsRequests=[{"DomainName": "www.example.com"}]
    )
    found = alert("crowdstrike", {"event": named})
    assert (values(found, "domain"), values(found, "ip")) == (["panel.tapir.test"], [])
    assert found.metadata["dest_ip"] == "203.0.113.66"


def test_indicators_are_read_from_the_context_of_an_alert():
    context = [
        {"ioc_type": "hash_sha256", "ioc_value": "d" * 64},
        {"ioc_type": "ip_address", "ioc_value": "203.0.113.9"},
    ]
    found = alert("crowdstrike", {"display_name": "Tapir", "severity": 50, "ioc_context": context})
    assert (values(found, "hash_sha256"), values(found, "ip")) == (["d" * 64], ["203.0.113.9"])


def test_a_closed_alert_is_ignored():
    assert outcome("crowdstrike", {"display_name": "Tapir", "status": "closed"}) == Ignored("status closed")


def test_a_detection_across_products_keeps_its_lists_between_commas():
    record = streamed(
        "XdrDetectionSummaryEvent",
        Name="Brute force from a common address",
        Severity=90,
        HostNames="WS17,SRV2",
        IPv4Addresses="10.20.3.17,203.0.113.66",
        TechniqueIds="T1566.001,T1203",
        SHA256Hashes=f"{'a' * 64},{'b' * 64}",
        StartTimeEpoch=1741680895000000000,
    )
    found = alert("crowdstrike", record)
    assert found.affected_assets == ["WS17", "SRV2", "10.20.3.17"]
    assert (values(found, "ip"), values(found, "hash_sha256")) == (["203.0.113.66"], ["a" * 64, "b" * 64])
    assert found.mitre_techniques == ["T1566.001", "T1203"]
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, tzinfo=UTC)


def test_a_lead_is_told_by_its_host_and_not_by_its_time():
    record = streamed(
        "AutomatedLeadSummaryEvent",
        LeadId="f00d",
        Name="WS17 at 2025-03-11T08:14:55Z",
        Score=54,
        ThreatgraphIndicators=[{"Hostname": "WS17"}, {"Hostname": "WS17"}],
    )
    found = alert("crowdstrike", record)
    assert (found.title, found.severity) == ("CrowdStrike automated lead on WS17", "medium")
    assert found.affected_assets == ["WS17"]


@pytest.mark.parametrize(("score", "severity"), [(0.3, "low"), (5.5, "medium"), (9.1, "critical")])
def test_an_incident_is_told_by_its_number_and_scored_out_of_ten(score, severity):
    record = streamed("IncidentSummaryEvent", IncidentID="inc:c1:beef", IncidentType=1, FineScore=score)
    found = alert("crowdstrike", record)
    assert (found.title, found.severity) == ("CrowdStrike incident beef", severity)


def test_a_custom_indicator_is_a_detection():
    found = alert("crowdstrike", streamed("CustomerIOCEvent", IOCType="domain", IOCValue="panel.tapir.test"))
    assert (found.title, values(found, "domain")) == ("CrowdStrike custom indicator seen", ["panel.tapir.test"])


def test_a_detection_on_a_phone_tells_where_it_went():
    record = streamed(
        "MobileDetectionSummaryEvent",
        DetectName="Bad link",
        Severity=70,
        MobileNetworkConnections=[{"RemoteAddress": "203.0.113.66", "Url": "https://panel.tapir.test/i"}],
        MobileDnsRequests=[{"DomainName": "panel.tapir.test"}],
    )
    found = alert("crowdstrike", record)
    assert (found.asset_type, values(found, "ip")) == ("mobile", ["203.0.113.66"])
    assert (values(found, "url"), values(found, "domain")) == (["https://panel.tapir.test/i"], ["panel.tapir.test"])


def test_an_identity_event_is_described():
    record = streamed("IdentityProtectionEvent", IncidentType="UNUSUAL_ACTIVITY", IncidentDescription="Odd hours.")
    assert alert("crowdstrike", record).description == "Odd hours."
