"""The database engine on a PostgreSQL of its own that is killed, stopped and made read-only. A process of its own asks it from many threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from aurora.embedded import locations
from aurora.embedded.servers import Postgres
from tests.group import ROOT
from tests.waiting import until

ASKER = """
import json, sys, threading, time
import django
django.setup()
from django.db import connection
from aurora.resilience import availability

def ask(statement):
    began = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            outcome = "answered"
    except Exception as error:
        outcome = type(error).__name__
    connection.close()
    return [outcome, time.monotonic() - began]

for line in sys.stdin:
    order = json.loads(line)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(order["statement"]))) for _ in range(order["threads"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    standing = availability.database.standing
    print(json.dumps({"answers": answers, "up": standing.is_up, "writable": standing.is_writable}), flush=True)
"""


class Asker:
    """A process with the product's settings that runs a statement in as many threads as it is told."""

    def __init__(self, data_dir: Path) -> None:
        ours = ("AURORA_", "DATABASE_URL", "REDIS_URL")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment = clean | {"AURORA_DATA_DIR": str(data_dir), "DJANGO_SETTINGS_MODULE": "aurora.settings"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ASKER],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, statement: str = "SELECT 1", threads: int = 1) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"statement": statement, "threads": threads}) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def outcomes(self, statement: str = "SELECT 1", threads: int = 1) -> set[str]:
        return {outcome for outcome, _ in self.ask(statement, threads)["answers"]}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def postgres(data_dir: Path) -> Iterator[Postgres]:
    server = Postgres(data_dir / "postgres", locations.socket_dir(data_dir))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def process(postgres: Postgres, data_dir: Path) -> Iterator[Asker]:
    asker = Asker(data_dir)
    yield asker
    asker.process.kill()
    asker.process.communicate()


@pytest.fixture
def asker(process: Asker) -> Asker:
    """Finds the server there and well."""
    until(lambda: process.ask()["writable"])
    assert process.outcomes() == {"answered"}
    return process


def _processes(data_dir: Path) -> list[psutil.Process]:
    pid = int(next((data_dir / "postgres").rglob("postmaster.pid")).read_text().split()[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


def _send(data_dir: Path, number: signal.Signals) -> None:
    for process in _processes(data_dir):
        process.send_signal(number)


def test_a_killed_server_refuses_everybody_and_is_found_again(asker, postgres, data_dir):
    _send(data_dir, signal.SIGKILL)
    assert asker.outcomes(threads=60) <= {"DatabaseUnavailable", "OperationalError"}
    assert asker.ask()["up"] is False
    assert asker.outcomes(threads=60) == {"DatabaseUnavailable"}
    assert postgres.process is not None
    postgres.process.wait()  # it is our child, and a zombie until then
    postgres.start()
    until(lambda: asker.ask()["up"])
    assert asker.outcomes(threads=60) == {"answered"}


def test_a_stopped_server_holds_no_thread(asker, data_dir):
    _send(data_dir, signal.SIGSTOP)
    try:
        answer = asker.ask(threads=60)
    finally:
        _send(data_dir, signal.SIGCONT)
    assert {outcome for outcome, _ in answer["answers"]} <= {"DatabaseUnavailable", "OperationalError"}
    assert answer["up"] is False
    until(lambda: asker.ask()["up"])
    assert asker.outcomes(threads=60) == {"answered"}


def test_a_slow_statement_is_left_to_its_limit(asker):
    answer = asker.ask("SELECT pg_sleep(2)")
    assert (answer["answers"][0][0], answer["up"]) == ("answered", True)


def test_one_session_that_is_ended_is_no_outage(asker, data_dir):
    with psycopg.connect(locations.database_url(data_dir), autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    answer = asker.ask()
    assert answer["up"] is True
    assert asker.outcomes() == {"answered"}


def test_a_restart_between_two_requests_is_met_by_neither(asker, postgres):
    postgres.stop()
    postgres.start()
    assert asker.outcomes(threads=30) == {"answered"}
    assert asker.ask()["up"] is True


def test_a_server_that_became_read_only_is_read_and_not_written(asker, data_dir):
    asker.ask("CREATE TABLE IF NOT EXISTS kept (id int)")
    with psycopg.connect(locations.database_url(data_dir), autocommit=True) as other:
        other.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        other.execute("SELECT pg_reload_conf()")
    until(lambda: asker.outcomes("INSERT INTO kept VALUES (1)") == {"InternalError"})
    answer = asker.ask()
    assert (answer["answers"][0][0], answer["up"], answer["writable"]) == ("answered", True, False)
    with psycopg.connect(locations.database_url(data_dir), autocommit=True) as other:
        other.execute("SET default_transaction_read_only = off")
        other.execute("ALTER SYSTEM RESET default_transaction_read_only")
        other.execute("SELECT pg_reload_conf()")
    until(lambda: asker.ask()["writable"])


def test_a_statement_that_fails_by_itself_is_no_outage(asker):
    assert asker.outcomes("SELECT 1/0") == {"DataError"}
    assert asker.outcomes("SELECT * FROM no_such_table") == {"ProgrammingError"}
    assert asker.ask()["up"] is True
