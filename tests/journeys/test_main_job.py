"""The main job, end to end, on the running product: an alert comes in, is investigated, and is watched live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import psutil
import pytest
import websockets

from aurora.embedded import drills
from tests.group import RunningGroup, eve
from tests.waiting import until

pytestmark = pytest.mark.group


@contextlib.asynccontextmanager
async def _socket(group: RunningGroup, channel: str) -> AsyncIterator[Any]:
    headers = {"Authorization": f"Bearer {group.token()}"}
    url = f"ws://127.0.0.1:{group.port}/api/v1/ws/{channel}"
    async with websockets.connect(url, additional_headers=headers) as socket:
        assert json.loads(await socket.recv())["type"] == "hello"
        yield socket


async def _frame(socket: Any, wanted: Callable[[dict[str, Any]], bool], seconds: float = 10.0) -> dict[str, Any]:
    """The first frame that is `wanted`; TimeoutError otherwise."""
    async with asyncio.timeout(seconds):
        while True:
            frame: dict[str, Any] = json.loads(await socket.recv())
            if wanted(frame):
                return frame


def _ended(api: httpx.Client, investigation_id: str) -> Any:
    def look() -> Any:
        body = api.get(f"/investigations/{investigation_id}").json()
        return body if body["status"] in ("completed", "partial", "failed") else None

    return until(look, 60, every=0.2)


async def test_an_eve_line_becomes_a_frame_an_investigation_and_a_row_in_the_console(group: RunningGroup):
    title = "ET MALWARE Journey Beacon Observed"
    async with _socket(group, "alerts") as alerts, _socket(group, "agent-thoughts") as thoughts:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {group.token()}"}) as http:
            answer = await http.post(f"{group.base}/api/v1/ingest/suricata", content=json.dumps(eve(title)))
            assert (answer.status_code, answer.json()["created"]) == (202, 1)
        created = await _frame(alerts, lambda frame: frame["data"].get("title") == title)
        assert (created["type"], created["data"]["severity"]) == ("alert.created", "high")
        alert_id = created["data"]["id"]
        thought = await _frame(thoughts, lambda frame: frame["data"].get("alert_id") == alert_id)
        assert thought["type"] == "agent.thought"
    with group.api() as api:
        investigation = api.get("/investigations", params={"alert_id": alert_id}).json()["items"][0]
        assert _ended(api, investigation["id"])["status"] == "completed"
        alert = api.get(f"/alerts/{alert_id}").json()
        assert alert["status"] == "investigating"
        timeline = api.get(f"/cases/{alert['case_id']}/timeline").json()["items"]
        assert {"security_analyst", "threat_hunter", "report_generator"} <= {entry["actor"] for entry in timeline}
    with contextlib.closing(group.console()) as browser:
        assert title in browser.get("/admin/cases/alert/").text


def test_files_of_mixed_events_are_fed_and_counted(group: RunningGroup, tmp_path, api):
    flow = {"event_type": "flow", "src_ip": "10.0.0.1", "timestamp": "2026-11-20T08:00:00.0+0000"}
    lines = [eve("ET SCAN Journey File"), flow, eve("ET SCAN Journey File"), {"event_type": "alert"}]
    path = tmp_path / "eve.json"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n{not json\n")
    done = group.run("ingest", "suricata", str(path))
    assert done.stdout.strip() == "5 received, 1 created, 1 merged, 1 ignored, 2 rejected"
    assert api.get("/alerts", params={"q": "Journey File"}).json()["items"][0]["count"] == 2


def test_standard_input_is_fed_too(group: RunningGroup):
    body = {"title": "From a pipe", "severity": "low", "source": "probe"}
    done = group.run("ingest", "generic", "-", stdin=json.dumps([body]))
    assert "1 created" in done.stdout, done.stderr


def test_a_missing_file_is_told_in_a_sentence(group: RunningGroup):
    done = group.run("ingest", "suricata", "nowhere.json")
    assert done.returncode == 1
    assert "nowhere.json: No such file or directory" in done.stderr


def test_wazuh_and_alertmanager_speak_their_own_formats(api):
    wazuh = {
        "timestamp": "2026-11-20T08:20:11.482+0000",
        "rule": {"level": 12, "description": "Journey: failures followed by a success.", "id": "40112"},
        "agent": {"id": "003", "name": "web-03", "ip": "10.20.30.41"},
        "full_log": "sshd: Accepted password for deploy from 198[.]51[.]100[.]7 port 50112",
        "data": {"srcip": "198.51.100.7", "dstuser": "deploy"},
    }
    firing = {"status": "firing", "labels": {"alertname": "JourneyDiskFull", "severity": "warning", "instance": "db-1"}}
    alertmanager = {"version": "4", "status": "firing", "alerts": [firing, firing | {"status": "resolved"}]}
    assert api.post("/ingest/wazuh", json=wazuh).json()["created"] == 1
    answer = api.post("/ingest/alertmanager", json=alertmanager).json()
    assert (answer["received"], answer["created"], answer["ignored"]) == (2, 1, 1)


def test_the_demo_story_was_loaded_and_investigated(api):
    assert api.get("/alerts").json()["total"] > 100
    until(lambda: any(i["requested_by"] == "orchestrator" for i in api.get("/investigations").json()["items"]))


def test_a_steady_flow_can_be_streamed(group: RunningGroup):
    done = group.run("stream_demo", "--rate", "200", "--count", "40", "--seed", "11")
    assert done.stdout.startswith("40 records"), done.stderr


def test_every_page_of_the_console_answers(group: RunningGroup):
    with contextlib.closing(group.console()) as browser:
        links = set(re.findall(r'href="(/admin/[a-z_]+/[a-z_]+/)"', browser.get("/admin/").text))
        assert len(links) >= 5
        assert {link: browser.get(link).status_code for link in links} == dict.fromkeys(links, 200)
        assert browser.get("/dashboard/").status_code == 200


@pytest.mark.parametrize("needle", ["manage.py work", "redis-server", "bin/postgres -D", "manage.py serve"])
def test_nothing_accepted_is_lost_when_a_part_is_killed(group: RunningGroup, needle: str):
    """The alert is acknowledged, the part dies at once; the group heals and the alert is investigated all the same."""
    with group.api() as api:
        body = {"title": f"Killed: {needle}", "severity": "high", "source": "journey", "iocs": ["198.51.100.99"]}
        alert = api.post("/alerts", json=body).json()
    group.kill(needle)

    def investigated() -> bool:
        try:
            with group.api() as api:
                items = api.get("/investigations", params={"alert_id": alert["id"]}).json()["items"]
                return bool(items) and items[0]["status"] in ("completed", "partial")
        except (httpx.HTTPError, KeyError):
            return False

    assert until(investigated, 60, every=0.25)


def test_an_alert_stored_while_redis_is_away_is_announced_when_it_is_back(group: RunningGroup, api):
    with drills.held_down(group.data_dir, "redis"):
        group.kill("redis-server")
        body = {"title": "While the bus was away", "severity": "high", "source": "journey"}
        answer = api.post("/alerts", json=body)
        assert answer.status_code == 201
    found = {"alert_id": answer.json()["id"]}
    until(lambda: api.get("/investigations", params=found).json().get("items"), 40, every=0.25)


def test_a_second_group_in_the_same_directory_is_refused(group: RunningGroup):
    done = group.run("up")
    assert done.returncode == 1
    assert "already runs" in done.stderr


def test_ctrl_c_leaves_nothing_and_the_next_start_finds_everything(tmp_path):
    running = RunningGroup(tmp_path / "data")
    try:
        running.start()
        running.stop()
        assert running.members() == []
        running.start()
        with running.api() as api:
            assert api.get("/alerts").json()["total"] > 100
    finally:
        running.stop()


def test_a_killed_supervisor_takes_everybody_with_it(tmp_path):
    running = RunningGroup(tmp_path / "data")
    running.start()
    assert running.process is not None
    psutil.Process(running.process.pid).kill()
    running.process.wait()
    until(lambda: not running.members(), 30, every=0.1)
