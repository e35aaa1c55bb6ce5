"""The report on a case in each of its forms."""

from __future__ import annotations

import io
from datetime import timedelta
from html.parser import HTMLParser

import orjson
import pypdf
import pytest
import stix2
from stix2patterns.validator import run_validator

from agents.reports import FORMS, as_stix, write
from aurora.errors import Missing
from aurora.ids import new_id
from cases.models import Case
from tests.cast import ApiClient
from tests.factories import NOW, make_alert, make_case, make_ioc

pytestmark = pytest.mark.django_db

HOSTILE = '<script>alert(1)</script> [click](javascript:alert(1)) #eval(read("/etc/passwd")) `x` | cell'


@pytest.fixture
def case() -> Case:
    """A case of two alerts with an indicator of most kinds, among them one of the house's own."""
    iocs: list[str | tuple[str, str]] = [
        "203.0.113.9",
        "2001:db8::9",
        "10.0.0.5",
        "evil.example",
        "https://evil.example/a?b='c'",
        "a" * 32,
        "b" * 40,
        "c" * 64,
    ]
    iocs += [
        "CVE-2024-3094",
        r"HKLM\Software\Run",
        ("mutex", "Global\\m"),
        r"C:\Temp\evil.exe",
        "/tmp/evil",
        "eve@evil.example",
    ]
    first = make_alert(title="Beacon to a new host", iocs=iocs, mitre_techniques=["T1071.004"], severity="high")
    second = make_alert(title=HOSTILE, affected_assets=["ws-7"], mitre_techniques=["T1059.001", "T9999"])
    return make_case(title="Beacon & company", alerts=[first, second])


def test_every_form_is_written_and_named_for_the_case(case):
    client = ApiClient("viewer")
    for form in FORMS:
        answer = client.call("GET", f"/cases/{case.id}/report?format={form}")
        assert answer.status_code == 200, answer.content[:300]
        assert case.reference in answer["Content-Disposition"]
        assert len(answer.content) > 500


def test_markdown_is_the_form_without_a_word(case):
    answer = ApiClient("viewer").call("GET", f"/cases/{case.id}/report")
    assert answer["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.content.decode().startswith(f"# {case.reference}: Beacon")


def test_another_form_is_refused_in_the_words_of_the_contract(case):
    answer = ApiClient("viewer").call("GET", f"/cases/{case.id}/report?format=docx")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["query", "format"])


def test_there_is_no_report_on_no_case():
    assert ApiClient("viewer").call("GET", f"/cases/{new_id()}/report").status_code == 404
    with pytest.raises(Missing):
        write(case_id=new_id(), form="pdf")


def test_nobody_gets_no_report(case):
    assert ApiClient().call("GET", f"/cases/{case.id}/report").status_code == 401


def test_the_page_holds_no_script_and_no_link(case):
    answer = ApiClient("viewer").call("GET", f"/cases/{case.id}/report?format=html")
    tags = _tags(answer.content.decode())
    assert {"h1", "h2", "table"} <= tags
    assert not tags & {"script", "a", "img", "iframe", "link", "form"}
    assert "sandbox" in answer["Content-Security-Policy"]


def test_the_paper_shows_hostile_titles_as_they_are_written(case):
    pdf = pypdf.PdfReader(io.BytesIO(write(case_id=case.id, form="pdf").content))
    text = "".join("".join(page.extract_text() for page in pdf.pages).replace("\u200b", "").split())
    assert pdf.metadata is not None
    assert pdf.metadata.title == str(case)
    assert '#eval(read("/etc/passwd"))' in text
    assert "<script>alert(1)</script>" in text


def test_a_case_without_alerts_has_a_report_in_every_form():
    case = make_case()
    assert all(write(case_id=case.id, form=form).content for form in FORMS)


def test_the_data_hold_the_rows_the_report_rests_on(case):
    found = orjson.loads(write(case_id=case.id, form="json").content)
    assert found["case"]["reference"] == case.reference
    assert {alert["title"] for alert in found["alerts"]} == {"Beacon to a new host", HOSTILE}
    assert [one["id"] for one in found["techniques"]] == ["T1059.001", "T1071.004"]
    assert found["markdown"].startswith("# ")


def test_the_bundle_is_read_by_the_library_of_the_standard(case):
    bundle = stix2.parse(write(case_id=case.id, form="stix").content.decode())
    kinds = {one.type for one in bundle.objects}
    assert kinds == {"identity", "incident", "indicator", "vulnerability", "attack-pattern", "relationship", "report"}
    known = {one.id for one in bundle.objects}
    report = next(one for one in bundle.objects if one.type == "report")
    assert set(report.object_refs) <= known


def test_every_pattern_in_the_bundle_is_one(case):
    bundle = orjson.loads(write(case_id=case.id, form="stix").content)
    patterns = [one["pattern"] for one in bundle["objects"] if one["type"] == "indicator"]
    assert len(patterns) == 12
    for pattern in patterns:
        assert run_validator(pattern, stix_version="2.1") == [], pattern


def test_own_addresses_and_harmless_indicators_stay_at_home(case):
    make_alert(case=case, iocs=[make_ioc("benign.example", status="false_positive")])
    text = write(case_id=case.id, form="stix").content.decode()
    patterns = [one["pattern"] for one in orjson.loads(text)["objects"] if one["type"] == "indicator"]
    assert not [one for one in patterns if "10.0.0.5" in one or "benign.example" in one]


def test_a_bundle_taken_twice_has_the_same_ids(case):
    first, second = (orjson.loads(write(case_id=case.id, form="stix").content) for _ in range(2))
    assert [one["id"] for one in first["objects"]] == [one["id"] for one in second["objects"]]


def test_an_indicator_that_expires_before_it_was_seen_has_no_end():
    ioc = make_ioc("evil.example", expires_at=NOW - timedelta(days=1), tlp="amber+strict")
    case = make_case(alerts=[make_alert(iocs=[ioc])])
    bundle = stix2.parse(write(case_id=case.id, form="stix").content.decode())
    told = next(one for one in bundle.objects if one.type == "indicator")
    assert "valid_until" not in told
    assert len(told.object_marking_refs) == 2


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("file_path", r"C:\Temp\evil.exe", r"[file:name = 'evil.exe' AND file:parent_directory_ref.path = 'C:\\Temp']"),
        ("file_path", "evil.exe", "[file:name = 'evil.exe']"),
        ("url", "https://evil.example/?q='", r"[url:value = 'https://evil.example/?q=\'']"),
        (
            "user_agent",
            "curl/8",
            "[network-traffic:extensions.'http-request-ext'.request_header.'User-Agent' = 'curl/8']",
        ),
    ],
)
def test_a_value_is_quoted_in_its_pattern(kind, value, expected):
    assert as_stix.pattern_of(make_ioc(value, type=kind)) == expected


def test_reading_a_report_changes_nothing(case, django_assert_max_num_queries):
    with django_assert_max_num_queries(60):
        write(case_id=case.id, form="json")
    assert case.timeline.count() == 0


def _tags(html: str) -> set[str]:
    found: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, _attrs: object) -> None:
            found.add(tag)

    Reader().feed(html)
    return found
