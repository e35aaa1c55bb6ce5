"""Each sensor's records, held against the sensor's own format."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from cases.demo.estate import FILE_SERVERS, SEATS, cast, fingerprint
from cases.demo.events import Record
from cases.demo.story import story
from cases.demo.suricata import OPEN_FLOWS, Conversation, Rule, Suricata, dns_query, http, tls
from cases.demo.wazuh import Rule as HostRule
from cases.demo.wazuh import Wazuh, file_hashes
from cases.demo.webhooks import alertmanager

NOW = datetime(2026, 11, 23, 9, 30, 0, 123456, tzinfo=UTC)
RULE = Rule(1799999, "LOCAL TEST Rule", "Misc activity", techniques=("T1071.001", "T1105"))
HOST_RULE = HostRule("199999", 12, "Something happened", ("windows",), ("T1021.001",))
TALK = Conversation("10.20.5.13", "203.0.113.9", 443, up=1_400, down=3_900)


@pytest.fixture
def network() -> Suricata:
    return Suricata(Random(1))


@pytest.fixture
def hosts() -> Wazuh:
    return Wazuh(Random(1))


@pytest.fixture(scope="module")
def records() -> dict[str, list[Record]]:
    """Raw records of a long day by source."""
    found: dict[str, list[Record]] = {}
    for event in story(start=NOW, noise_per_hour=120):
        found.setdefault(event.source, []).append(event.record)
    return found


def test_an_eve_alert_has_the_fields_of_suricata_7_in_its_order(network):
    app = http(host="a.example", url="/x", agent="curl/8.5.0")
    expected = (
        "timestamp flow_id in_iface event_type src_ip src_port dest_ip dest_port proto pkt_src tx_id alert http "
        "app_proto direction flow payload payload_printable stream host"
    )
    assert " ".join(network.alert(NOW, rule=RULE, talk=TALK, app=app)) == expected


def test_eve_metadata_holds_lists_of_text_and_names_technique_and_tactic(network):
    metadata = network.alert(NOW, rule=RULE, talk=TALK)["alert"]["metadata"]
    assert all(isinstance(word, str) for words in metadata.values() for word in words)
    assert metadata["mitre_technique_id"] == ["T1071.001", "T1105"]
    assert metadata["mitre_technique_name"] == ["Web_Protocols", "Ingress_Tool_Transfer"]
    assert metadata["mitre_tactic_id"] == ["TA0011"]


def test_eve_times_have_microseconds_and_an_offset_without_colon(network):
    assert network.stats(NOW)["timestamp"] == "2026-11-23T09:30:00.123456+0000"


def test_the_printable_payload_is_the_payload_with_dots(records):
    payloads = [r for r in records["suricata"] if "payload" in r]
    assert payloads
    for record in payloads:
        raw = base64.b64decode(record["payload"], validate=True)
        shown = record["payload_printable"]
        assert len(shown) == len(raw)
        assert all(c == chr(byte) or c == "." for c, byte in zip(shown, raw, strict=True))
        assert shown.isascii()


def test_a_flow_has_begun_before_its_alert(records):
    for record in records["suricata"]:
        if record["event_type"] == "alert":
            assert record["flow"]["start"] < record["timestamp"]


def test_a_ping_has_types_where_others_have_ports(network):
    record = network.alert(NOW, rule=RULE, talk=Conversation("10.0.0.1", "10.0.0.2", 0, proto="ICMP"))
    assert "src_port" not in record
    assert (record["icmp_type"], record["icmp_code"]) == (8, 0)


def test_a_ja3_is_the_hash_of_its_string():
    handshake = tls(sni="a.example", subject="CN=a.example", issuer="CN=a.example", client="x").fields["tls"]
    for fingerprinted in (handshake["ja3"], handshake["ja3s"]):
        assert fingerprinted["hash"] == hashlib.md5(fingerprinted["string"].encode()).hexdigest()  # noqa: S324


def test_the_same_software_has_the_same_ja3_wherever_it_connects_to():
    one, other = (tls(sni=name, subject=name, issuer=name, client="x").fields["tls"] for name in ("a", "b"))
    assert one["ja3"] == other["ja3"]
    assert one["fingerprint"] != other["fingerprint"]


def test_a_dns_payload_spells_the_name_it_reports():
    question = dns_query(name="t.c2.example", kind="TXT")
    assert question.payload[12:] == b"\x01t\x02c2\x07example\x00\x00\x10\x00\x01"
    assert question.fields["dns"]["query"][0]["rrname"] == "t.c2.example"


def test_every_queried_label_fits_into_a_dns_message(records):
    asked = [r["dns"]["query"][0]["rrname"] for r in records["suricata"] if r["event_type"] == "alert" and "dns" in r]
    assert asked
    assert all(len(label) < 64 for name in asked for label in name.split("."))


def test_the_sensor_forgets_flows_that_are_never_closed(network):
    for number in range(OPEN_FLOWS * 3):
        network.alert(NOW, rule=RULE, talk=Conversation("10.0.0.1", "10.0.0.2", 443, flow_id=number))
    assert len(network._flow_started) == OPEN_FLOWS


def test_counters_of_the_sensors_own_statistics_grow(records):
    uptimes = [r["stats"]["uptime"] for r in records["suricata"] if r["event_type"] == "stats"]
    assert len(uptimes) > 1
    assert uptimes == sorted(set(uptimes))


def test_wazuh_doubles_the_backslashes_of_windows(hosts):
    record = hosts.security(NOW, host=FILE_SERVERS[0], rule=HOST_RULE, event_id=4688, message="m", path="C:\\a")
    assert record["data"]["win"]["eventdata"]["path"] == "C:\\\\a"


def test_wazuh_counts_how_often_a_rule_fired_and_numbers_its_alerts(records):
    fired: dict[str, int] = {}
    for record in records["wazuh"]:
        rule = record["rule"]
        assert rule["firedtimes"] == fired.get(rule["id"], 0) + 1
        fired[rule["id"]] = rule["firedtimes"]
    assert len({record["id"] for record in records["wazuh"]}) == len(records["wazuh"])


def test_wazuh_times_have_milliseconds(records):
    pattern = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")
    assert all(pattern.fullmatch(record["timestamp"]) for record in records["wazuh"])


def test_wazuh_names_the_host_in_the_description(hosts):
    one, other = (
        hosts.security(NOW, host=host, rule=HOST_RULE, event_id=4688, message="m")["rule"]["description"]
        for host in FILE_SERVERS
    )
    assert one == "Something happened on fs-02"
    assert one != other


def test_a_failed_logon_is_4625_with_a_reason(hosts):
    seat = SEATS[0]
    record = hosts.logon(
        NOW, host=seat.host, rule=HOST_RULE, user=seat.user, origin=seat.host, logon_type=2, is_success=False
    )
    assert record["data"]["win"]["system"]["eventID"] == "4625"
    assert record["data"]["win"]["system"]["severityValue"] == "AUDIT_FAILURE"
    assert record["data"]["win"]["eventdata"]["subStatus"] == "0xc000006a"


def test_the_windows_message_has_single_backslashes_and_every_field(hosts):
    record = hosts.security(NOW, host=FILE_SERVERS[0], rule=HOST_RULE, event_id=4688, message="M.", path="C:\\a")
    assert record["data"]["win"]["system"]["message"] == '"M.\r\nPath: C:\\a"'


def test_the_encoded_command_decodes_to_the_download_from_the_c2_domain(records):
    lines = [json.dumps(r) for r in records["wazuh"] if r["rule"]["id"] == "100301"]
    encoded = re.search(r"-Enc ([A-Za-z0-9+/=]+)", lines[0])
    assert encoded
    assert f"http://{cast(seed=7).c2_domain}/" in base64.b64decode(encoded[1]).decode("utf-16-le")


def test_the_library_that_was_dropped_is_the_one_that_runs_and_that_reads_lsass(records):
    players = cast(seed=7)
    told = {r["rule"]["id"]: json.dumps(r) for r in records["wazuh"]}
    assert all(players.implant in told[rule] for rule in ("100306", "100308", "100309", "100312"))
    runs, reads = (
        next(r for r in records["wazuh"] if r["rule"]["id"] == rule)["data"]["win"]["eventdata"]
        for rule in ("100308", "100401")
    )
    assert runs["processGuid"] == reads["sourceProcessGUID"]


def test_the_document_in_the_mail_is_the_one_that_was_planted(records):
    mail = next(r for r in records["generic"] if r["source"] == "mail-gateway" and r["severity"] == "medium")
    planted = next(r for r in records["wazuh"] if r["rule"]["id"] == "100222")
    assert planted["syscheck"]["sha256_after"] in mail["iocs"]
    assert "hxxp://" in mail["description"]


def test_a_firing_metric_has_not_ended_and_a_resolved_one_has():
    known = {"name": "N", "severity": "warning", "instance": "i", "summary": "s", "description": "d"}
    firing, resolved = (alertmanager(NOW, **known, is_resolved=flag)["alerts"][0] for flag in (False, True))
    assert firing["endsAt"] == "0001-01-01T00:00:00Z"
    assert resolved["endsAt"] == "2026-11-23T09:30:00.123Z"
    assert firing["fingerprint"] == resolved["fingerprint"]


def test_a_notification_of_alertmanager_has_the_fields_of_version_4(records):
    for record in records["alertmanager"]:
        assert record["version"] == "4"
        assert record["commonLabels"] == record["alerts"][0]["labels"]
        assert record["groupLabels"].items() <= record["commonLabels"].items()
        assert datetime.fromisoformat(record["alerts"][0]["startsAt"]) < NOW + timedelta(hours=6)


def test_generic_senders_use_the_fields_of_an_alert(records):
    for record in records["generic"]:
        assert {"title", "severity", "source", "category", "description", "occurred_at"} <= set(record)
        assert len(record["title"]) <= 500
        assert record["severity"] in {"critical", "high", "medium", "low", "info"}


def test_mail_and_identities_name_the_user_as_the_hosts_do(records):
    victim = cast(seed=7).victim.user
    told_by = {r["source"] for r in records["generic"] if r.get("user") == victim}
    assert {"mail-gateway", "identity-provider"} <= told_by


def test_hashes_have_the_lengths_of_their_kinds():
    lengths = {pair.split("=")[0]: len(pair.split("=")[1]) for pair in file_hashes("x").split(",")}
    assert lengths == {"MD5": 32, "SHA256": 64, "IMPHASH": 32}


def test_a_fingerprint_depends_on_every_part():
    assert fingerprint("a", 1) == fingerprint("a", 1) != fingerprint("a", 2)
