"""The last copy of the real working set, read through the API while PostgreSQL is away."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from aurora.console import standing
from aurora.standin import opened, snapshot, source
from cases import queries
from cases.models import Case
from tests.cast import ApiClient
from tests.factories import make_alert, make_case, make_ioc
from tests.faults.conftest import mend
from tests.proxy import Wire


@pytest.fixture
def opened_freely(transactional_db, monkeypatch) -> Iterator[None]:
    """Django lets a test open no database but those that it names, and empties these; a snapshot is neither."""
    monkeypatch.setattr(DatabaseWrapper, "ensure_connection", _ensure_connection)
    yield
    opened.release()
    opened._marks.pop(source.SNAPSHOT, None)
    if connections.settings.pop(source.SNAPSHOT, None):
        del connections[source.SNAPSHOT]


def _ensure_connection(self: DatabaseWrapper) -> None:
    if self.connection is None:
        self.connect()


@pytest.fixture
def viewer(opened_freely, settings, own_spool) -> ApiClient:
    """Somebody who read while PostgreSQL was there, where a snapshot stands in for it."""
    settings.DEGRADED_READS = "snapshot"
    client = ApiClient("viewer")
    assert client.call("GET", "/alerts").status_code == 200
    return client


def titles(client: ApiClient) -> list[str]:
    answer = client.call("GET", "/cases")
    assert (answer.status_code, answer["X-Aurora-Data-Source"]) == (200, "snapshot")
    return [case["title"] for case in answer.json()["items"]]


def test_open_cases_with_their_timeline_and_the_blocklist_are_read_from_it(viewer, wire):
    case = make_case(title="Open")
    case.timeline.create(kind="comment", actor="ana", text="Isolated the host")
    make_ioc(type="ip", value="203.0.113.77", confidence=0.9)
    make_alert(title="Beacon", case=case)
    snapshot.refresh()
    wire.set(Wire.REFUSED)
    assert titles(viewer) == ["Open"]
    timeline = viewer.call("GET", f"/cases/{case.pk}/timeline").json()["items"]
    assert [entry["text"] for entry in timeline] == ["Isolated the host"]
    assert [alert["title"] for alert in viewer.call("GET", f"/cases/{case.pk}").json()["alerts"]] == ["Beacon"]
    feed = viewer.call("GET", "/feeds/blocklist?type=ip")
    assert (feed.content.decode(), feed["X-Aurora-Data-Source"]) == ("203.0.113.77\n", "snapshot")


def test_its_age_is_shown(viewer, wire):
    make_case(title="Open")
    snapshot.refresh()
    wire.set(Wire.REFUSED)
    viewer.call("GET", "/cases")
    mode = viewer.call("GET", "/system/mode").json()
    assert (mode["read_data_source"], mode["snapshot_age_seconds"] >= 0) == ("snapshot", True)
    assert re.match(r"You are reading the last copy, \d+ s old\. Changes are refused\.", standing.now()["summary"])


def test_the_next_one_is_read_as_soon_as_it_is_there(viewer, wire):
    make_case(title="First")
    snapshot.refresh()
    wire.set(Wire.REFUSED)
    assert titles(viewer) == ["First"]
    assert titles(viewer) == ["First"]  # on a connection that was kept
    mend(wire)
    Case.objects.update(title="Renamed")
    snapshot.refresh()
    wire.set(Wire.REFUSED)
    assert titles(viewer) == ["Renamed"]


def test_a_list_is_made_once_for_all_who_ask_for_it(viewer, wire, monkeypatch):
    make_alert(title="First")
    make_alert(title="Second")
    snapshot.refresh()
    wire.set(Wire.REFUSED)
    first = {path: viewer.call("GET", path).content for path in ("/alerts", "/alerts?limit=1")}
    assert len(set(first.values())) == 2
    monkeypatch.setattr(queries, "alerts", lambda query: pytest.fail("made once more"))
    assert {path: viewer.call("GET", path).content for path in first} == first


def test_who_may_not_read_a_list_is_refused_although_it_is_there_already(viewer, wire):
    stranger, sensor = ApiClient(), ApiClient("operator")
    assert sensor.call("GET", "/alerts").status_code == 200
    make_ioc()
    snapshot.refresh()
    wire.set(Wire.REFUSED)
    assert viewer.call("GET", "/iocs").status_code == 200
    assert stranger.call("GET", "/iocs").status_code == 401
    assert sensor.call("GET", "/iocs").status_code == 403


def test_a_wrong_filter_is_refused_each_time(viewer, wire):
    snapshot.refresh()
    wire.set(Wire.REFUSED)
    answers = [viewer.call("GET", "/alerts?severity=dreadful") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [400, 400]
