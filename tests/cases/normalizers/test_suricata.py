from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from aurora.errors import Invalid
from cases.normalizers import Ignored
from tests.cases.normalizers.feed import alert, merged, outcome, values

RULE: dict[str, Any] = {
    "action": "allowed",
    "gid": 1,
    "signature_id": 2900101,
    "rev": 4,
    "signature": "ET MALWARE Tapir Loader CnC Checkin",
    "category": "Malware Command and Control Activity Detected",
    "severity": 1,
    "metadata": {
        "attack_target": ["Client_Endpoint"],
        "mitre_tactic_id": ["TA0011"],
        "mitre_technique_id": ["T1071"],
        "signature_severity": ["Major"],
    },
}
BEACON: dict[str, Any] = {
    "timestamp": "2025-03-11T09:14:55.412907+0100",
    "flow_id": 1822334455667788,
    "in_iface": "eth1",
    "event_type": "alert",
    "vlan": [120],
    "src_ip": "10.20.3.17",
    "src_port": 51544,
    "dest_ip": "203.0.113.66",
    "dest_port": 8080,
    "proto": "TCP",
    "alert": RULE,
    "http": {
        "hostname": "panel.tapir.test",
        "http_port": 8080,
        "url": "/gate.php?id=77&t=1741680895",
        "http_user_agent": "Mozilla/4.0",
        "http_method": "POST",
        "status": 200,
    },
    "app_proto": "http",
    "direction": "to_server",
    "flow": {
        "bytes_toserver": 812,
        "bytes_toclient": 640,
        "src_ip": "10.20.3.17",
        "dest_ip": "203.0.113.66",
        "src_port": 51544,
        "dest_port": 8080,
    },
}


def test_a_beacon_is_told_whole():
    found = alert("suricata", BEACON)
    assert (found.title, found.severity, found.source) == (RULE["signature"], "high", "suricata")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, 412907, tzinfo=UTC)
    assert found.affected_assets == ["10.20.3.17"]
    assert (found.category, found.asset_type) == ("network", "workstation")
    assert found.mitre_techniques == ["T1071"]
    assert values(found, "ip") == ["203.0.113.66"]
    assert values(found, "domain") == ["panel.tapir.test"]
    assert "203.0.113.66" in found.description


def test_metadata_bears_the_names_that_analyses_read():
    metadata = alert("suricata", BEACON).metadata
    assert metadata["src_ip"] == "10.20.3.17"
    assert metadata["dest_port"] == 8080
    assert (metadata["bytes_toserver"], metadata["bytes_toclient"]) == (812, 640)
    assert (metadata["signature_id"], metadata["action"], metadata["vlan"]) == (2900101, "allowed", [120])
    assert metadata["url"] == "http://panel.tapir.test:8080/gate.php?id=77&t=1741680895"


@pytest.mark.parametrize("event_type", ["flow", "dns", "http", "stats", "fileinfo", "tls", "netflow", "drop"])
def test_other_event_types_are_ignored(event_type):
    assert outcome("suricata", {"event_type": event_type}) == Ignored(f"event_type {event_type}")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"timestamp": "2025-03-11T09:14:55+0000"}, "`event_type` is missing"),
        ({"event_type": "alert"}, "`alert` is missing"),
        ({"event_type": "alert", "alert": ["x"]}, "`alert` is missing"),
        ({"event_type": "alert", "alert": {"severity": 1}}, "`alert.signature` is missing"),
    ],
)
def test_what_is_no_alert_is_refused_with_a_reason(record, reason):
    with pytest.raises(Invalid, match=reason):
        outcome("suricata", record)


@pytest.mark.parametrize(
    ("severity", "signature_severity", "expected"),
    [
        (1, ["Critical"], "critical"),
        (1, "critical", "critical"),
        (1, ["Major"], "high"),
        (2, ["Critical"], "medium"),
        (2, [], "medium"),
        (3, [], "low"),
        ("3", [], "low"),
        (4, [], "info"),
        (None, [], "medium"),
        ("high", [], "medium"),
    ],
)
def test_priorities_map_as_the_domain_page_says(severity, signature_severity, expected):
    rule = {**RULE, "severity": severity, "metadata": {"signature_severity": signature_severity}}
    assert alert("suricata", merged(BEACON, alert=rule)).severity == expected


@pytest.mark.parametrize(
    "metadata",
    [
        {"mitre_technique_id": ["T1059", "T1059.001"]},
        {"MITRE_Technique_ID": ["T1059", "T1059_001"]},
        {"mitre_attack": "t1059 t1059.001"},
    ],
)
def test_techniques_are_read_in_every_spelling(metadata):
    found = alert("suricata", merged(BEACON, alert={**RULE, "metadata": metadata}))
    assert found.mitre_techniques == ["T1059", "T1059.001"]


def test_repetitions_with_other_ports_flows_times_and_queries_have_the_same_observables():
    again = merged(
        BEACON,
        flow_id=99,
        src_port=60001,
        timestamp="2025-03-11T10:00:00.000001+0000",
        http={**BEACON["http"], "url": "/gate.php?id=78&t=1741690000", "http_user_agent": "Mozilla/5.0"},
    )
    assert alert("suricata", again).observables == alert("suricata", BEACON).observables


def test_two_internal_ends_are_two_assets_and_no_observable():
    found = alert("suricata", merged(BEACON, dest_ip="10.20.9.4", http=..., flow=...))
    assert found.affected_assets == ["10.20.3.17", "10.20.9.4"]
    assert found.observables == []


def test_two_external_ends_are_two_observables_and_no_asset():
    found = alert("suricata", merged(BEACON, src_ip="198.51.100.9", http=..., flow=...))
    assert values(found, "ip") == ["198.51.100.9", "203.0.113.66"]
    assert found.affected_assets == []


def test_ipv6_ends_are_told_apart_as_well():
    found = alert("suricata", merged(BEACON, src_ip="fd00::17", dest_ip="2001:470:1:18::66", http=..., flow=...))
    assert found.affected_assets == ["fd00::17"]
    assert values(found, "ip") == ["2001:470:1:18::66"]


@pytest.mark.parametrize("address", ["239.255.255.250", "255.255.255.255", "0.0.0.0", "ff02::fb"])
def test_addresses_of_no_host_are_neither(address):
    found = alert("suricata", merged(BEACON, dest_ip=address, http=..., flow=...))
    assert found.affected_assets == ["10.20.3.17"]
    assert found.observables == []


@pytest.mark.parametrize(
    ("http", "url"),
    [
        ({"hostname": "a.tapir.test", "url": "/x"}, "http://a.tapir.test/x"),
        ({"hostname": "a.tapir.test:8080", "url": "/x"}, "http://a.tapir.test:8080/x"),
        ({"hostname": "a.tapir.test", "url": "http://b.tapir.test/y?z=1"}, "http://b.tapir.test/y"),
        ({"hostname": "203.0.113.66", "url": "/x"}, "http://203.0.113.66/x"),
        ({"url": "/x"}, "http://203.0.113.66:8080/x"),
    ],
)
def test_urls_are_put_together_from_host_and_path(http, url):
    assert values(alert("suricata", merged(BEACON, http=http)), "url") == [url]


def test_a_url_without_a_host_names_the_server_also_when_the_answer_matched():
    answer = merged(
        BEACON,
        src_ip="203.0.113.66",
        src_port=80,
        dest_ip="10.20.3.17",
        dest_port=51544,
        direction="to_client",
        http={"url": "/x"},
        flow=...,
    )
    assert values(alert("suricata", answer), "url") == ["http://203.0.113.66/x"]


def test_the_name_under_which_an_outsider_calls_our_own_server_is_no_observable():
    record = merged(
        BEACON,
        src_ip="198.51.100.9",
        dest_ip="10.0.0.80",
        flow=...,
        http={"hostname": "shop.ours.test", "url": "/login.php?u='--"},
        tls={"sni": "shop.ours.test"},
    )
    found = alert("suricata", record)
    assert [tuple(observable) for observable in found.observables] == [("ip", "198.51.100.9")]
    assert found.metadata["url"] == "http://shop.ours.test/login.php?u='--"


def test_what_a_client_asks_of_our_own_proxy_is_an_observable():
    http = {"hostname": "drop.tapir.test", "url": "http://drop.tapir.test/a"}
    found = alert("suricata", merged(BEACON, dest_ip="10.0.0.3", dest_port=3128, flow=..., http=http))
    assert values(found, "url") == ["http://drop.tapir.test/a"]
    assert values(found, "domain") == ["drop.tapir.test"]


def test_ipv6_at_full_length_has_the_spelling_of_everybody_else():
    found = alert("suricata", merged(BEACON, src_ip="fd00:0000:0000:0000:0000:0000:0000:0017", http=..., flow=...))
    assert (found.affected_assets, found.metadata["src_ip"]) == (["fd00::17"], "fd00::17")


def test_a_connect_request_is_no_url():
    found = alert("suricata", merged(BEACON, http={"hostname": "c.tapir.test", "url": "c.tapir.test:443"}))
    assert values(found, "url") == []
    assert values(found, "domain") == ["c.tapir.test"]


@pytest.mark.parametrize(
    "dns",
    [
        {"query": [{"type": "query", "id": 7, "rrname": "cdn.tapir.test", "rrtype": "A"}]},
        {"type": "query", "rrname": "cdn.tapir.test", "rrtype": "A"},
        {"version": 3, "queries": [{"rrname": "cdn.tapir.test", "rrtype": "A"}]},
        {"version": 2, "rrname": "cdn.tapir.test", "answers": [{"rrtype": "A", "rdata": "198.51.100.1"}]},
    ],
)
def test_a_dns_query_yields_the_name_and_neither_resolver_nor_answers(dns):
    record = merged(BEACON, http=..., flow=..., dns=dns, dest_ip="9.9.9.9", dest_port=53, app_proto="dns")
    found = alert("suricata", record)
    assert [tuple(observable) for observable in found.observables] == [("domain", "cdn.tapir.test")]
    assert (found.metadata["dns_query"], found.metadata["dest_ip"]) == ("cdn.tapir.test", "9.9.9.9")


def test_tls_yields_the_server_name_and_keeps_fingerprints_out_of_the_hashes():
    tls = {
        "sni": "c2.tapir.test",
        "fingerprint": "ab:" * 19 + "cd",
        "ja3": {"hash": "e" * 32, "string": "771,1"},
    }
    found = alert("suricata", merged(BEACON, http=..., tls=tls))
    assert values(found, "domain") == ["c2.tapir.test"]
    assert {observable.type for observable in found.observables} == {"ip", "domain"}
    assert found.metadata["ja3"] == "e" * 32


def test_files_yield_their_hashes():
    files = [{"filename": "a.exe", "sha256": "a" * 64, "md5": "b" * 32}]
    found = alert("suricata", merged(BEACON, files=files, fileinfo={"sha1": "c" * 40}))
    assert values(found, "hash_sha256") == ["a" * 64]
    assert values(found, "hash_md5") == ["b" * 32]
    assert values(found, "hash_sha1") == ["c" * 40]


def test_mail_yields_the_sender_and_the_recipients_as_users():
    record = merged(
        BEACON,
        http=...,
        app_proto="smtp",
        smtp={"mail_from": "<bounce@tapir.test>"},
        email={
            "from": "Payroll <pay@tapir.test>",
            "to": ["<ann@corp.test>"],
            "subject": "March",
            "attachment": ["a.zip"],
        },
    )
    found = alert("suricata", record)
    assert (found.category, found.users) == ("email", ["ann@corp.test"])
    assert values(found, "email") == ["pay@tapir.test"]
    assert found.metadata["email_attachments"] == ["a.zip"]


def test_behind_a_proxy_the_forwarded_client_counts_too():
    found = alert(
        "suricata",
        merged(BEACON, src_ip="198.51.100.7", dest_ip="10.0.0.5", flow=..., http=..., xff="8.8.4.4"),
    )
    assert values(found, "ip") == ["198.51.100.7", "8.8.4.4"]


@pytest.mark.parametrize(("title", "expected"), [("ET USER_AGENTS Odd User-Agent", ["Tapir/1.0"]), ("ET SCAN x", [])])
def test_a_user_agent_is_an_observable_of_rules_about_user_agents_only(title, expected):
    http = {"hostname": "a.tapir.test", "url": "/", "http_user_agent": "Tapir/1.0"}
    found = alert("suricata", merged(BEACON, alert={**RULE, "signature": title}, http=http))
    assert values(found, "user_agent") == expected


def test_logons_seen_on_the_wire_name_users_and_hosts():
    record = merged(BEACON, http=..., smb={"ntlmssp": {"user": "ann", "host": "WS17"}}, krb5={"cname": "bob"})
    found = alert("suricata", record)
    assert found.users == ["ann", "bob"]
    assert "WS17" in found.affected_assets


def test_industrial_protocols_and_web_rules_have_their_categories():
    assert alert("suricata", merged(BEACON, app_proto="modbus")).category == "cps"
    web = {**RULE, "signature": "ET WEB_SERVER Traversal"}
    assert alert("suricata", merged(BEACON, alert=web)).category == "web"


def test_a_rule_without_a_message_is_named_by_its_number():
    assert alert("suricata", merged(BEACON, alert={**RULE, "signature": ""})).title == "Suricata rule 1:2900101"


@pytest.mark.parametrize(
    "wrapped",
    [
        {"_source": BEACON},
        {"suricata": {"eve": BEACON}},
        {"_source": {"suricata": {"eve": BEACON}}},
        {"event.dataset": "suricata.alert", "message": orjson.dumps(BEACON).decode()},
        {"event": {"original": orjson.dumps(BEACON).decode()}, "message": "checkin"},
    ],
)
def test_records_that_came_through_a_shipper_are_read(wrapped):
    assert alert("suricata", wrapped).title == RULE["signature"]


def test_wrong_types_everywhere_cost_details_and_not_the_alert():
    wrong = dict.fromkeys(("http", "dns", "tls", "files", "email", "smb", "flow", "src_ip", "xff", "host"), 7)
    found = alert("suricata", {"event_type": "alert", "alert": {"signature": "x", "metadata": [1]}, **wrong})
    assert found.title == "x"


@pytest.mark.parametrize("written", ["2019-91325", "CVE_2019_91325", "cve-2019-91325"])
def test_the_vulnerability_that_a_rule_is_about_is_an_observable(written):
    rule = {**RULE, "metadata": {"cve": [written]}}
    assert values(alert("suricata", merged(BEACON, alert=rule)), "cve") == ["CVE-2019-91325"]


def test_the_vulnerability_in_a_signature_is_an_observable():
    rule = {**RULE, "signature": "ET EXPLOIT Tapir Server RCE Inbound (CVE-2031-4242)"}
    assert values(alert("suricata", merged(BEACON, alert=rule)), "cve") == ["CVE-2031-4242"]


def test_the_target_that_a_rule_names_is_ours_also_under_a_public_address():
    rule = {**RULE, "target": {"ip": "198.51.100.10", "port": 443}, "source": {"ip": "203.0.113.66", "port": 4242}}
    inbound = merged(BEACON, src_ip="203.0.113.66", dest_ip="198.51.100.10", alert=rule, http=...)
    assert values(alert("suricata", inbound), "ip") == ["203.0.113.66"]


def test_targets_are_known_in_the_spelling_with_hyphens():
    rule = {**RULE, "metadata": {"attack_target": ["smtp-server"]}}
    assert alert("suricata", merged(BEACON, alert=rule)).asset_type == "server"
