"""Intake while PostgreSQL is away: a receipt for what is on the disk, the same refusals as ever, and one alert for one delivery afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson
import pytest
import structlog
from django.core.management import call_command
from django.db import connection

from aurora.ids import new_id
from aurora.models import OutboxEvent
from aurora.resilience.spool import Entry, Spool
from cases import intake, spooling
from cases.draining import Drainer
from cases.models import Alert, IngestReceipt, IngestReject
from tests.cast import SENSOR, ApiClient
from tests.faults.conftest import mend
from tests.group import ROOT
from tests.proxy import Proxy, Wire
from tests.waiting import until

ALERT = {"title": "Beacon", "severity": "low", "source": "probe", "iocs": ["198.51.100.23"]}


@pytest.fixture
def sensor(transactional_db) -> ApiClient:
    """A program whose key was used while PostgreSQL was there."""
    client = ApiClient("api_service")
    assert client.call("GET", "/alerts").status_code == 200
    return client


def drain(spool: Spool) -> None:
    """Lets the worker run until the spool is empty."""
    stop = threading.Event()
    worker = threading.Thread(target=_run_and_close, args=(stop,))
    worker.start()
    try:
        until(lambda: spool.standing().depth == 0)
    finally:
        stop.set()
        worker.join()


def _run_and_close(stop: threading.Event) -> None:
    Drainer().run(stop)
    connection.close()


def _entry(title: str, **changes: Any) -> Entry:
    body = orjson.dumps(ALERT | {"title": title} | changes)
    return spooling.entry_of_records(source="generic", payload=body, content_type="", actor=SENSOR)[0]


def test_what_comes_while_it_is_away_is_taken_and_stored_later(sensor, wire, own_spool):
    wire.set(Wire.REFUSED)
    answers = [sensor.call("POST", "/alerts", ALERT), sensor.call("POST", "/ingest/generic", [ALERT, 7])]
    assert [answer.status_code for answer in answers] == [202, 202]
    bodies = [answer.json() for answer in answers]
    assert [(body["received"], body["spooled"], set(body)) for body in bodies] == [
        (1, 1, {"receipt", "received", "spooled"}),
        (2, 2, {"receipt", "received", "spooled"}),
    ]
    paths = [f"/ingest/receipts/{body['receipt']}" for body in bodies]
    assert [sensor.call("GET", path).json()["status"] for path in paths] == ["spooled", "spooled"]
    mend(wire)
    assert sensor.call("GET", paths[1]).json()["received"] == 2
    drain(own_spool)
    found = [sensor.call("GET", path).json() for path in paths]
    names = ("status", "received", "created", "merged", "ignored", "rejected")
    assert [tuple(item[name] for name in names) for item in found] == [
        ("stored", 1, 1, 0, 0, 0),
        ("stored", 2, 0, 1, 0, 1),
    ]
    assert (Alert.objects.get().count, IngestReject.objects.count()) == (2, 1)
    assert OutboxEvent.objects.filter(type="alert.created").exists()


@pytest.mark.parametrize(
    ("path", "body", "extra", "status"),
    [
        ("/alerts", {"title": "t"}, {}, 400),
        ("/alerts", b"{", {}, 400),
        ("/alerts", ALERT | {"iocs": ["no ioc"]}, {}, 400),
        ("/alerts", ALERT, {"HTTP_IDEMPOTENCY_KEY": "x" * 201}, 400),
        ("/alerts", ALERT, {"content_type": "text/xml"}, 415),
        ("/ingest/generic", b"", {}, 400),
        ("/ingest/generic", b"no json at all", {}, 400),
        ("/ingest/unheard-of", ALERT, {}, 404),
    ],
    ids=["field", "json", "ioc", "key", "media type", "empty", "unreadable", "source"],
)
def test_what_is_refused_is_refused_alike(sensor, wire, own_spool, path, body, extra, status):
    before = sensor.call("POST", path, body, **extra)
    wire.set(Wire.REFUSED)
    after = sensor.call("POST", path, body, **extra)
    assert (after.status_code, after.json()) == (before.status_code, before.json())
    assert (after.status_code, own_spool.standing().depth) == (status, 0)


def test_the_request_that_meets_the_failure_in_its_own_transaction_is_spooled(sensor, wire, own_spool, monkeypatch):
    """Cut between the commit and its confirmation: only the receipt tells that it is stored already."""
    committed = threading.Event()

    def lost(*arguments: Any, **options: Any) -> Any:
        stored = submit(*arguments, **options)
        wire.set(Wire.REFUSED)
        committed.set()
        connection.ensure_connection()
        Alert.objects.exists()  # as little as the confirmation of the commit, this is never answered
        return stored

    submit = intake.submit_alert
    monkeypatch.setattr(intake, "submit_alert", lost)
    answer = sensor.call("POST", "/alerts", ALERT)
    assert (answer.status_code, committed.is_set()) == (202, True)
    monkeypatch.undo()
    mend(wire)
    drain(own_spool)
    assert Alert.objects.get().count == 1
    assert sensor.call("GET", f"/ingest/receipts/{answer.json()['receipt']}").json()["status"] == "stored"


def test_one_idempotency_key_gives_one_alert_before_during_and_after(sensor, wire, own_spool):
    def post(key: str) -> Any:
        return sensor.call("POST", "/alerts", ALERT | {"title": key}, HTTP_IDEMPOTENCY_KEY=key)

    before = post("before")
    wire.set(Wire.REFUSED)
    during = [post("before"), post("during"), post("during")]
    assert [answer.status_code for answer in (before, *during)] == [201, 202, 202, 202]
    assert during[1].json() == during[2].json()
    assert during[2]["Idempotent-Replayed"] == "true"
    conflict = sensor.call("POST", "/alerts", ALERT, HTTP_IDEMPOTENCY_KEY="during")
    assert conflict.status_code == 409
    mend(wire)
    early = post("during")  # back, and the worker has not come to it yet
    drain(own_spool)
    assert (early.status_code, post("during").json()) == (201, early.json())
    assert sorted(Alert.objects.values_list("title", "count")) == [("before", 1), ("during", 1)]
    assert sensor.call("GET", f"/ingest/receipts/{during[0].json()['receipt']}").json()["ignored"] == 1


def test_a_key_spent_while_down_is_answered_alike_afterwards_and_refuses_another_request(sensor, wire, own_spool):
    wire.set(Wire.REFUSED)
    during = sensor.call("POST", "/alerts", ALERT, HTTP_IDEMPOTENCY_KEY="k")
    mend(wire)
    drain(own_spool)
    after = sensor.call("POST", "/alerts", ALERT, HTTP_IDEMPOTENCY_KEY="k")
    assert (after.status_code, after.json()) == (202, during.json())
    assert sensor.call("POST", "/alerts", ALERT | {"title": "u"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 409
    assert Alert.objects.get().count == 1


def test_another_request_under_a_key_of_before_is_refused_when_it_is_stored(sensor, wire, own_spool):
    sensor.call("POST", "/alerts", ALERT, HTTP_IDEMPOTENCY_KEY="k")
    wire.set(Wire.REFUSED)
    receipt = sensor.call("POST", "/alerts", ALERT | {"title": "u"}, HTTP_IDEMPOTENCY_KEY="k").json()["receipt"]
    mend(wire)
    drain(own_spool)
    assert sensor.call("GET", f"/ingest/receipts/{receipt}").json()["rejected"] == 1
    assert (Alert.objects.count(), IngestReject.objects.get().receipt) == (1, UUID(receipt))


def test_a_receipt_that_nobody_gave_is_missing_and_while_down_unknown(sensor, wire):
    path = f"/ingest/receipts/{new_id()}"
    assert sensor.call("GET", path).status_code == 404
    wire.set(Wire.REFUSED)
    assert sensor.call("GET", path).status_code == 503


def test_a_full_spool_says_so_and_when_to_come_again(sensor, wire, settings):
    settings.SPOOL_MAX_ENTRIES = 1
    wire.set(Wire.REFUSED)
    sensor.call("POST", "/alerts", ALERT)
    answer = sensor.call("POST", "/alerts", ALERT)
    assert (answer.status_code, answer.json(), answer["Retry-After"]) == (503, {"detail": "The spool is full"}, "30")


def test_it_is_stored_in_the_order_in_which_it_came_and_as_of_then(transactional_db, own_spool):
    entries = [_entry(f"alert {number}") for number in range(600)]
    for entry in entries:
        own_spool.put(entry)
    drain(own_spool)
    stored = list(Alert.objects.order_by("id").values_list("title", "first_seen"))
    assert sorted(moment for _, moment in stored) == [moment for _, moment in sorted(stored, key=_number)]
    assert Alert.objects.get(title="alert 0").first_seen == entries[0].accepted_at


def _number(row: tuple[str, Any]) -> int:
    return int(row[0].removeprefix("alert "))


def test_an_entry_stored_before_its_worker_was_killed_is_not_stored_again(transactional_db, own_spool):
    for title in ("a", "b"):
        own_spool.put(_entry(title))
    spooling.store(own_spool.oldest(at_most=1, size=1 << 20))  # committed; killed before it left the spool
    drain(own_spool)
    assert sorted(Alert.objects.values_list("title", "count")) == [("a", 1), ("b", 1)]
    assert IngestReceipt.objects.count() == 2


def test_poison_is_set_aside_by_name_and_the_others_pass(transactional_db, own_spool):
    good = [_entry(f"good {number}") for number in range(3)]
    poison = Entry(new_id(), spooling.ALERT, "s", "", b'{"title": 1}', 1, SENSOR, good[0].accepted_at)
    for entry in (good[0], poison, *good[1:]):
        own_spool.put(entry)
    drain(own_spool)
    assert Alert.objects.count() == 3
    assert (own_spool.standing().set_aside, own_spool.find(poison.receipt)) == (1, poison)
    assert spooling.receipt_data(poison.receipt)["status"] == "spooled"


def test_an_outage_while_draining_costs_no_entry_and_no_attempt(transactional_db, wire: Proxy, own_spool):
    for number in range(5):
        own_spool.put(_entry(f"alert {number}"))
    wire.set(Wire.REFUSED)
    stop = threading.Event()
    worker = threading.Thread(target=_run_and_close, args=(stop,))
    worker.start()
    try:
        until(lambda: _was_tried(own_spool))
        mend(wire)
        until(lambda: own_spool.standing().depth == 0)
    finally:
        stop.set()
        worker.join()
    assert (Alert.objects.count(), own_spool.standing().set_aside) == (5, 0)


def _was_tried(spool: Spool) -> bool:
    return bool(spool.oldest(at_most=1, size=1)[0].attempts)


def test_a_worker_killed_again_and_again_stores_each_delivery_once(transactional_db, own_spool, tmp_path):
    parameters = connection.get_connection_params()
    host = quote(parameters["host"], safe="")
    environment = os.environ | {
        "DATABASE_URL": f"postgresql://{parameters['user']}@/{parameters['dbname']}?host={host}",
        "AURORA_DATA_DIR": str(tmp_path),
    }
    entries = [_entry(f"alert {number}") for number in range(2_000)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(own_spool.put, entries))
    for killed_at in (100, None):
        command = [sys.executable, "manage.py", "work", "spool"]
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        try:
            until(lambda: own_spool.standing().depth == 0 if killed_at is None else Alert.objects.count() > killed_at)  # noqa: B023
        finally:
            worker.kill()
            worker.wait()
    assert Alert.objects.count() == len(entries)
    assert set(Alert.objects.values_list("count", flat=True)) == {1}
    assert set(IngestReceipt.objects.values_list("pk", flat=True)) == {entry.receipt for entry in entries}


def test_what_was_set_aside_is_stored_after_a_redrive(transactional_db, own_spool, capsys):
    own_spool.put(_entry("mended since"))
    own_spool.set_aside(own_spool.oldest(at_most=1, size=1)[0], "DataError")
    call_command("redrive", "--spool")
    assert capsys.readouterr().out == "1 taken up again\n"
    drain(own_spool)
    assert Alert.objects.get().title == "mended since"


def test_a_server_that_became_read_only_takes_no_alerts_either(sensor, own_spool):
    """As after a failover that left the address where it was."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    answer = sensor.call("POST", "/alerts", ALERT)
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
    assert (answer.status_code, own_spool.standing().depth) == (202, 1)
    drain(own_spool)
    assert Alert.objects.get().title == ALERT["title"]


def test_a_spool_that_cannot_be_used_for_a_while_ends_no_worker(transactional_db, own_spool, tmp_path, monkeypatch):
    monkeypatch.setattr("cases.draining.UNUSABLE_SECONDS", 0.01)
    in_the_way = tmp_path / "spool" / "intake.sqlite3"
    in_the_way.mkdir(parents=True)
    stop = threading.Event()
    worker = threading.Thread(target=_run_and_close, args=(stop,))
    with structlog.testing.capture_logs() as logs:
        worker.start()
        until(lambda: any(line["event"] == "spool_unusable" for line in logs))
    try:
        in_the_way.rmdir()
        own_spool.put(_entry("kept"))
        until(lambda: own_spool.standing().depth == 0)
    finally:
        stop.set()
        worker.join()
    assert Alert.objects.get().title == "kept"
