"""What callers see while PostgreSQL is away. A process of its own asks, one that never had a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from aurora.rest.problems import DATABASE_UNAVAILABLE

NOBODY_THERE = "postgresql://aurora@127.0.0.1:1/aurora"
KEY = {"X-API-Key": "aurora_key_" + "x" * 54}
CALLS: dict[str, tuple[str, str, dict[str, str], str]] = {
    "read": ("GET", "/api/v1/alerts", KEY, ""),
    "intake": ("POST", "/api/v1/ingest/suricata", KEY, "{}"),
    "sign-in": ("POST", "/api/v1/auth/token", {}, '{"username": "ana", "password": "correct-horse"}'),
    "live": ("GET", "/health/live", {}, ""),
    "ready": ("GET", "/health/ready", {}, ""),
}
SCRIPT = """
import json, sys, django
django.setup()
from django.test import Client
answers = {}
for name, (method, path, headers, body) in json.load(sys.stdin).items():
    answer = Client().generic(method, path, body, content_type="application/json", headers=headers)
    answers[name] = [answer.status_code, answer.json(), dict(answer.headers)]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    environment = {
        **os.environ,
        "DATABASE_URL": NOBODY_THERE,
        "DJANGO_SETTINGS_MODULE": "aurora.settings",
        # `testserver` is Django's test client.
        "AURORA_ALLOWED_HOSTS": "testserver",
    }
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, input=json.dumps(CALLS), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("call", ["read", "intake", "sign-in"])
def test_a_call_that_needs_it_gets_the_contracts_503(answers, call):
    status, body, headers = answers[call]
    assert (status, body, headers["Retry-After"]) == (503, {"detail": DATABASE_UNAVAILABLE}, "5")


def test_the_process_is_alive_and_serves_with_what_stands_in(answers):
    assert answers["live"][0] == 200
    status, body, _ = answers["ready"]
    assert (status, body["status"], body["checks"]["database"]["status"]) == (200, "degraded", "down")
    assert body["checks"]["redis"]["status"] == "up"
