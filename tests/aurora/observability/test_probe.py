"""The health checks of the containers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import redis

from aurora.bus import streams
from aurora.observability import probe
from aurora.resilience.spool import Spool


class Web(BaseHTTPRequestHandler):
    """A web process that lets in one name only, as Django's host check does."""

    def do_GET(self) -> None:
        is_let_in = self.path == "/health/live" and self.headers["Host"] == "soc.example.org"
        self.send_response(200 if is_let_in else 400)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def web(monkeypatch) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Web)
    monkeypatch.setenv("AURORA_HOST", "0.0.0.0")
    monkeypatch.setenv("AURORA_PORT", str(server.server_port))
    Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def worker(redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> redis.Redis:
    monkeypatch.setenv("REDIS_URL", redis_url)
    redis_client.xgroup_create(streams.ALERTS, "orchestrator", id="0", mkstream=True)
    return redis_client


@pytest.mark.parametrize("hosts", ["soc.example.org", ".soc.example.org, 10.0.0.1"])
def test_a_web_process_that_answers_is_well(web, monkeypatch, hosts):
    monkeypatch.setenv("AURORA_ALLOWED_HOSTS", hosts)
    assert probe.main(["web"]) == 0


def test_a_web_process_that_refuses_is_not_well(web, monkeypatch):
    monkeypatch.setenv("AURORA_ALLOWED_HOSTS", "other.example.org")
    assert probe.main(["web"]) == 1


def test_no_web_process_is_not_well(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        monkeypatch.setenv("AURORA_PORT", str(unused.getsockname()[1]))
    assert probe.main(["web"]) == 1


def test_workers_that_ask_for_work_are_well(worker):
    worker.xgroup_createconsumer(streams.ALERTS, "orchestrator", f"{socket.gethostname()}:7:ab")
    assert probe.main(["work"]) == 0


def test_workers_of_another_machine_say_nothing_about_ours(worker):
    worker.xgroup_createconsumer(streams.ALERTS, "orchestrator", "elsewhere:7:ab")
    assert probe.main(["work"]) == 1


def test_workers_that_fell_silent_are_not_well(worker, monkeypatch):
    worker.xgroup_createconsumer(streams.ALERTS, "orchestrator", f"{socket.gethostname()}:7:ab")
    monkeypatch.setattr(probe, "SILENT_SECONDS", 0)
    assert probe.main(["work"]) == 1


def test_workers_are_not_blamed_for_redis(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert probe.main(["work"]) == 0


def test_a_spool_that_somebody_drains_is_well(tmp_path, monkeypatch):
    monkeypatch.setenv("AURORA_DATA_DIR", str(tmp_path))
    assert probe.main(["spool"]) == 1
    with Spool(tmp_path / "spool").draining():
        assert probe.main(["spool"]) == 0
    assert probe.main(["spool"]) == 1
