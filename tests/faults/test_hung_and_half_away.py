"""What callers of the API see of a PostgreSQL that is swallowed by the network, became read-only, or has no session left; and of Redis' patience."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
import structlog
from django.db import connection
from psycopg.conninfo import make_conninfo

from aurora.bus import redis as clients
from aurora.bus.redis import Purpose
from aurora.embedded import locations
from aurora.embedded.servers import Postgres
from aurora.resilience import availability
from aurora.resilience.availability import Availability
from aurora.resilience.postgresql.base import _check
from aurora.rest.problems import DATABASE_UNAVAILABLE
from tests.cast import ApiClient
from tests.faults.conftest import mend
from tests.proxy import Wire
from tests.waiting import until

ALERT = {"title": "Beacon", "severity": "low", "source": "probe"}
CASE = {"title": "Beacon", "severity": "low"}


@pytest.fixture
def analyst(transactional_db) -> ApiClient:
    client = ApiClient("analyst")
    assert client.call("GET", "/alerts").status_code == 200
    return client


@pytest.fixture
def read_only(analyst: ApiClient) -> Iterator[ApiClient]:
    """The address stays, and what answers there takes no writes any more: a failover, as sessions see it."""
    name = connection.settings_dict["NAME"]
    _alter(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    _drop_sessions()
    yield analyst
    _alter(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    _drop_sessions()
    until(lambda: availability.database.standing.is_writable)


@pytest.fixture(scope="module")
def small_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server with few sessions."""
    folder = tmp_path_factory.mktemp("small")
    few = {"max_connections": "6", "superuser_reserved_connections": "0", "max_wal_senders": "0"}
    server = Postgres(folder / "postgres", locations.socket_dir(folder), few)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Any]], list[str]]:
    """What the log says why the server refuses; what an earlier test has had said may be said again."""
    monkeypatch.setattr(availability.database, "_named", {})
    return lambda lines: [line["reason"] for line in lines if line["event"] == "database_refuses"]


def test_a_read_that_is_swallowed_is_answered_where_nothing_stands_in(analyst, wire, settings):
    settings.DEGRADED_READS = "unavailable"
    wire.set(Wire.BLACK_HOLE)
    for path in ("/alerts", "/cases", "/stats", "/agents"):
        answer = analyst.call("GET", path)
        assert (answer.status_code, answer.json()["detail"]) == (503, DATABASE_UNAVAILABLE), path


def test_a_change_that_is_swallowed_is_refused_and_nothing_of_it_is_kept(analyst, wire):
    wire.set(Wire.BLACK_HOLE)
    answer = analyst.call("POST", "/cases", CASE)
    assert (answer.status_code, answer.json()["detail"], answer["Retry-After"]) == (503, DATABASE_UNAVAILABLE, "5")
    mend(wire)
    assert analyst.call("GET", "/cases").json()["items"] == []


def test_an_alert_that_is_swallowed_is_spooled(analyst, wire, own_spool):
    wire.set(Wire.BLACK_HOLE)
    answer = analyst.call("POST", "/alerts", ALERT)
    assert (answer.status_code, own_spool.standing().depth) == (202, 1)


def test_in_a_dry_run_what_a_person_delivers_is_not_spooled_either(analyst, wire, settings, own_spool):
    settings.MODE = "dry_run"
    wire.set(Wire.REFUSED)
    assert analyst.call("POST", "/alerts", ALERT).status_code == 503
    assert own_spool.standing().depth == 0


def test_a_probe_ends_although_the_server_never_answers(analyst, wire):
    wire.set(Wire.BLACK_HOLE)
    with pytest.raises(TimeoutError):
        availability._probe_default()


def test_a_kept_connection_that_has_ended_tells_of_the_outage_before_the_pool_looks_for_another(analyst, wire):
    connection.ensure_connection()
    kept = connection.connection
    wire.set(Wire.REFUSED)
    with pytest.raises(psycopg.OperationalError):
        _check(kept)
    assert not availability.database.standing.is_up


def test_a_kept_connection_that_was_ended_alone_tells_of_nothing(analyst, wire):
    connection.ensure_connection()
    wire.reset()
    with pytest.raises(psycopg.OperationalError):
        _check(connection.connection)
    assert availability.database.standing == availability.WELL


def test_one_that_became_read_only_is_still_read(read_only):
    assert read_only.call("POST", "/cases", CASE).status_code == 503
    answer = read_only.call("GET", "/cases")
    assert (answer.status_code, answer.json()["data_source"]) == (200, "database")
    assert "X-Aurora-Data-Source" not in answer


def test_one_that_became_read_only_takes_no_change_and_alerts_are_spooled(read_only, own_spool):
    for method, path, body in (("POST", "/cases", CASE), ("POST", "/iocs", {"type": "ip", "value": "203.0.113.9"})):
        answer = read_only.call(method, path, body)
        assert (answer.status_code, answer.json()["detail"]) == (503, DATABASE_UNAVAILABLE)
    assert read_only.call("POST", "/alerts", ALERT).status_code == 202
    assert own_spool.standing().depth == 1


def test_one_that_became_read_only_is_named_as_such(read_only):
    with structlog.testing.capture_logs() as lines:
        read_only.call("POST", "/cases", CASE)
        until(lambda: not availability.database.standing.is_writable)
    told = [line for line in lines if line["event"] == "database_standing"]
    assert [(line["is_up"], line["is_writable"], line["reason"]) for line in told] == [(True, False, "read-only")]
    mode = read_only.call("GET", "/system/mode").json()
    assert (mode["is_database_available"], mode["is_mutations_allowed"]) == (True, False)


def test_a_server_without_a_session_to_spare_is_named_as_such_and_is_not_away(small_postgres, named):
    """libpq keeps the SQLSTATE of a refused connection to itself: nothing but the words is left."""
    asked = Availability(lambda: _connects(small_postgres.conninfo()))
    with ExitStack() as opened, structlog.testing.capture_logs() as lines:
        error = _fill(small_postgres, opened)
        asked.report(error, while_connecting=True)
        asked.make_certain()
    assert availability.is_outage(error)  # who met it may come again
    assert asked.standing == availability.WELL
    assert named(lines) == ["too_many_connections"]


@pytest.mark.parametrize(
    ("changed", "reason"), [({"dbname": "none"}, "no_such_database"), ({"user": "nobody"}, "misconfigured")]
)
def test_a_server_that_does_not_know_us_is_named_as_such_and_away(small_postgres, named, changed, reason):
    settings = dict(changed)
    asked = Availability(lambda: _connects(make_conninfo(small_postgres.conninfo(), **settings)), every=0.01)
    with structlog.testing.capture_logs() as lines:
        asked.make_certain()
        assert not asked.standing.is_up
        settings.clear()  # mended
        until(lambda: asked.standing == availability.WELL)
    assert named(lines) == [reason]


def test_a_full_disk_is_named_as_such(transactional_db, named):
    with (
        structlog.testing.capture_logs() as lines,
        connection.cursor() as cursor,
        pytest.raises(Exception, match="disk"),
    ):
        cursor.execute("DO $$ BEGIN RAISE disk_full; END $$")
    assert named(lines) == ["disk_full"]
    assert availability.database.standing.is_up


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"),
        ("GET", "/health/ready"),
        ("GET", "/api/v1/alerts"),
        ("GET", "/api/v1/agents"),
        ("GET", "/api/v1/system/mode"),
        ("POST", "/api/v1/ws/ticket"),
    ],
)
def test_no_request_is_ready_to_wait_for_redis_longer_than_50_ms(analyst, monkeypatch, method, path):
    asked: list[Purpose] = []
    made = clients._client

    def spy(purpose: Purpose, url: str) -> Any:
        asked.append(purpose)
        return made(purpose, url)

    monkeypatch.setattr(clients, "_client", spy)
    assert analyst.generic(method, path, b"{}", content_type="application/json").status_code == 200
    assert max((purpose.value for purpose in asked), default=0.0) <= 0.05


def _alter(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(statement)


def _drop_sessions() -> None:
    """New ones see what was altered."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]


def _connects(address: str) -> bool:
    psycopg.connect(address).close()
    return True


def _fill(server: Postgres, opened: ExitStack) -> psycopg.Error:
    """Takes sessions until there is none left; how that is said."""
    while True:
        try:
            opened.enter_context(psycopg.connect(server.conninfo()))
        except psycopg.OperationalError as error:
            return error
