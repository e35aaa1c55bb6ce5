from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from aurora.errors import Invalid
from cases.normalizers import Ignored, split
from tests.cases.normalizers.feed import alert, merged, outcome, values

ENTITIES: list[dict[str, Any]] = [
    {"$id": "1", "Type": "account", "Name": "ann", "UPNSuffix": "corp.test"},
    {"$id": "2", "Type": "host", "HostName": "WS17", "DnsDomain": "corp.test"},
    {"$id": "3", "Type": "ip", "Address": "203.0.113.66"},
    {"$id": "4", "Type": "url", "Url": "https://drop.tapir.test/a?b=1"},
    {"$id": "5", "Type": "filehash", "Algorithm": "SHA256", "Value": "a" * 64},
    {"$id": "6", "Type": "file", "Name": "a.exe", "FileHashes": [{"Algorithm": "MD5", "Value": "b" * 32}]},
    {"$id": "7", "Type": "process", "CommandLine": "a.exe -x"},
    {"$id": "8", "Type": "dns", "DomainName": "c2.tapir.test"},
]
ROW: dict[str, Any] = {
    "TimeGenerated": "2025-03-11T08:31:00.1234567Z",
    "StartTime": "2025-03-11T08:30:00.1234567Z",
    "AlertName": "Sign-in from an odd country",
    "AlertSeverity": "High",
    "Description": "Somebody signed in.",
    "ProviderName": "IPC",
    "ProductName": "Azure Active Directory Identity Protection",
    "SystemAlertId": "11aa",
    "Status": "New",
    "Tactics": "InitialAccess",
    "Techniques": '["T1078"]',
    "Entities": orjson.dumps(ENTITIES).decode(),
}


def test_a_row_of_the_alert_table_is_told_whole():
    found = alert("sentinel", ROW)
    assert (found.title, found.severity, found.category) == ("Sign-in from an odd country", "high", "identity")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 30, 0, 123456, tzinfo=UTC)
    assert (found.users, found.affected_assets) == (["ann@corp.test"], ["WS17"])
    assert (values(found, "ip"), values(found, "domain")) == (["203.0.113.66"], ["drop.tapir.test", "c2.tapir.test"])
    assert (values(found, "url"), values(found, "hash_md5")) == (["https://drop.tapir.test/a"], ["b" * 32])
    assert values(found, "hash_sha256") == ["a" * 64]
    assert found.mitre_techniques == ["T1078"]
    assert found.metadata["process_command_line"] == "a.exe -x"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("High", "high"), ("Medium", "medium"), ("Low", "low"), ("Informational", "info"), ("", "medium"), (7, "medium")],
)
def test_severities_map_as_the_domain_page_says(word, expected):
    assert alert("sentinel", merged(ROW, AlertSeverity=word)).severity == expected


def test_an_incident_of_the_api_and_of_the_trigger_is_read():
    incident = {
        "name": "22bb",
        "properties": {
            "title": "Odd sign-ins",
            "severity": "Medium",
            "status": "New",
            "incidentNumber": 41,
            "firstActivityTimeUtc": "2025-03-11T08:30:00Z",
            "additionalData": {"techniques": ["T1078"], "tactics": ["InitialAccess"]},
            "relatedEntities": [{"kind": "Ip", "properties": {"address": "203.0.113.66"}}],
        },
    }
    for record in (incident, {"eventUniqueId": "1", "object": incident}):
        found = alert("sentinel", record)
        assert (found.title, found.severity, found.mitre_techniques) == ("Odd sign-ins", "medium", ["T1078"])
        assert (values(found, "ip"), found.metadata["incident_number"]) == (["203.0.113.66"], 41)


@pytest.mark.parametrize("written", ["T1078, T1110.003", ["T1078", "T1110.003"], '["T1078","T1110.003"]'])
def test_techniques_are_read_in_every_shape(written):
    assert alert("sentinel", merged(ROW, Techniques=written)).mitre_techniques == ["T1078", "T1110.003"]


@pytest.mark.parametrize("entities", ["not json", "[1, 2]", "{}", 7, None, [[]], '[{"Type": ["ip"]}]'])
def test_odd_entities_cost_entities_and_not_the_alert(entities):
    assert alert("sentinel", merged(ROW, Entities=entities)).observables == []


def test_closed_incidents_are_ignored_and_nameless_records_refused():
    assert isinstance(outcome("sentinel", merged(ROW, Status="Closed")), Ignored)
    with pytest.raises(Invalid, match="`AlertName`"):
        outcome("sentinel", {"TimeGenerated": "2025-03-11T08:31:00Z"})


def test_an_incident_as_azures_library_for_python_writes_it_is_read():
    record = {
        "title": "Odd sign-ins",
        "severity": "High",
        "status": "Active",
        "incident_number": 41,
        "incident_url": "https://portal.test/41",
        "created_time_utc": "2025-03-11T08:30:00Z",
        "additional_data": {"alert_product_names": ["Microsoft Defender for Cloud"], "tactics": ["InitialAccess"]},
    }
    found = alert("sentinel", record)
    assert found.occurred_at == datetime(2025, 3, 11, 8, 30, tzinfo=UTC)
    assert (found.category, found.metadata["rule_groups"]) == ("cloud", ["InitialAccess"])
    assert (found.metadata["incident_number"], found.metadata["url"]) == (41, "https://portal.test/41")


def test_rows_that_an_event_hub_delivers_are_read():
    records = split("sentinel", orjson.dumps({"records": [ROW, ROW]}))
    assert [record.data for record in records] == [ROW, ROW]
