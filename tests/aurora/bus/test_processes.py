"""Workers as processes: started, stopped, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import StringIO
from urllib.parse import quote

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from aurora.bus import outbox, registry
from aurora.bus.relay import Relay
from aurora.management.commands import work
from aurora.models import AuditEntry, DeadLetter, OutboxEvent
from tests.aurora.bus.conftest import CLAIM_SECONDS, registered
from tests.aurora.bus.scene import (
    STREAM,
    TYPE,
    Stumbling,
    announce,
    announce_things,
    effects,
    effects_in_order,
    is_finished,
    published,
)
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def _process(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A Python process on the test's own servers; killed at the end if it still runs, with those it began."""
    parameters = connection.get_connection_params()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "aurora.settings",
            "DATABASE_URL": f"postgresql://{parameters['user']}@/{parameters['dbname']}"
            f"?host={quote(parameters['host'], safe='')}",
            "AURORA_BUS_CLAIM_SECONDS": str(CLAIM_SECONDS * 2),
        }
        | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_2000_events_have_one_effect_each_although_a_worker_is_killed(start, redis_client):
    events = [outbox.Event(STREAM, TYPE, f"thing:{number % 50}", {}) for number in range(2_000)]
    with transaction.atomic():
        outbox.announce_all(events)
    start(Relay())
    program = ["-m", "tests.aurora.bus.effect_worker"]
    with _process(*program) as victim, _process(*program) as survivor:
        for process in (victim, survivor):
            assert process.stdout
            assert process.stdout.readline() == "started\n"
        until(lambda: AuditEntry.objects.count() > 300)
        victim.kill()
        until(lambda: not OutboxEvent.objects.exists() and is_finished(redis_client), seconds=180)
    assert effects() == {str(event.id): 1 for event in events}


def test_each_things_events_are_handled_in_their_order_by_eight_workers_of_which_three_are_killed(
    start, redis_client, monkeypatch
):
    """Each of them fails now and then. What fails comes again until it succeeds, so nothing is buried."""
    monkeypatch.setattr(registry, "_factories", {"stumbling": Stumbling})
    things = [str(number) for number in range(40)]
    announced = announce_things(*things * 25)
    start(Relay())
    program = ["-m", "tests.aurora.bus.effect_worker", "stumbling", "8"]
    with _process(*program, environment={"AURORA_BUS_MAX_DELIVERIES": "1000"}) as first:
        assert first.stdout
        workers = [int(pid) for pid in first.stdout.readline().split()]
        for victim, handled in zip(workers, (150, 400, 650), strict=False):
            _until_handled(handled)
            os.kill(victim, signal.SIGKILL)
        _until_handled(1_000)
        until(lambda: is_finished(redis_client))
    for place, thing in enumerate(things):
        assert effects_in_order(thing) == announced[place :: len(things)]
    assert not DeadLetter.objects.exists()


def _until_handled(count: int) -> None:
    until(lambda: sum(effects().values()) >= count, seconds=180)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_work_runs_until_it_is_told_to_stop_and_ends_cleanly(redis_client, sent):
    with _process("manage.py", "work", "relay", "scheduler") as process:
        announce()
        until(lambda: published(redis_client))
        process.send_signal(sent)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    assert "work_stopped" in output


def test_an_unknown_worker_is_refused_with_the_names_that_there_are():
    with pytest.raises(CommandError, match=r"no worker is named spoon, fork; there are: .*relay.*scheduler"):
        call_command("work", "spoon", "relay", "fork", stdout=StringIO())


def test_the_relay_and_the_scheduler_are_registered():
    assert {"relay", "scheduler"} <= set(registry.names())


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="relay"):
        registry.register("relay", Noop)


class Noop:
    def run(self, stop: threading.Event) -> None:
        stop.wait()


class Dying:
    """Dies twice, then lives."""

    lives: int

    def __init__(self, deaths: list[str]) -> None:
        self.deaths = deaths

    def run(self, stop: threading.Event) -> None:
        if len(self.deaths) < 2:
            self.deaths.append("died")
            raise RuntimeError("out of luck")
        self.deaths.append("lives")
        stop.wait()


def test_a_worker_that_dies_is_logged_and_started_again(events):
    deaths: list[str] = []
    stop = threading.Event()
    with registered("dying", lambda: Dying(deaths)):
        thread = threading.Thread(target=work.keep_running, args=("dying", stop))
        thread.start()
        until(lambda: "lives" in deaths)
        stop.set()
        thread.join(5)
    assert [line["worker"] for line in events("worker_died")] == ["dying", "dying"]
