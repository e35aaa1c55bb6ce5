"""What callers see while the tables are not those that the code was written for: a migration that failed halfway, or was never run."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import structlog
from django.db import connection

from aurora.resilience import availability
from aurora.rest.problems import DATABASE_UNAVAILABLE
from cases.draining import Drainer
from cases.models import Alert
from tests.cast import ApiClient
from tests.waiting import until

ALERT = {"title": "Beacon", "severity": "low", "source": "probe"}


@pytest.fixture
def analyst(transactional_db: None) -> ApiClient:
    client = ApiClient("analyst")
    assert client.call("GET", "/alerts").status_code == 200
    return client


@pytest.fixture
def broken(analyst: ApiClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiClient]:
    monkeypatch.setattr(availability.database, "_named", {})
    _rename("title", "heading")
    yield analyst
    _mend()


def test_alerts_are_spooled_and_stored_once_it_is_mended(broken, own_spool):
    answer = broken.call("POST", "/alerts", ALERT)
    assert (answer.status_code, own_spool.standing().depth) == (202, 1)
    stop = threading.Event()
    drainer = threading.Thread(target=_run_and_close, args=(stop,))
    with structlog.testing.capture_logs() as lines:
        drainer.start()
        until(lambda: any(line["event"] == "neighbour_lost" for line in lines))
        standing = own_spool.standing()
        assert (standing.depth, standing.set_aside) == (1, 0)  # its operator can mend it
        _mend()
        until(lambda: own_spool.standing().depth == 0)
    stop.set()
    drainer.join()
    assert Alert.objects.get().title == "Beacon"


def test_what_needs_the_table_is_refused_for_now_and_the_rest_goes_on(broken):
    answer = broken.call("GET", "/alerts")
    assert (answer.status_code, answer.json()["detail"], answer["Retry-After"]) == (503, DATABASE_UNAVAILABLE, "5")
    assert broken.call("GET", "/cases").json()["data_source"] == "database"
    assert availability.database.standing == availability.WELL


def test_it_is_named_as_what_it_is(broken):
    with structlog.testing.capture_logs() as lines:
        broken.call("GET", "/alerts")
    told = [line for line in lines if line["event"] == "database_refuses"]
    assert [(line["reason"], line["sqlstate"]) for line in told] == [("broken_migration", "42703")]
    assert "title" in told[0]["error"]


def _run_and_close(stop: threading.Event) -> None:
    Drainer().run(stop)
    connection.close()


def _rename(before: str, after: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE cases_alert RENAME COLUMN {before} TO {after}")


def _mend() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM information_schema.columns WHERE table_name = 'cases_alert' AND column_name = 'heading'"
        )
        is_broken = cursor.fetchone() is not None
    if is_broken:
        _rename("heading", "title")
