"""What production adds: HTTPS, as told by the proxy that is trusted and by nobody else; a key that is whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from aurora import secret_key

ROOT = Path(__file__).resolve().parents[2]
PROXY = "192.0.2.1"


def _manage(data: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "AURORA_ENV": "production",
        "AURORA_DATA_DIR": str(data),
        "AURORA_SECRET_KEY": "fhh4-Lw8q_3oZk2vX9bnT1yQe7uRs6aPd5cGm0jHiKxVwBzN",
        "AURORA_ALLOWED_HOSTS": "soc.example.org",
        "AURORA_TRUSTED_PROXIES": PROXY,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment | changes, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def behind_a_proxy(settings: Any) -> None:
    """What `aurora.settings` sets in production once a proxy is trusted."""
    settings.TRUSTED_PROXIES = [PROXY]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 3600
    settings.ALLOWED_HOSTS = ["testserver"]


def test_djangos_own_checks_find_nothing_to_say_of_production(tmp_path):
    key = "fhh4-Lw8q_3oZk2vX9bnT1yQe7uRs6aPd5cGm0jHiKxVwBzN-more-of-it"
    done = _manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", AURORA_SECRET_KEY=key)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_production_starts_with_no_half_of_a_secret_key(tmp_path):
    done = _manage(tmp_path, "check")
    assert done.returncode != 0
    assert "at least 50 characters" in done.stderr


@pytest.mark.usefixtures("behind_a_proxy")
@pytest.mark.parametrize(
    ("peer", "said", "status"),
    [(PROXY, "https", 401), (PROXY, "http", 301), ("203.0.113.9", "https", 301), ("203.0.113.9", "http", 301)],
)
def test_only_the_proxy_says_that_a_call_came_by_https(peer, said, status):
    answer = Client().get("/api/v1/users/me", REMOTE_ADDR=peer, HTTP_X_FORWARDED_PROTO=said)
    assert answer.status_code == status
    assert ("Strict-Transport-Security" in answer.headers) == (status == 401)


@pytest.mark.usefixtures("behind_a_proxy")
def test_a_forwarded_host_is_not_ours():
    answer = Client().get("/api/v1/users/me", REMOTE_ADDR="203.0.113.9", HTTP_X_FORWARDED_HOST="evil.example")
    assert answer.headers["Location"] == "https://testserver/api/v1/users/me"


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path):
    key = secret_key.of_installation(tmp_path)
    assert len(key) >= 50
    assert secret_key.of_installation(tmp_path) == key
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


def test_an_empty_key_file_that_a_crash_left_is_replaced_aloud(tmp_path, capsys):
    (tmp_path / "secret_key").touch()
    key = secret_key.of_installation(tmp_path)
    assert len(key) >= 50
    assert "is empty" in capsys.readouterr().err
    assert secret_key.of_installation(tmp_path) == key


def test_what_a_crash_left_of_the_making_is_no_key(tmp_path):
    (tmp_path / "secret_key.new").write_text("half of a k")
    assert len(secret_key.of_installation(tmp_path)) >= 50


@pytest.mark.parametrize("is_empty", [True, False], ids=["an empty file", "none"])
def test_of_many_starts_at_once_one_makes_the_key(tmp_path, is_empty):
    if is_empty:
        (tmp_path / "secret_key").touch()
    code = "import sys, pathlib; from aurora import secret_key; print(secret_key.of_installation(pathlib.Path(sys.argv[1])))"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1
