"""The whole group while Redis is stopped or killed, and while PostgreSQL is away as well: what goes on, what waits, what is said of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.faults.outage import Outage, outage_of_a_group
from tests.waiting import until

READS = ("/alerts", "/cases", "/iocs", "/investigations", "/agents", "/playbooks", "/stats", "/system/mode")
PAGES = ("/admin/", "/admin/cases/alert/", "/dashboard/")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage]:
    with outage_of_a_group(tmp_path_factory.mktemp("both") / "data") as outage:
        yield outage
        assert '"status": 500' not in outage.group.log_path.read_text()


@pytest.fixture
def no_redis(running: Outage) -> Iterator[Outage]:
    """Redis stands still."""
    frozen = running.redis()
    running.send_to(frozen, signal.SIGSTOP)
    yield running
    running.send_to(frozen, signal.SIGCONT)
    until(lambda: _has_bus(running))


@pytest.fixture
def neither(no_redis: Outage) -> Iterator[Outage]:
    """PostgreSQL stands still as well."""
    no_redis.send(signal.SIGSTOP)
    yield no_redis
    no_redis.end()


def test_without_redis_all_is_read_and_written_as_ever(no_redis):
    for path in READS:
        answer = no_redis.api.get(path)
        assert (answer.status_code, "X-Aurora-Data-Source" in answer.headers) == (200, False), path
    for page in PAGES:
        assert no_redis.console.get(page).status_code == 200, page
    alert = {"title": "Stored while Redis stands still", "severity": "low", "source": "probe"}
    stored = no_redis.sensor.post("/alerts", json=alert)
    assert stored.status_code == 201
    closed = no_redis.api.patch(f"/alerts/{stored.json()['id']}", json={"status": "resolved"})
    assert (closed.status_code, closed.json()["status"]) == (200, "resolved")
    assert no_redis.api.post("/cases", json={"title": "Opened without Redis", "severity": "low"}).status_code == 201


def test_without_redis_probes_metrics_and_mode_say_so(no_redis):
    ready = no_redis.stranger.get("/health/ready")
    body = ready.json()
    assert (ready.status_code, body["status"], body["checks"]["redis"]["status"]) == (200, "degraded", "down")
    assert no_redis.stranger.get("/health/live").status_code == 200
    metrics = no_redis.stranger.get("/metrics")
    assert (metrics.status_code, "aurora_spool_depth" in metrics.text) == (200, True)
    assert "aurora_bus_pending" not in metrics.text
    mode = no_redis.api.get("/system/mode").json()
    assert (mode["is_bus_available"], mode["is_database_available"], mode["is_mutations_allowed"]) == (
        False,
        True,
        True,
    )


def test_without_redis_people_still_sign_in_and_tickets_are_refused_for_now(no_redis):
    assert no_redis.group.token()
    answer = no_redis.api.post("/ws/ticket", json={})
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)


def test_what_happened_without_redis_is_told_when_it_is_back(running):
    with _socket(running, "alerts") as socket:
        frozen = running.redis()
        running.send_to(frozen, signal.SIGSTOP)
        try:
            body = {"title": "Told later", "severity": "low", "source": "probe"}
            stored = running.sensor.post("/alerts", json=body).json()
        finally:
            running.send_to(frozen, signal.SIGCONT)
        assert _until_frame(socket, "alert.created")["id"] == stored["id"]


def test_a_redis_that_is_killed_fails_nobody(running):
    before = {process.pid for process in running.redis()}
    running.send_to(running.redis(), signal.SIGKILL)
    while not {process.pid for process in running.redis()} - before:  # until the supervisor has started another
        body = {"title": "Stored without Redis", "severity": "low", "source": "probe"}
        assert running.sensor.post("/alerts", json=body).status_code in (200, 201)
        assert running.api.get("/alerts?limit=2").json()["data_source"] == "database"
    until(lambda: _has_bus(running))
    until(lambda: running.api.get("/system/mode").json()["outbox_depth"] == 0)


def test_without_both_reads_come_from_the_stand_in_and_changes_are_refused(neither):
    for path in READS:
        answer = neither.api.get(path)
        assert (answer.status_code, answer.headers["X-Aurora-Data-Source"]) == (200, "demo"), path
    for page in PAGES:
        assert neither.console.get(page).status_code == 200, page
    refused = neither.api.post("/cases", json={"title": "Nothing of it is kept", "severity": "low"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")


def test_without_both_it_is_known_who_may_come_in(neither):
    assert neither.api.get("/users/me").status_code == 200
    assert neither.sensor.get("/alerts").status_code == 200
    assert neither.stranger.get("/api/v1/alerts").status_code == 401
    sign_in = {"username": "admin", "password": "whatever it is"}
    assert neither.stranger.post("/api/v1/auth/token", json=sign_in).status_code == 503


def test_without_both_probes_and_metrics_answer_and_name_them(neither):
    assert neither.api.get("/alerts").status_code == 200  # who has met it knows
    ready = neither.stranger.get("/health/ready")
    checks = {name: check["status"] for name, check in ready.json()["checks"].items()}
    assert (ready.status_code, checks) == (200, {"database": "down", "redis": "down"})
    assert neither.stranger.get("/health/live").status_code == 200
    assert neither.stranger.get("/metrics").status_code == 200
    mode = neither.api.get("/system/mode").json()
    assert (mode["is_database_available"], mode["is_bus_available"]) == (False, False)


def test_without_both_alerts_are_spooled_and_sockets_stay_until_all_is_back_and_told(running):
    with _socket(running, "alerts") as socket:
        frozen = running.redis()
        running.send_to(frozen, signal.SIGSTOP)
        running.send(signal.SIGSTOP)
        try:
            body = {"title": "Spooled without both", "severity": "low", "source": "probe"}
            answer = running.sensor.post("/alerts", json=body)
            assert answer.status_code == 202
            receipt = f"/ingest/receipts/{answer.json()['receipt']}"
            assert running.sensor.get(receipt).json()["status"] == "spooled"
            assert socket.ping().wait(20)
        finally:
            running.send_to(frozen, signal.SIGCONT)
            running.end()
        until(lambda: running.sensor.get(receipt).json()["status"] == "stored", 30)
        # What earlier tests left behind may be told first.
        while _until_frame(socket, "alert.created")["title"] != body["title"]:
            pass


def _has_bus(running: Outage) -> bool:
    try:
        return bool(running.api.get("/system/mode").json()["is_bus_available"])
    except httpx.TransportError:
        return False


def _socket(running: Outage, channel: str) -> ClientConnection:
    address = f"{running.group.base.replace('http', 'ws', 1)}/api/v1/ws/{channel}"
    return connect(address, additional_headers={"Authorization": str(running.api.headers["Authorization"])})


def _until_frame(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        frame = json.loads(socket.recv(30))
        if frame["type"] == kind:
            data: dict[str, Any] = frame["data"]
            return data
