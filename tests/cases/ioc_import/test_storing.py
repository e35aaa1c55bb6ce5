"""Lists of indicators become rows."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from django.utils import timezone

from agents.reports import write
from aurora.errors import Denied
from aurora.models import AuditEntry
from cases.ioc_import import import_iocs, read
from cases.models import Ioc
from tests.cast import ANALYST, VIEWER, ApiClient
from tests.factories import make_alert, make_case, make_ioc

pytestmark = pytest.mark.django_db

LIST = b"type,value,confidence\nip,203.0.113.9,90\ndomain,evil[.]example,\nip,203.0.113.9,\nip,nonsense,\n"


def test_a_list_becomes_rows_once():
    answer = ApiClient("analyst").call("POST", "/iocs/import?source=feed-x&tlp=green", LIST, content_type="text/csv")
    counts = {name: answer.json()[name] for name in ("received", "created", "merged", "ignored")}
    assert (answer.status_code, counts) == (200, {"received": 4, "created": 2, "merged": 1, "ignored": 0})
    assert [one["index"] for one in answer.json()["rejected"]] == [3]
    row = Ioc.objects.get(value="203.0.113.9")
    assert (row.source, row.confidence, row.tlp) == ("feed-x", 0.9, "green")


def test_the_same_list_again_adds_nothing():
    client = ApiClient("analyst")
    client.call("POST", "/iocs/import", LIST, content_type="text/csv")
    again = client.call("POST", "/iocs/import", LIST, content_type="text/csv").json()
    assert (again["created"], again["merged"], Ioc.objects.count()) == (0, 3, 2)


def test_what_is_known_gains_by_a_list_and_loses_nothing():
    now = timezone.now()
    sure = make_ioc("203.0.113.1", confidence=0.9, expires_at=now + timedelta(days=9), description="ours")
    ended = make_ioc("203.0.113.2", status="expired", expires_at=now - timedelta(days=9))
    false = make_ioc("203.0.113.3", status="false_positive")
    entries = read(
        b"value,confidence,comment,expires_at\n203.0.113.1,20,theirs,2199-01-01\n203.0.113.2,,,2199-01-01\n203.0.113.3,,,"
    )
    assert import_iocs(entries=entries, source="feed", actor=ANALYST).merged == 3
    for row in (sure, ended, false):
        row.refresh_from_db()
    assert (sure.confidence, sure.description, str(sure.expires_at)[:4]) == (0.9, "ours", "2199")
    assert (ended.status, false.status) == ("active", "false_positive")


def test_a_value_of_two_types_is_two_indicators():
    make_ioc("evil.example", type="mutex")
    assert import_iocs(entries=read(b"type,value\ndomain,evil.example"), source="feed", actor=ANALYST).created == 1


def test_an_import_is_in_the_trail_with_its_receipt():
    result = import_iocs(entries=read(b"evil.example"), source="feed", actor=ANALYST)
    entry = AuditEntry.objects.get(action="ioc.imported")
    assert (entry.target_id, entry.after["source"], entry.after["created"]) == (str(result.receipt), "feed", 1)


def test_who_may_not_write_indicators_imports_none():
    assert ApiClient("viewer").call("POST", "/iocs/import", LIST, content_type="text/csv").status_code == 403
    with pytest.raises(Denied):
        import_iocs(entries=[], source="feed", actor=VIEWER)


@pytest.mark.parametrize("media", ["multipart/form-data; boundary=x", "application/xml", "image/png"])
def test_what_is_surely_no_list_is_refused_by_its_type(media):
    assert ApiClient("analyst").call("POST", "/iocs/import", LIST, content_type=media).status_code == 415


@pytest.mark.parametrize("query", ["confidence=2", "tlp=blue", "expires_at=soon", "feed=x", "source="])
def test_a_default_that_is_none_is_refused(query):
    answer = ApiClient("analyst").call("POST", f"/iocs/import?{query}", LIST, content_type="text/csv")
    assert (answer.status_code, answer.json()["detail"][0]["loc"][0]) == (400, "query")


def test_a_long_list_is_stored_in_few_statements(django_assert_max_num_queries):
    lines = "\n".join(f"198.18.{number // 250}.{number % 250}" for number in range(5_000)).encode()
    with django_assert_max_num_queries(25):
        assert import_iocs(entries=read(lines), source="feed", actor=ANALYST).created == 5_000


def test_our_own_bundle_comes_back_as_it_went():
    values = [
        "203.0.113.9",
        "evil.example",
        "https://evil.example/a?b='c'",
        "a" * 64,
        r"C:\Temp\evil.exe",
        "/tmp/evil",
        "CVE-2024-3094",
    ]
    case = make_case(alerts=[make_alert(iocs=values)])
    payload = write(case_id=case.id, form="stix").content
    before = set(Ioc.objects.values_list("type", "value"))
    Ioc.objects.all().delete()
    answer = ApiClient("analyst").call(
        "POST", "/iocs/import", payload, content_type="application/stix+json;version=2.1"
    )
    assert answer.json()["rejected"] == []
    assert set(Ioc.objects.values_list("type", "value")) == before
    assert orjson.loads(payload)["type"] == "bundle"
