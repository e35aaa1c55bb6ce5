from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aurora.errors import Invalid
from cases.normalizers import Ignored
from tests.cases.normalizers.feed import alert, outcome, values

LINE = (
    "<134>Mar 11 08:14:56 fw-1 CEF:0|Tapir|Gate|9.1|IPS-77|Command and control blocked|8|"
    "rt=1741680895412 src=10.20.3.17 spt=51544 dst=203.0.113.66 dpt=443 proto=TCP act=blocked suser=ann "
    "request=https://c2.tapir.test/gate?id=7 cs1Label=MITRE Technique cs1=T1071.001 msg=seen a\\=b and c\\nnext line "
    "in=640 out=812"
)


def test_a_line_is_told_whole():
    found = alert("cef", LINE)
    assert (found.title, found.severity, found.category) == ("Command and control blocked", "high", "web")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, 412000, tzinfo=UTC)
    assert (found.affected_assets, found.users) == (["10.20.3.17"], ["ann"])
    assert (values(found, "ip"), values(found, "url")) == (["203.0.113.66"], ["https://c2.tapir.test/gate"])
    assert found.mitre_techniques == ["T1071.001"]
    assert found.description == "seen a=b and c\nnext line"
    assert (found.metadata["rule_id"], found.metadata["sensor"], found.metadata["bytes_toserver"]) == (
        "IPS-77",
        "fw-1",
        812,
    )
    assert found.raw == LINE


@pytest.mark.parametrize(
    ("prefix", "sensor"),
    [
        ("", None),
        ("Mar 11 08:14:56 fw-1 ", "fw-1"),
        ("<134>1 2025-03-11T08:14:56Z fw-1 gate - - - ", "fw-1"),
        ("2025-03-11T08:14:56Z fw-1: ", "fw-1"),
    ],
)
def test_a_syslog_header_may_stand_before_it(prefix, sensor):
    found = alert("cef", f"{prefix}CEF:0|v|p|1|id|Name|5|src=10.0.0.1")
    assert (found.title, found.metadata.get("sensor")) == ("Name", sensor)


def test_bars_and_backslashes_are_escaped_in_the_header():
    found = alert("cef", r"CEF:0|v|p|1|a\\|Path C:\\x \| more|5|")
    assert (found.title, found.metadata["rule_id"]) == (r"Path C:\x | more", "a\\")


def test_values_may_hold_spaces_and_empty_values_may_be_left():
    found = alert("cef", "CEF:0|v|p|1|id|Name|5|fname=my file.exe act= filePath=C:\\tmp\\my file.exe outcome=failure")
    assert (found.metadata["file_name"], found.metadata["outcome"]) == ("my file.exe", "failure")
    assert "action" not in found.metadata


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        *((value, "low") for value in ("0", "3", "Low")),
        *((value, "medium") for value in ("4", "6", "Medium", "Unknown", "")),
        *((value, "high") for value in ("7", "8", "High")),
        *((value, "critical") for value in ("9", "10", "Very-High")),
    ],
)
def test_severities_map_as_the_domain_page_says(severity, expected):
    assert alert("cef", f"CEF:0|v|p|1|id|Name|{severity}|src=10.0.0.1").severity == expected


@pytest.mark.parametrize(
    "written", ["Mar 11 2025 08:14:55", "Mar 11 2025 08:14:55.000 UTC", "2025-03-11T08:14:55Z", "1741680895000"]
)
def test_times_are_read_in_every_form(written):
    found = alert("cef", f"CEF:0|v|p|1|id|Name|5|rt={written} src=10.0.0.1")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, tzinfo=UTC)


def test_hashes_and_names_of_hosts_are_read():
    found = alert("cef", f"CEF:0|v|p|1|id|Name|5|fileHash={'a' * 64} shost=WS17 dhost=c2.tapir.test")
    assert values(found, "hash_sha256") == ["a" * 64]
    assert (found.affected_assets, values(found, "domain")) == (["WS17"], ["c2.tapir.test"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Mar 11 08:14:56 fw-1 something else", "`CEF:` is missing"),
        ("CEF:0|v|p|1|id", "has 4 fields"),
        ("CEF:0|v|p|1|||5|", "name"),
    ],
)
def test_what_is_no_cef_is_refused_with_a_reason(line, reason):
    with pytest.raises(Invalid, match=reason):
        outcome("cef", line)


def test_a_header_without_its_last_bar_is_read():
    assert alert("cef", "CEF:0|v|p|1|id|Name|9").severity == "critical"


@pytest.mark.parametrize(
    "written",
    [
        "rt=Mar 11 2025 08:14:56 GMT+00:00",
        "rt=Mar 11 2025 10:14:56 GMT+02:00",
        "startTime=Tue Mar 11 08:14:56 2025",
        "FTNTFGTeventtime=1741680896000000000",
    ],
)
def test_times_are_read_as_products_write_them(written):
    found = alert("cef", f"CEF:0|v|p|1|id|Name|5|{written} src=10.0.0.1")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 56, tzinfo=UTC)


def test_a_line_without_a_time_has_that_of_its_syslog_header():
    found = alert("cef", "<134>1 2025-03-11T08:14:56Z gw-1 app - - - CEF:0|v|p|1|id|Name|5|src=10.0.0.1")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    "header",
    [
        "CEF:0|Palo Alto Networks|LF|2.0|TRAFFIC|end|3|",
        "CEF:0|Palo Alto Networks|LF|2.0|GLOBALPROTECT|globalprotect|3|",
        "CEF:0|Fortinet|Fortigate|v6.0.4|00013|traffic:forward close|3|",
    ],
)
def test_a_firewalls_sessions_are_ignored(header):
    assert isinstance(outcome("cef", f"{header}src=10.0.0.1 dst=203.0.113.66"), Ignored)


def test_a_name_that_says_nothing_by_itself_gets_its_products():
    found = alert("cef", "CEF:0|Tapir|Gate|1|THREAT|spyware|5|src=10.0.0.1")
    assert found.title == "Tapir Gate THREAT: spyware"


def test_translated_addresses_are_the_firewalls_own():
    found = alert("cef", "CEF:0|v|p|1|id|Name|5|src=10.0.0.1 sourceTranslatedAddress=198.51.100.1 dst=203.0.113.66")
    assert values(found, "ip") == ["203.0.113.66"]


def test_the_message_is_searched():
    found = alert("cef", "CEF:0|v|p|1|id|Log-in failed|7|msg=Log-in disabled from IP 203.0.113.66 for 60 seconds")
    assert values(found, "ip") == ["203.0.113.66"]


def test_an_event_of_an_agent_about_its_own_machine_names_that():
    assert alert("cef", "CEF:0|v|p|1|id|Tapir_Loader|7|dvchost=WS17 filePath=C:\\t.exe").affected_assets == ["WS17"]


@pytest.mark.parametrize(
    ("request_field", "domains", "urls"),
    [
        ("panel.tapir.test", ["panel.tapir.test"], []),
        ("panel.tapir.test/gate", ["panel.tapir.test"], ["http://panel.tapir.test/gate"]),
        ("http://panel.tapir.test/gate?a=1", ["panel.tapir.test"], ["http://panel.tapir.test/gate"]),
        ("C:\\Users\\ann\\bill.pdf.exe", [], []),
        ("some file name", [], []),
    ],
)
def test_a_request_is_read_as_filters_write_it(request_field, domains, urls):
    found = alert("cef", f"CEF:0|v|p|1|id|Web filter|5|src=10.0.0.1 request={request_field}")
    assert (values(found, "domain"), values(found, "url")) == (domains, urls)
    assert found.category != "web" or urls


def test_what_an_outsider_asked_for_is_our_own_site():
    found = alert("cef", "CEF:0|v|p|1|id|Blocked country|5|src=203.0.113.66 request=shop.example.com/cart")
    assert [item.value for item in found.observables] == ["203.0.113.66"]
