"""What a 500 leaves behind: nothing with the caller, everything in one line of the log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from aurora.observability import logs
from tests.cast import PASSWORD, ApiClient, make_user
from tests.raising import Raising

pytestmark = pytest.mark.django_db

SECRET = "a secret that the code holds"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT: dict[str, Any] = {"HTTP_X_REQUEST_ID": "req-7", "HTTP_TRACEPARENT": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The log as production writes it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *logs._renderers("json")]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=processors))
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_query: Any) -> None:
        password = SECRET
        raise ValueError(f"SELECT * FROM cases_alert; {len(password)} letters")

    monkeypatch.setattr("cases.queries.alerts", fail)


def _event(lines: io.StringIO, name: str = "request_failed") -> Any:
    found = [json.loads(line) for line in lines.getvalue().splitlines() if f'"{name}"' in line]
    assert len(found) == 1, lines.getvalue()
    return found[0]


@pytest.mark.usefixtures("broken")
def test_the_caller_of_a_500_learns_nothing_but_the_request_id():
    answer = ApiClient("analyst").get("/api/v1/alerts?q=evil", **SENT)
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
    assert answer.headers["X-Request-ID"] == "req-7"
    told = repr(answer.headers) + answer.content.decode()
    assert not [word for word in ("SELECT", "ValueError", "Traceback", ".py", SECRET) if word in told]


@pytest.mark.usefixtures("broken")
def test_the_log_line_of_a_500_says_who_where_and_why(lines):
    make_user("analyst", "ana")
    client = ApiClient()
    client.login(username="ana", password=PASSWORD)
    client.get("/api/v1/alerts?q=evil", **SENT)
    line = _event(lines)
    wanted = {"request_id": "req-7", "trace_id": TRACE, "user": "ana", "address": "127.0.0.1", "level": "error"}
    assert wanted.items() <= line.items()
    assert (line["request"], line["route"]) == ("GET /api/v1/alerts", "api/v1/alerts")
    [failure] = line["exception"]
    assert (failure["exc_type"], failure["exc_value"]) == ("ValueError", "SELECT * FROM cases_alert; 28 letters")
    assert [frame["name"] for frame in failure["frames"]][-2:] == ["get", "fail"]


@pytest.mark.usefixtures("broken")
def test_the_traceback_has_no_variables(lines):
    ApiClient("analyst").get("/api/v1/alerts", **SENT)
    assert SECRET not in lines.getvalue()


def test_the_route_stands_beside_the_path(lines, monkeypatch):
    monkeypatch.setattr("cases.queries.alert", lambda _key: 1 / 0)
    ApiClient("analyst").get("/api/v1/alerts/00000000-0000-7000-8000-000000000000")
    assert _event(lines)["route"] == "api/v1/alerts/<str:alert_id>"


@pytest.mark.parametrize("place", [1, 100])
def test_a_failure_in_a_middleware_is_logged_with_its_request(lines, settings, monkeypatch, place):
    monkeypatch.setattr(Raising, "error", ZeroDivisionError("division by zero"))
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:place], "tests.raising.Raising", *settings.MIDDLEWARE[place:]]
    ApiClient().get("/api/v1/alerts", **SENT)
    line = _event(lines)
    assert (line["request_id"], line["request"], line["route"]) == ("req-7", "GET /api/v1/alerts", "")
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_of_a_500_the_log_has_one_line(lines, monkeypatch):
    monkeypatch.setattr("cases.queries.alert", lambda _key: 1 / 0)
    ApiClient("analyst").get("/api/v1/alerts/00000000-0000-7000-8000-000000000000", **SENT)
    assert [json.loads(line)["level"] for line in lines.getvalue().splitlines()].count("error") == 1
