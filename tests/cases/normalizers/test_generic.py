from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aurora.errors import Invalid
from tests.cases.normalizers.feed import alert, outcome, values


@pytest.mark.parametrize(
    "record",
    [
        {"title": "Odd logon"},
        {"name": "Odd logon"},
        {"Alert_Name": "Odd logon"},
        {"rule": "Odd logon"},
        {"rule": {"name": "Odd logon"}},
        {"rule.name": "Odd logon"},
        {"signature": "Odd logon"},
        {"message": "Odd logon"},
        {"msg": "Odd logon", "title": ""},
        {"description": "Odd logon", "title": None},
    ],
)
def test_the_title_is_found_under_its_usual_names(record):
    assert alert("generic", record).title == "Odd logon"


@pytest.mark.parametrize("record", [{}, {"severity": "high"}, {"title": {}}, {"title": [], "iocs": ["1.2.3.4"]}])
def test_a_record_without_anything_like_a_title_is_refused(record):
    with pytest.raises(Invalid, match="`title` is missing"):
        outcome("generic", record)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("CRITICAL", "critical"),
        ("Informational", "info"),
        ("warn", "medium"),
        ("major", "high"),
        (0, "info"),
        (3, "low"),
        (5.5, "medium"),
        ("8", "high"),
        (10, "critical"),
        (25, "low"),
        (55, "medium"),
        (75, "high"),
        (100, "critical"),
        (2**63 - 1, "critical"),
        (-1, "medium"),
        ("blue", "medium"),
        (None, "medium"),
        ({}, "medium"),
        (True, "medium"),
    ],
)
def test_severities_are_words_or_numbers_of_two_scales(value, expected):
    assert alert("generic", {"title": "x", "severity": value}).severity == expected


def test_a_word_that_is_no_severity_leaves_it_to_the_next_name():
    assert alert("generic", {"title": "x", "severity": "blue", "priority": "P1"}).severity == "critical"


@pytest.mark.parametrize(
    ("source", "expected"), [("dlp-gate", "dlp-gate"), ({"ip": "1.1.1.1"}, "generic"), ("", "generic")]
)
def test_the_source_is_the_record_s_own_name_for_itself(source, expected):
    assert alert("generic", {"title": "x", "source": source}).source == expected


@pytest.mark.parametrize(
    "iocs",
    [
        ["203.0.113.9", "hxxp://drop[.]tapir[.]com/a?b=1", "A" * 32],
        [
            {"type": "ip", "value": "203.0.113.9"},
            {"type": "url", "value": "http://drop.tapir.com/a?b=1"},
            {"type": "md5", "value": "a" * 32},
        ],
        {"ips": ["203.0.113.9"], "urls": ["http://drop.tapir.com/a?b=1"], "hashes": ["a" * 32]},
    ],
)
def test_listed_indicators_are_taken_whole_in_every_shape(iocs):
    found = alert("generic", {"title": "x", "iocs": iocs})
    assert values(found, "ip") == ["203.0.113.9"]
    assert values(found, "url") == ["http://drop.tapir.com/a?b=1"]
    assert values(found, "hash_md5") == ["a" * 32]


def test_listed_indicators_of_other_types_are_kept():
    iocs = [
        {"type": "mutex", "value": "Global\\tapir"},
        {"type": "registry-key", "value": "HKLM\\Software\\Tapir"},
        {"type": "vulnerability", "value": "CVE-2024-31337"},
    ]
    kinds = [observable.type for observable in alert("generic", {"title": "x", "iocs": iocs}).observables]
    assert kinds == ["mutex", "registry_key", "cve"]


def test_hosts_users_and_addresses_are_found_under_their_usual_names():
    found = alert(
        "generic",
        {
            "title": "x",
            "hostname": "ws-1",
            "users": ["ann", "bob"],
            "src_ip": "10.0.0.4",
            "DestIP": "203.0.113.7",
        },
    )
    assert found.affected_assets == ["ws-1", "10.0.0.4"]
    assert found.users == ["ann", "bob"]
    assert values(found, "ip") == ["203.0.113.7"]
    assert (found.metadata["src_ip"], found.metadata["dest_ip"]) == ("10.0.0.4", "203.0.113.7")


def test_nested_names_of_the_common_schema_are_read():
    found = alert(
        "generic",
        {
            "message": "odd",
            "host": {"name": "ws-1"},
            "user": {"name": "ann"},
            "source": {"ip": "10.0.0.4", "port": 5},
            "destination": {"ip": "203.0.113.7"},
            "process": {"name": "tapir.exe", "hash": {"sha256": "a" * 64}},
            "event": {"severity": 80},
        },
    )
    assert (found.affected_assets, found.users) == (["ws-1", "10.0.0.4"], ["ann"])
    assert values(found, "hash_sha256") == ["a" * 64]
    assert (found.severity, found.category) == ("high", "endpoint")
    assert (found.metadata["process_name"], found.metadata["src_port"]) == ("tapir.exe", 5)


def test_the_description_is_searched_for_observables():
    found = alert("generic", {"title": "x", "description": "10.1.1.1 called evil[.]tapir[.]com twice"})
    assert values(found, "domain") == ["evil.tapir.com"]
    assert found.affected_assets == ["10.1.1.1"]


@pytest.mark.parametrize(
    "fields",
    [
        {"mitre_techniques": ["T1059.001"]},
        {"technique": "T1059.001"},
        {"tags": ["attack.t1059.001"]},
        {"mitre": [{"id": "T1059.001"}]},
        {"threat": {"technique": {"subtechnique": {"id": "T1059.001"}}}},
    ],
)
def test_techniques_are_found_under_their_usual_names(fields):
    assert alert("generic", {"title": "x", **fields}).mitre_techniques == ["T1059.001"]


@pytest.mark.parametrize(
    "fields",
    [
        {"occurred_at": "2025-03-11T08:00:00Z"},
        {"timestamp": "2025-03-11T09:00:00+01:00"},
        {"@timestamp": "2025-03-11 08:00:00"},
        {"time": 1741680000},
        {"ts": "1741680000000"},
    ],
)
def test_times_are_found_under_their_usual_names(fields):
    assert alert("generic", {"title": "x", **fields}).occurred_at == datetime(2025, 3, 11, 8, tzinfo=UTC)


def test_category_and_asset_type_are_taken_when_they_are_ours():
    assert alert("generic", {"title": "x", "category": "CPS", "asset_type": "cps_controller"}).category == "cps"
    assert alert("generic", {"title": "x", "asset_type": "cps_controller"}).asset_type == "cps_controller"
    assert alert("generic", {"title": "x", "category": "gossip", "asset_type": "toaster"}).asset_type is None
