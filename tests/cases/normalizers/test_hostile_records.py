"""Sensors and attackers write the text: whatever it is, `normalize` takes it, ignores it, or refuses it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora.errors import Invalid
from cases.normalizers import SOURCES, Ignored, NormalizedAlert, RawRecord, normalize, split
from tests.cases.normalizers.feed import alert

SEVERITIES = {"critical", "high", "medium", "low", "info"}
# The names that the normalisers look at, so that random values land where they hurt.
_NAMES = """
event_type alert signature signature_id metadata severity src_ip dest_ip http hostname url dns query
queries rrname tls sni ja3 files email smtp from to smb krb5 flow xff rule level description mitre
id groups agent name ip data win eventdata system hashes full_log syscheck wazuh title labels
annotations alertname instance summary startsAt status note ts msg sub actions _path
kibana.alert.rule.name kibana.alert.rule.threat technique subtechnique host user source destination
process hash file _source fields AlertName AlertSeverity Entities properties object Techniques event
DetectName Severity NetworkAccesses behaviors device result search_name _time class_uid category_uid
finding_info attacks observables evidences resources type_id value severity_id iocs indicators
timestamp message mitre_technique_id signature_severity attack_target display_name risk_score time
type
"""
NAMES = st.sampled_from(_NAMES.split())
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "alert",
            "T1059",
            "203.0.113.9",
            "10.0.0.1",
            "http://a.test/?b",
            "notice",
            "fe80::1%eth0",
            "[",
            "//",
            "a@b",
            "1e400",
        ]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.just(10**400))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(NAMES, TEXTS), inner, max_size=6)),
    max_leaves=25,
)
RECORDS = st.dictionaries(st.one_of(NAMES, TEXTS), VALUES, max_size=12)
# What makes each source's normaliser go beyond its first look.
ALERTS: dict[str, dict[str, Any]] = {
    "suricata": {"event_type": "alert", "alert": {"signature": "x"}},
    "wazuh": {"rule": {"description": "x"}},
    "zeek": {"note": "x"},
    "elastic": {"kibana.alert.rule.name": "x"},
    "alertmanager": {"labels": {"alertname": "x"}},
    "sentinel": {"AlertName": "x"},
    "crowdstrike": {"DetectName": "x"},
    "splunk": {"search_name": "x"},
    "ocsf": {"class_uid": 2004, "finding_info": {"title": "x"}},
    "generic": {"title": "x"},
}


def assert_keeps_the_contract(found: NormalizedAlert | Ignored) -> None:
    if isinstance(found, Ignored):
        assert found.reason
        return
    assert 1 <= len(found.title) <= 500
    assert found.severity in SEVERITIES
    assert len(found.observables) <= 256
    assert found.occurred_at is None or found.occurred_at.utcoffset() is not None
    stored = orjson.dumps([found.title, found.description, found.affected_assets, found.users, found.metadata])
    assert b"\\u0000" not in stored
    observables = orjson.dumps([list(observable) for observable in found.observables])
    assert b"\\u0000" not in observables
    for value in found.metadata.values():
        assert value is None or isinstance(value, (str, int, float, bool, list))
        assert not isinstance(value, str) or len(value) <= 1_000


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(record=RECORDS, text=st.text(max_size=200))
def test_whatever_the_record_nothing_but_invalid_is_raised(source, record, text):
    data = {**record, **ALERTS.get(source, {})}
    for candidate in (record, data, {**data, **record}):
        raw = RawRecord(0, f"CEF:0|v|p|1|s|name|5|{text}", candidate)
        try:
            found = normalize(source, raw)
        except Invalid:
            continue
        else:
            assert_keeps_the_contract(found)


@settings(max_examples=150)
@given(
    source=st.sampled_from(SOURCES),
    payload=st.one_of(st.binary(max_size=300), VALUES.map(lambda v: repr(v).encode("utf-8", "replace"))),
)
def test_whatever_the_payload_nothing_but_invalid_is_raised(source, payload):
    try:
        records = split(source, payload)
    except Invalid:
        return
    assert [record.index for record in records] == list(range(len(records)))
    for record in records:
        try:
            assert_keeps_the_contract(normalize(source, record))
        except Invalid:
            continue


@settings(max_examples=100)
@given(record=RECORDS)
def test_the_same_record_gives_the_same_alert(record):
    raw = RawRecord(0, "", {**record, "title": "x"})
    assert normalize("generic", raw) == normalize("generic", raw)


@pytest.mark.parametrize("source", sorted(ALERTS))
def test_a_huge_title_is_cut(source):
    huge = orjson.loads(orjson.dumps(ALERTS[source]).replace(b'"x"', b'"' + b"x" * 100_000 + b'"'))
    assert len(alert(source, huge).title) <= 500


@pytest.mark.parametrize("source", sorted(ALERTS))
def test_control_characters_do_not_reach_the_title(source):
    sly = orjson.loads(orjson.dumps(ALERTS[source]).replace(b'"x"', b'"ev\\u0000il\\n\\u001b[31m\\u202egnp"'))
    title = alert(source, sly).title
    assert title.isprintable()
    assert "il" in title


def test_at_most_256_observables_are_kept():
    iocs = [f"203.0.{n // 250}.{n % 250}" for n in range(1_000)]
    assert len(alert("generic", {"title": "x", "iocs": iocs}).observables) == 256


def test_metadata_is_cut_and_flat():
    metadata = alert("suricata", {"event_type": "alert", "alert": {"signature": "x", "category": "y" * 9_999}}).metadata
    assert len(metadata["rule_category"]) == 1_000


def test_the_raw_text_is_kept_whole():
    text = '{"title": "x", "payload": "' + "A" * 50_000 + '"}'
    (record,) = split("generic", text.encode())
    found = normalize("generic", record)
    assert isinstance(found, NormalizedAlert)
    assert found.raw == text
