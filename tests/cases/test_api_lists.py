"""`GET /alerts`, `/cases`, `/iocs`: every filter finds what it names and leaves out the rest, and pages lose and double nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cases.models import Alert
from tests.cast import ApiClient, make_user
from tests.factories import NOW, make_alert, make_case, make_ioc

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def viewer() -> ApiClient:
    return ApiClient("viewer")


def _titles(client: ApiClient, path: str, **query: str) -> list[str]:
    answer = client.get(f"/api/v1{path}", query)
    assert answer.status_code == 200, answer.content
    return [item["title"] for item in answer.json()["items"]]


ALERT_FILTERS = [
    ("severity", "critical"),
    ("status", "triaged"),
    ("source", "wazuh"),
    ("assignee", "ana"),
    ("ioc", "203.0.113.77"),
    ("ioc", "203[.]0[.]113[.]77"),
    ("technique", "T1071.001"),
    ("q", "wanted"),
    ("q", "WEB-03"),
    ("since", (NOW + HOUR).isoformat()),
    ("updated_since", (NOW + HOUR).isoformat()),
]


@pytest.mark.parametrize(("name", "value"), ALERT_FILTERS)
def test_each_filter_of_alerts_finds_what_it_names_and_nothing_else(name, value, viewer):
    wanted = make_alert(
        title="The wanted one",
        severity="critical",
        status="triaged",
        source="wazuh",
        assignee=make_user("analyst", "ana"),
        iocs=["203.0.113.77"],
        mitre_techniques=["T1071.001"],
        affected_assets=["web-03"],
        first_seen=NOW + 2 * HOUR,
    )
    other = make_alert(title="Another", iocs=["203.0.113.7"], mitre_techniques=["T1071"], affected_assets=["web-04"])
    Alert.objects.filter(pk=wanted.pk).update(updated_at=NOW + 2 * HOUR)
    Alert.objects.filter(pk=other.pk).update(updated_at=NOW)
    assert _titles(viewer, "/alerts", **{name: value}) == ["The wanted one"]


def test_until_leaves_out_what_began_later(viewer):
    make_alert(title="early")
    make_alert(title="late", first_seen=NOW + 2 * HOUR)
    assert _titles(viewer, "/alerts", until=(NOW + HOUR).isoformat()) == ["early"]


def test_filters_add_up(viewer):
    make_alert(title="both", severity="high", source="wazuh")
    make_alert(title="one", severity="high", source="zeek")
    assert _titles(viewer, "/alerts", severity="high", source="wazuh") == ["both"]


@pytest.mark.parametrize(
    "query",
    [
        "severity=grave",
        "status=open",
        "technique=1071",
        "since=yesterday",
        "limit=0",
        "limit=201",
        "skip=-1",
        "cursor=!",
    ],
)
def test_a_value_that_no_filter_knows_is_refused_by_name(query, viewer):
    answer = viewer.call("GET", f"/alerts?{query}")
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


@pytest.mark.parametrize(
    ("name", "value"), [("severity", "critical"), ("status", "contained"), ("assignee", "ana"), ("q", "want")]
)
def test_each_filter_of_cases_finds_what_it_names_and_nothing_else(name, value, viewer):
    ana = make_user("analyst", "ana")
    make_case(title="The wanted one", severity="critical", status="contained", assignee=ana)
    make_case(title="Another", severity="low")
    assert _titles(viewer, "/cases", **{name: value}) == ["The wanted one"]


@pytest.mark.parametrize(("name", "value"), [("type", "domain"), ("status", "expired"), ("q", "evil[.]exa")])
def test_each_filter_of_iocs_finds_what_it_names_and_nothing_else(name, value, viewer):
    make_ioc("evil.example", status="expired")
    make_ioc("203.0.113.9")
    found = viewer.get("/api/v1/iocs", {name: value}).json()["items"]
    assert [item["value"] for item in found] == ["evil.example"]


def _pages(client: ApiClient, path: str) -> list[str]:
    page = client.get(f"/api/v1{path}", {"limit": 2}).json()
    seen = [item["id"] for item in page["items"]]
    while page["next_cursor"]:
        page = client.get(f"/api/v1{path}", {"limit": 2, "cursor": page["next_cursor"]}).json()
        seen += [item["id"] for item in page["items"]]
    return seen


@pytest.mark.parametrize(
    ("path", "make"),
    [("/alerts", make_alert), ("/cases", make_case), ("/iocs", make_ioc)],
    ids=["alerts", "cases", "iocs"],
)
def test_pages_by_cursor_hold_every_row_once_newest_first(path, make, viewer):
    made = [str(make().pk) for _ in range(5)]
    assert _pages(viewer, path) == made[::-1]


def test_what_arrives_between_two_pages_moves_nothing(viewer):
    made = [str(make_alert().pk) for _ in range(4)]
    first = viewer.call("GET", "/alerts?limit=2").json()
    make_alert()
    second = viewer.call("GET", f"/alerts?limit=2&cursor={first['next_cursor']}").json()
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]


def test_the_envelope_says_how_many_and_from_where(viewer):
    for _ in range(3):
        make_alert()
    answer = viewer.call("GET", "/alerts?skip=1&limit=1").json()
    assert {name: answer[name] for name in ("total", "total_is_exact", "data_source")} == {
        "total": 3,
        "total_is_exact": True,
        "data_source": "database",
    }
    assert len(answer["items"]) == 1


def test_beyond_the_end_there_is_nothing(viewer):
    make_alert()
    answer = viewer.call("GET", "/alerts?skip=5").json()
    assert (answer["items"], answer["next_cursor"], answer["total"]) == ([], None, 1)


def test_a_page_that_shows_the_end_is_not_counted_as_well(viewer, django_assert_num_queries):
    for _ in range(3):
        make_alert()
    viewer.call("GET", "/alerts")
    with django_assert_num_queries(1) as asked:  # of who calls, no cursor of Django's asks
        totals = [viewer.call("GET", "/alerts?skip=1&limit=2").json()["total"]]
    assert "COUNT" not in asked[0]["sql"]
    with django_assert_num_queries(2):
        totals.append(viewer.call("GET", "/alerts?limit=2").json()["total"])
    assert totals == [3, 3]
