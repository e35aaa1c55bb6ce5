from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aurora.errors import Invalid
from cases.normalizers import Ignored
from tests.cases.normalizers.feed import alert, merged, outcome, values

NOTICE: dict[str, Any] = {
    "ts": 1741680895.412907,
    "uid": "CtaPir1aBcDeFgHiJ",
    "id.orig_h": "10.20.3.17",
    "id.orig_p": 51544,
    "id.resp_h": "203.0.113.66",
    "id.resp_p": 443,
    "proto": "tcp",
    "note": "SSL::Invalid_Server_Cert",
    "msg": "SSL certificate validation failed with (self signed certificate)",
    "sub": "CN=c2.tapir.com",
    "src": "10.20.3.17",
    "dst": "203.0.113.66",
    "p": 443,
    "peer_descr": "worker-1",
    "actions": ["Notice::ACTION_LOG"],
    "suppress_for": 3600.0,
}


def test_a_notice_is_told_whole():
    found = alert("zeek", NOTICE)
    assert (found.title, found.severity, found.category) == ("Zeek SSL::Invalid_Server_Cert", "low", "network")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, 412907, tzinfo=UTC)
    assert found.affected_assets == ["10.20.3.17"]
    assert (values(found, "ip"), values(found, "domain")) == (["203.0.113.66"], ["c2.tapir.com"])
    assert (found.metadata["flow_id"], found.metadata["dest_port"]) == ("CtaPir1aBcDeFgHiJ", 443)


def test_counts_in_the_message_change_neither_title_nor_observables():
    scan = merged(NOTICE, note="Scan::Port_Scan", sub="remote", msg="10.20.3.17 scanned 15 ports in 0m4s")
    again = merged(scan, msg="10.20.3.17 scanned 16 ports in 0m5s", ts=1741680999.5)
    assert alert("zeek", scan).title == alert("zeek", again).title == "Zeek Scan::Port_Scan"
    assert alert("zeek", scan).observables == alert("zeek", again).observables


@pytest.mark.parametrize(
    ("note", "actions", "expected"),
    [
        ("Intel::Notice", [], "high"),
        ("Scan::Port_Scan", [], "low"),
        ("CaptureLoss::Too_Much_Loss", [], "info"),
        ("SSH::Password_Guessing", [], "medium"),
        ("SSH::Password_Guessing", ["Notice::ACTION_PAGE"], "high"),
    ],
)
def test_the_type_of_the_notice_and_its_actions_set_the_severity(note, actions, expected):
    assert alert("zeek", merged(NOTICE, note=note, actions=actions)).severity == expected


def test_nested_ids_and_written_times_are_read():
    record = merged(
        NOTICE, ts="2025-03-11T08:14:55.412907Z", id={"orig_h": "10.0.0.9", "resp_h": "203.0.113.8"}, src=..., dst=...
    )
    found = alert("zeek", {key: value for key, value in record.items() if not key.startswith("id.")})
    assert found.affected_assets == ["10.0.0.9"]
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, 412907, tzinfo=UTC)


@pytest.mark.parametrize("record", [{"_path": "conn", "uid": "C1"}, {"ts": 1741680895.4, "uid": "C1"}])
def test_other_logs_are_ignored(record):
    assert isinstance(outcome("zeek", record), Ignored)


def test_what_is_no_zeek_record_is_refused():
    with pytest.raises(Invalid, match="`note` is missing"):
        outcome("zeek", {"hello": "world"})
