"""`manage.py drill` against the running group."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx
import pytest

from tests.group import ROOT, RunningGroup

pytestmark = pytest.mark.group


@pytest.mark.parametrize("part", ["postgres", "worker"])
def test_a_drill_takes_a_part_down_and_loses_nothing(group: RunningGroup, part):
    done = group.run("drill", part, "--seconds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, doubled 0, answers that were none of the contract's 0" in done.stdout


def test_a_drill_kills_an_agents_process_and_leaves_the_agent_as_it_was(group: RunningGroup, api: httpx.Client):
    for agent in api.get("/agents").json()[
        "items"
    ]:  # the one that is drilled is tried again soon after it opened its breaker
        api.patch(f"/agents/{agent['agent_type']}", json={"reset_timeout": 1}).raise_for_status()
    before = _configured(api)
    done = group.run("drill", "agent", "--seconds", "8", seconds=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, doubled 0, answers that were none of the contract's 0" in done.stdout
    assert _configured(api) == before
    assert not group.members("serve_agent")
    states = {agent["breaker"]["state"] for agent in api.get("/agents").json()["items"]}
    assert states == {"closed"}


def _configured(api: httpx.Client) -> list[tuple[str, str, str | None]]:
    agents = api.get("/agents").json()["items"]
    return [(agent["agent_type"], agent["transport"], agent["endpoint"]) for agent in agents]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/aurora"}, "not embedded"),
        ({}, "up` first"),
        (
            {
                "AURORA_ENV": "production",
                "AURORA_SECRET_KEY": "x" * 50,
                "AURORA_ALLOWED_HOSTS": "soc.example",
                "DATABASE_URL": "postgresql://127.0.0.1:1/aurora",
                "REDIS_URL": "redis://127.0.0.1:1/0",
            },
            "production",
        ),
    ],
    ids=["a server that is not ours", "nothing running", "production"],
)
def test_a_drill_is_refused_where_it_is_not_its_place(tmp_path, changes, complaint):
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {"AURORA_DATA_DIR": str(tmp_path), "AURORA_LOG_FORMAT": "console"} | changes
    command = [sys.executable, "manage.py", "drill", "postgres"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr
