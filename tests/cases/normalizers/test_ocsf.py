from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aurora.errors import Invalid
from cases.normalizers import Ignored
from tests.cases.normalizers.feed import alert, merged, outcome, values

FINDING: dict[str, Any] = {
    "class_uid": 2004,
    "category_uid": 2,
    "activity_id": 1,
    "severity_id": 4,
    "status_id": 1,
    "time": 1741680895412,
    "message": "Loader ran",
    "finding_info": {
        "uid": "f-1",
        "title": "Tapir loader executed",
        "desc": "A loader ran on a workstation.",
        "attacks": [{"technique": {"uid": "T1059"}, "sub_technique": {"uid": "T1059.001"}}],
        "analytic": {"uid": "rule-9"},
    },
    "device": {"hostname": "WS17", "ip": "10.20.3.17"},
    "actor": {"user": {"name": "ann"}, "process": {"name": "tapir.exe"}},
    "evidences": [
        {
            "dst_endpoint": {"ip": "203.0.113.66", "port": 443},
            "file": {"name": "tapir.exe", "hashes": [{"algorithm_id": 3, "value": "a" * 64}]},
        }
    ],
    "observables": [{"type_id": 6, "value": "http://drop.tapir.test/a"}, {"type_id": 1, "value": "c2.tapir.test"}],
    "metadata": {"version": "1.3.0", "product": {"name": "EDR", "vendor_name": "Tapir"}},
}


def test_a_detection_finding_is_told_whole():
    found = alert("ocsf", FINDING)
    assert (found.title, found.severity, found.category) == ("Tapir loader executed", "high", "endpoint")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, 412000, tzinfo=UTC)
    assert (found.affected_assets, found.users) == (["WS17", "10.20.3.17"], ["ann"])
    assert (values(found, "ip"), values(found, "hash_sha256")) == (["203.0.113.66"], ["a" * 64])
    assert values(found, "url") == ["http://drop.tapir.test/a"]
    assert "c2.tapir.test" in values(found, "domain")
    assert found.mitre_techniques == ["T1059", "T1059.001"]
    assert (found.metadata["dest_port"], found.metadata["rule_id"]) == (443, "rule-9")


@pytest.mark.parametrize(
    ("severity_id", "word", "expected"),
    [
        *zip((1, 2, 3, 4, 5, 6), [None] * 6, ("info", "low", "medium", "high", "critical", "critical"), strict=True),
        (0, "High", "high"),
        (99, "odd", "medium"),
        (None, None, "medium"),
    ],
)
def test_severities_map_as_the_domain_page_says(severity_id, word, expected):
    assert alert("ocsf", merged(FINDING, severity_id=severity_id, severity=word)).severity == expected


def test_older_findings_and_activity_marked_as_an_alert_are_read():
    older = {"class_uid": 2001, "finding": {"title": "Old style"}, "severity_id": 2}
    activity = {"class_uid": 4001, "category_uid": 4, "is_alert": True, "message": "Blocked flow"}
    assert alert("ocsf", older).title == "Old style"
    assert (alert("ocsf", activity).title, alert("ocsf", activity).category) == ("Blocked flow", "network")


@pytest.mark.parametrize(
    "record",
    [{"class_uid": 4001, "category_uid": 4}, merged(FINDING, status_id=4), merged(FINDING, activity_id=3)],
)
def test_plain_activity_and_closed_findings_are_ignored(record):
    assert isinstance(outcome("ocsf", record), Ignored)


@pytest.mark.parametrize(("record", "reason"), [({}, "`class_uid`"), ({"class_uid": 2004}, r"`finding_info\.title`")])
def test_what_is_no_finding_is_refused(record, reason):
    with pytest.raises(Invalid, match=reason):
        outcome("ocsf", record)


@pytest.mark.parametrize(
    "changes",
    [
        {"status_code": "PASS"},
        {"compliance": {"status": "Pass"}},
        {"compliance": {"status_id": 1}},
        {"status_id": 5},
        {"status_id": 6},
    ],
)
def test_a_check_that_passed_and_a_finding_put_away_are_ignored(changes):
    assert isinstance(outcome("ocsf", merged(FINDING, **changes)), Ignored)


def test_a_check_that_failed_is_an_alert():
    failed = merged(FINDING, class_uid=2003, status_code="FAIL", compliance={"status": "Fail", "status_id": 3})
    assert alert("ocsf", failed).title == "Tapir loader executed"


def test_an_update_of_an_old_finding_counts_at_its_own_time():
    info = {**FINDING["finding_info"], "first_seen_time": 1600000000000}
    occurred_at = alert("ocsf", merged(FINDING, finding_info=info)).occurred_at
    assert occurred_at is not None
    assert occurred_at.year == 2025


def test_the_vulnerability_and_whose_key_it_is_are_read():
    resource = {"uid": "AWS::IAM::AccessKey:x", "data": '{"AwsIamAccessKey": {"PrincipalName": "ann"}}'}
    record = merged(FINDING, resources=[resource], vulnerabilities=[{"cve": {"uid": "CVE-2031-4242"}}], actor=...)
    found = alert("ocsf", record)
    assert (values(found, "cve"), found.users) == (["CVE-2031-4242"], ["ann"])
