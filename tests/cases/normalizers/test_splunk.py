from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aurora.errors import Invalid
from tests.cases.normalizers.feed import alert, merged, outcome, values

WEBHOOK: dict[str, Any] = {
    "sid": "scheduler__admin__search__x_at_1741680900_1",
    "search_name": "Brute force against VPN",
    "app": "search",
    "owner": "admin",
    "results_link": "https://splunk.corp.test/app/search/@go?sid=x",
    "result": {
        "_time": "1741680895.412",
        "src": "203.0.113.66",
        "dest": "vpn-1",
        "user": "ann",
        "severity": "high",
        "annotations.mitre_attack": ["T1110"],
        "_raw": "failed logins",
        "host": "idx-1",
        "security_domain": "access",
    },
}


def test_a_webhook_is_told_whole():
    found = alert("splunk", WEBHOOK)
    assert (found.title, found.severity, found.category) == ("Brute force against VPN", "high", "identity")
    assert found.occurred_at == datetime(2025, 3, 11, 8, 14, 55, 412000, tzinfo=UTC)
    assert (found.affected_assets, found.users) == (["vpn-1"], ["ann"])
    assert values(found, "ip") == ["203.0.113.66"]
    assert found.mitre_techniques == ["T1110"]
    assert found.metadata["results_link"].startswith("https://splunk")


def test_a_notable_event_s_own_title_goes_before_the_search_s():
    record = merged(WEBHOOK, result={"rule_title": "Brute force by ann", "urgency": "critical", "severity": "low"})
    found = alert("splunk", record)
    assert (found.title, found.severity) == ("Brute force by ann", "critical")


@pytest.mark.parametrize(
    ("fields", "expected"), [({}, "medium"), ({"severity": "purple"}, "medium"), ({"risk_score": 95}, "critical")]
)
def test_without_a_word_the_risk_score_decides(fields, expected):
    assert alert("splunk", merged(WEBHOOK, result=fields)).severity == expected


@pytest.mark.parametrize(
    ("record", "reason"),
    [({"sid": "x"}, "`result` is missing"), ({"result": {"user": "ann"}}, "`search_name` is missing")],
)
def test_what_has_no_name_is_refused(record, reason):
    with pytest.raises(Invalid, match=reason):
        outcome("splunk", record)


def test_the_fields_of_a_notable_event_are_read_from_its_text():
    raw = (
        '1741680895, search_name="Access - Excessive Failed Log-ins - Rule", src="203.0.113.66", urgency="high", '
        'user="ann", annotations.mitre_attack.mitre_technique_id="T1110", file_path="C:\\\\t \\"x\\".exe"'
    )
    row = {"_raw": raw, "source": "Access - Excessive Failed Log-ins - Rule", "index": "notable", "host": "idx-1"}
    found = alert("splunk", row)
    assert (found.title, found.severity) == ("Access - Excessive Failed Log-ins - Rule", "high")
    assert (values(found, "ip"), found.users, found.mitre_techniques) == (["203.0.113.66"], ["ann"], ["T1110"])
    assert found.metadata["file_path"] == 'C:\\t "x".exe'


def test_text_that_is_no_notable_event_is_not_taken_apart():
    record = merged(WEBHOOK, result={**WEBHOOK["result"], "_raw": 'GET / user="mallory"', "user": ""})
    assert alert("splunk", record).users == []
