"""The whole group while its PostgreSQL is stopped, killed and back: what is read, what is refused, who is let in."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from aurora.rest.problems import DATABASE_UNAVAILABLE
from tests.faults.outage import Outage, outage_of_a_group
from tests.waiting import until

READS = (
    "/alerts?limit=3",
    "/alerts?severity=high&status=new&q=powershell",
    "/alerts?technique=T1059.001&since=2020-01-01T00:00:00Z",
    "/cases",
    "/iocs?type=ip",
    "/iocs/lookup?value=203.0.113.77",
    "/investigations",
    "/agents",
    "/playbooks",
    "/executions",
    "/approvals?status=pending",
    "/connectors",
    "/stats",
)
WRITES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/cases", {"title": "Nothing of it is kept"}),
    ("POST", "/auth/api-keys", {"name": "minted while down", "role": "viewer"}),
    ("POST", "/ws/ticket", {}),
    ("POST", "/orchestrator/dispatch", {"agent_type": "threat_intel", "prompt": "who is 203.0.113.77"}),
)
PAGES = (
    "/admin/",
    "/admin/cases/alert/",
    "/admin/cases/case/",
    "/admin/cases/ioc/",
    "/admin/agents/investigation/",
    "/admin/agents/agent/",
    "/admin/agents/playbook/",
    "/admin/agents/execution/",
    "/admin/agents/approval/",
    "/admin/agents/connector/",
    "/dashboard/",
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage]:
    with outage_of_a_group(tmp_path_factory.mktemp("down") / "data") as outage:
        yield outage


@pytest.fixture
def outage(running: Outage) -> Iterator[Outage]:
    """PostgreSQL stands still, and nobody has noticed yet."""
    running.send(signal.SIGSTOP)
    yield running
    running.end()


def test_the_very_read_that_meets_the_failure_is_answered_and_says_from_what(outage):
    answer = outage.api.get("/alerts?limit=3")
    assert (answer.status_code, answer.headers["X-Aurora-Data-Source"]) == (200, "demo")
    body = answer.json()
    assert body["data_source"] == "demo"
    assert [row["is_demo"] for row in body["items"]] == [True] * 3


def test_lists_filters_and_single_rows_are_read_from_the_showcase(outage):
    for path in READS:
        answer = outage.api.get(path)
        assert (answer.status_code, answer.headers["X-Aurora-Data-Source"]) == (200, "demo"), path
    first = outage.api.get("/alerts?limit=2").json()
    second = outage.api.get("/alerts", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert not {row["id"] for row in first["items"]} & {row["id"] for row in second["items"]}
    detail = outage.api.get(f"/alerts/{first['items'][0]['id']}").json()
    assert (detail["title"], detail["is_demo"]) == (first["items"][0]["title"], True)


def test_the_showcase_tells_of_playbooks_their_runs_and_what_waits_for_somebody(outage):
    for path in ("/playbooks", "/executions", "/approvals?status=pending", "/connectors"):
        assert outage.api.get(path).json()["items"], path
    run = outage.api.get("/executions?status=awaiting_approval").json()["items"][0]
    detail = outage.api.get(f"/executions/{run['id']}").json()
    assert "awaiting_approval" in [step["status"] for step in detail["steps"]]
    assert outage.console.get(f"/admin/agents/execution/{run['id']}/change/").status_code == 200


def test_no_real_row_is_among_them_and_nothing_leaves_the_house(outage):
    cases = outage.api.get("/cases").json()["items"]
    assert outage.title not in {case["title"] for case in cases}
    for path in (f"/cases/{cases[0]['id']}/report?format=md", "/feeds/blocklist?type=ip", "/audit"):
        assert outage.api.get(path).status_code == 503, path


def test_what_changes_is_refused_with_the_contracts_503(outage):
    for method, path, body in WRITES:
        answer = outage.api.request(method, path, json=body)
        assert (answer.status_code, answer.json()) == (503, {"detail": DATABASE_UNAVAILABLE}), path
        assert answer.headers["Retry-After"] == "5"


def test_parts_of_a_case_are_read_and_neither_added_nor_handed_out(outage):
    case = f"/cases/{outage.api.get('/cases').json()['items'][0]['id']}"
    for part in ("tasks", "evidence"):
        page = outage.api.get(f"{case}/{part}")
        assert (page.status_code, page.json()["data_source"]) == (200, "demo")
    refused = [
        outage.api.get(f"{case}/evidence/{uuid4()}/content"),
        outage.api.post(f"{case}/evidence", files={"file": ("a.bin", b"content")}),
        outage.api.post(f"{case}/tasks", json={"title": "Nothing of it is kept"}),
        outage.api.post(f"{case}/merge", json={"into": str(uuid4())}),
    ]
    assert {answer.status_code for answer in refused} == {503}
    assert all(answer.json() == {"detail": DATABASE_UNAVAILABLE} for answer in refused)


def test_nobody_signs_in_and_strangers_stay_out(outage):
    sign_in = {"username": "admin", "password": "whatever it is"}
    assert outage.stranger.post("/api/v1/auth/token", json=sign_in).status_code == 503
    assert outage.stranger.get("/api/v1/alerts").status_code == 401
    forged = outage.stranger.get("/api/v1/alerts", headers={"Authorization": "Bearer x.y.z"})
    assert forged.status_code == 401
    unknown = outage.stranger.get("/api/v1/alerts", headers={"X-API-Key": "aurora_key_" + "x" * 54})
    assert unknown.status_code == 503
    assert outage.stranger.get("/admin/cases/alert/").headers["Location"].startswith("/admin/login/")
    assert "Nobody can sign in until it is back" in outage.stranger.get("/admin/login/").text


def test_keys_that_were_good_read_and_deliver(outage):
    assert outage.sensor.get("/alerts").json()["data_source"] == "demo"
    alert = {"title": "Delivered meanwhile", "severity": "low", "source": "probe"}
    assert outage.sensor.post("/alerts", json=alert).status_code == 202


def test_the_console_keeps_its_user_says_how_things_stand_and_changes_nothing(outage):
    for path in PAGES:
        page = outage.console.get(path)
        assert (page.status_code, page.headers["X-Aurora-Data-Source"]) == (200, "demo"), path
        assert "Database is away since" in page.text, path
    adding = outage.console.get("/admin/agents/connector/add/")
    assert (adding.status_code, "The database is unavailable" in adding.text) == (503, True)
    alert = outage.api.get("/alerts?limit=1").json()["items"][0]["id"]
    page = outage.console.get(f"/admin/cases/alert/{alert}/change/")
    assert page.status_code == 200
    assert "/do/acknowledge/" not in page.text
    form = {"csrfmiddlewaretoken": outage.console.cookies["aurora_csrf"]}
    referer = {"Referer": f"{outage.group.base}/admin/"}
    pressed = outage.console.post(f"/admin/cases/alert/{alert}/do/acknowledge/", data=form, headers=referer)
    assert (pressed.status_code, "Nothing was changed" in pressed.text) == (503, True)


def test_claims_are_of_no_use_without_their_session(outage):
    claims = outage.console.cookies["aurora_claims"]
    other = {"aurora_claims": claims, "aurora_session": "a" * 32}
    assert httpx.get(f"{outage.group.base}/admin/", cookies=other).status_code == 302
    assert httpx.get(f"{outage.group.base}/admin/", cookies={"aurora_claims": claims}).status_code == 302


def test_the_mode_says_it_all(outage):
    outage.api.get("/alerts")
    mode = outage.api.get("/system/mode").json()
    assert (mode["is_database_available"], mode["is_mutations_allowed"]) == (False, False)
    assert (mode["read_data_source"], mode["uses_showcase_data"]) == ("demo", True)
    assert mode["degraded_since"]
    assert outage.stranger.get("/health/live").status_code == 200
    assert outage.stranger.get("/health/ready").json()["checks"]["database"]["status"] == "down"
    assert outage.stranger.get("/metrics").status_code == 200


def test_who_watches_is_told_and_told_again_when_it_is_back(running):
    """Nobody asks anything of the web process meanwhile: a worker that loses PostgreSQL gives the word."""
    token = running.api.headers["Authorization"]
    address = running.group.base.replace("http", "ws", 1) + "/api/v1/ws/system"
    with connect(address, additional_headers={"Authorization": token}) as socket:
        assert json.loads(socket.recv(10))["type"] == "hello"
        running.send(signal.SIGSTOP)
        try:
            away = _mode_of(socket)
        finally:
            running.send(signal.SIGCONT)
        assert (away["is_database_available"], away["read_data_source"]) == (False, "demo")
        assert "Changes are refused" in away["summary"]
        back = _mode_of(socket)
        assert (back["is_database_available"], back["summary"]) == (True, "")
    until(running.is_over)


def _mode_of(socket: ClientConnection) -> dict[str, Any]:
    while True:
        frame = json.loads(socket.recv(20))
        if frame["type"] == "mode.changed":
            data: dict[str, Any] = frame["data"]
            return data


def test_after_a_kill_everything_comes_back_by_itself(running, tmp_path: Path):
    running.send(signal.SIGKILL)
    assert running.api.get("/cases").json()["data_source"] == "demo"
    until(running.is_over, 30)
    answer = running.api.get("/cases")
    assert (answer.json()["data_source"], "X-Aurora-Data-Source" in answer.headers) == ("database", False)
    assert running.title in {case["title"] for case in answer.json()["items"]}
    assert running.console.get("/admin/cases/alert/").status_code == 200
    assert '"status": 500' not in running.group.log_path.read_text()
