"""What an error of the database says, and what the process makes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import InternalError, OperationalError, connection
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout

from aurora.resilience import availability as availability_module
from aurora.resilience.availability import WELL, Availability, DatabaseUnavailable, Sign, Standing, is_outage, sign_of
from tests.names import unresolved
from tests.waiting import until


class Server:
    """What the probe finds; `answer` is True, False (read-only) or the error of the driver."""

    def __init__(self, answer: bool | Exception = True) -> None:
        self.answer, self.asked = answer, 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def probe(self) -> bool:
        self.asked += 1
        self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


REFUSED = psycopg.OperationalError("connection refused")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def availability(server: Server) -> Any:
    made = Availability(server.probe, every=0.01)
    yield made
    server.answer = True
    server.may_answer.set()
    until(lambda: made.standing == WELL)


def wrapped(error: psycopg.Error, kind: type[Exception] = OperationalError) -> Exception:
    outer = kind("as Django raises it")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "sign"),
    [
        (errors.ConnectionFailure(), Sign.MAYBE_AWAY),
        (errors.AdminShutdown(), Sign.MAYBE_AWAY),
        (errors.CannotConnectNow(), Sign.AWAY),
        (errors.ReadOnlySqlTransaction(), Sign.READ_ONLY),
        (errors.TooManyConnections(), Sign.OVERLOADED),
        (errors.DiskFull(), Sign.OVERLOADED),
        (errors.InvalidPassword(), Sign.MISCONFIGURED),
        (errors.InvalidCatalogName(), Sign.MISCONFIGURED),
        (errors.DeadlockDetected(), Sign.NOTHING),
        (errors.SerializationFailure(), Sign.NOTHING),
        (errors.LockNotAvailable(), Sign.NOTHING),
        (errors.QueryCanceled(), Sign.NOTHING),
        (errors.InFailedSqlTransaction(), Sign.NOTHING),
        (errors.UniqueViolation(), Sign.NOTHING),
        (errors.UndefinedTable(), Sign.BROKEN),
        (errors.UndefinedColumn(), Sign.BROKEN),
        (errors.UndefinedFunction(), Sign.NOTHING),
        (PoolTimeout(), Sign.MAYBE_AWAY),
        (PoolClosed(), Sign.MAYBE_AWAY),
        (psycopg.OperationalError("no state"), Sign.MAYBE_AWAY),
        (psycopg.DataError("no state"), Sign.NOTHING),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_says_the_same_as_the_drivers_and_as_djangos(error, sign):
    assert sign_of(error) is sign
    assert sign_of(wrapped(error)) is sign


@pytest.mark.parametrize(
    ("error", "expected"),
    [(errors.DiskFull(), True), (errors.TooManyConnections(), True), (errors.DeadlockDetected(), False)],
    ids=["disk full", "too many connections", "deadlock"],
)
def test_waiting_cures_some_errors(error, expected):
    assert is_outage(wrapped(error)) is expected


def test_a_read_only_server_is_an_outage_for_the_write_that_met_it():
    assert is_outage(wrapped(errors.ReadOnlySqlTransaction(), InternalError))


def test_a_refused_connection_is_believed_at_once(availability, server):
    server.answer = REFUSED
    availability.report(REFUSED, while_connecting=True)
    assert not availability.standing.is_up
    assert "refused" in availability.standing.reason
    with pytest.raises(DatabaseUnavailable):
        availability.require()


def test_an_ended_session_is_asked_about_before_it_is_believed(availability, server):
    availability.report(errors.AdminShutdown())
    assert (availability.standing, server.asked) == (WELL, 1)
    server.answer = REFUSED
    availability.report(errors.AdminShutdown())
    assert not availability.standing.is_up


def test_many_who_meet_it_at_once_share_one_question(availability, server):
    server.may_answer.clear()
    threads = [threading.Thread(target=availability.report, args=(PoolTimeout(),)) for _ in range(50)]
    for thread in threads:
        thread.start()
    until(lambda: server.asked == 1)
    server.answer = REFUSED
    server.may_answer.set()
    for thread in threads:
        thread.join()
    assert not availability.standing.is_up


def test_a_deadlock_asks_nobody(availability, server):
    availability.report(wrapped(errors.DeadlockDetected()))
    assert (availability.standing, server.asked) == (WELL, 0)


def test_the_way_back_is_found_without_anybody_asking(availability, server):
    told: list[Standing] = []
    availability.on_change(told.append)
    server.answer = REFUSED
    availability.report(REFUSED, while_connecting=True)
    since = availability.standing.since
    until(lambda: server.asked > 3)
    assert availability.standing.since == since
    server.answer = True
    until(lambda: [one.is_up for one in told] == [False, True])


def test_a_read_only_server_is_up_for_reads_until_it_takes_writes_again(availability, server):
    server.answer = False
    availability.report(wrapped(errors.ReadOnlySqlTransaction(), InternalError))
    availability.require()
    with pytest.raises(DatabaseUnavailable):
        availability.require_writable()
    until(lambda: server.asked > 2)
    assert (availability.standing.is_up, availability.standing.is_writable) == (True, False)
    server.answer = True
    until(lambda: availability.standing == WELL)


def test_a_full_server_is_there(availability, server):
    server.answer = errors.TooManyConnections()
    availability.report(PoolTimeout())
    assert availability.standing == WELL


@pytest.mark.parametrize(
    "error", [errors.DiskFull, errors.TooManyConnections, errors.InvalidPassword], ids=lambda kind: kind.__name__
)
def test_what_is_not_an_absence_is_named_in_the_log(error: Callable[[], psycopg.Error], availability, caplog):
    availability.report(wrapped(error()))
    assert [record.msg["event"] for record in caplog.records] == ["database_refuses"]
    assert availability.standing == WELL


@pytest.mark.parametrize(
    ("words", "sign"),
    [
        ("FATAL:  sorry, too many clients already", Sign.OVERLOADED),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", Sign.OVERLOADED),
        ('FATAL:  too many connections for role "aurora"', Sign.OVERLOADED),
        ("FATAL:  the database system is starting up", Sign.AWAY),
        ('FATAL:  password authentication failed for user "aurora"', Sign.MISCONFIGURED),
        ('FATAL:  database "aurora" does not exist', Sign.MISCONFIGURED),
        ('FATAL:  role "aurora" does not exist', Sign.MISCONFIGURED),
        ("connection refused", Sign.MAYBE_AWAY),
    ],
)
def test_a_connection_that_is_refused_says_why_in_words_only(words, sign):
    assert sign_of(wrapped(psycopg.OperationalError(f"connection failed: {words}"))) is sign


def test_a_prober_that_died_of_something_unforeseen_is_followed_by_another(availability, server, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _died: None)
    server.answer = ZeroDivisionError("unforeseen")
    availability.make_certain()
    server.answer = REFUSED
    availability.make_certain()
    assert not availability.standing.is_up
    server.answer = True
    until(lambda: availability.standing == WELL)


def test_a_probe_does_not_wait_for_a_name_that_nobody_resolves(monkeypatch):
    monkeypatch.setattr(connection, "get_connection_params", lambda: {"host": "lost.example", "dbname": "aurora"})
    with unresolved("lost.example") as waited_for:
        with pytest.raises(TimeoutError):
            availability_module._probe_default()
        assert not waited_for.is_set()
