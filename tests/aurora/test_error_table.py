"""What each kind of failure is answered with, wherever it happens: in a view, in a middleware, before Django has seen anything."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousFileOperation,
    TooManyFieldsSent,
)
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from rest_framework.exceptions import NotAcceptable, ParseError

from aurora import protocol
from aurora.asgi import application
from aurora.errors import Conflict, Denied, Invalid, Missing, RateLimited, Unavailable
from tests.cast import PASSWORD, ApiClient, make_user
from tests.raising import Raising
from tests.waiting import until

pytestmark = pytest.mark.django_db

DATABASE_DOWN = "Database unavailable — running in degraded mode"
UNFORESEEN: list[Exception] = [
    ZeroDivisionError("division by zero"),
    IntegrityError('duplicate key value violates unique constraint "cases_alert_pkey"'),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
]
DJANGOS = [
    (Http404("no Alert matches the given query"), 404, "Not Found"),
    (PermissionDenied("of somebody"), 403, "Not allowed"),
    (BadRequest("of something"), 400, "Bad Request"),
    (SuspiciousFileOperation("/etc/passwd"), 400, "Bad Request"),
    (DisallowedHost("evil.example"), 400, "Bad Request"),
    (TooManyFieldsSent("more than 1000"), 400, "Bad Request"),
    (MultiPartParserError("no boundary"), 400, "Bad Request"),
]
OUTAGES = [
    OperationalError("connection to server at 10.0.0.1 failed"),
    InterfaceError("the connection is closed"),
]
IN_A_VIEW = [
    *DJANGOS,
    (RequestDataTooBig("of 10 MB"), 413, "Request body too large"),
    (UnreadablePostError("gone"), 400, "Bad Request"),
    (ParseError("of DRF"), 400, "Bad Request"),
    (NotAcceptable("of DRF"), 406, "of DRF"),
    (Missing(), 404, "Not Found"),
    (Denied("Permission required: alerts:read"), 403, "Permission required: alerts:read"),
    (Denied("Token expired", is_anonymous=True), 401, "Token expired"),
    (Conflict("There is one already"), 409, "There is one already"),
    (
        RateLimited("Rate limit exceeded. Try again in 3 seconds.", retry_after=2.1),
        429,
        "Rate limit exceeded. Try again in 3 seconds.",
    ),
    (Unavailable("Agent service unavailable", retry_after=0.2), 503, "Agent service unavailable"),
    (Invalid("no such day"), 400, [{"loc": ["body"], "msg": "Value error, no such day", "type": "value_error"}]),
    *((error, 503, DATABASE_DOWN) for error in OUTAGES),
    *((error, 500, "Internal Server Error") for error in UNFORESEEN),
]
IN_A_MIDDLEWARE = [*DJANGOS, *((error, 500, "Internal Server Error") for error in UNFORESEEN)]
OUTERMOST, INNERMOST = 1, 100
"""Places behind `EdgeMiddleware`."""
OVERSIZED = b"x" * 1_100


@pytest.fixture(params=[False, True], ids=["DEBUG off", "DEBUG on"])
def _debug(request: Any, settings: Any) -> None:
    settings.DEBUG = request.param


@pytest.fixture
def anybody() -> ApiClient:
    return ApiClient()


@pytest.fixture
def analyst() -> ApiClient:
    return ApiClient("analyst")


def _kind(value: Any) -> str | None:
    return type(value).__name__ if isinstance(value, Exception) else None


def _assert_shaped(answer: Any, status: int, detail: Any) -> None:
    assert answer.status_code == status
    assert json.loads(answer.content) == {"detail": detail}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize(("error", "status", "detail"), IN_A_VIEW, ids=_kind)
@pytest.mark.usefixtures("_debug")
def test_whatever_a_view_raises_has_one_answer(analyst, monkeypatch, error, status, detail):
    def fail(_query: Any) -> None:
        raise error

    monkeypatch.setattr("cases.queries.alerts", fail)
    _assert_shaped(analyst.get("/api/v1/alerts"), status, detail)


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (Denied("Token expired", is_anonymous=True), "WWW-Authenticate", "Bearer"),
        (RateLimited("Try again", retry_after=2.1), "Retry-After", "3"),
        (Unavailable(retry_after=0.2), "Retry-After", "1"),
        (OperationalError("the server is gone"), "Retry-After", "5"),
    ],
    ids=_kind,
)
def test_an_error_brings_its_header(analyst, monkeypatch, error, header, value):
    def fail(_query: Any) -> None:
        raise error

    monkeypatch.setattr("cases.queries.alerts", fail)
    assert analyst.get("/api/v1/alerts").headers[header] == value


@pytest.mark.parametrize("place", [OUTERMOST, INNERMOST])
@pytest.mark.parametrize(("error", "status", "detail"), IN_A_MIDDLEWARE, ids=_kind)
@pytest.mark.usefixtures("_debug")
def test_whatever_a_middleware_raises_has_the_contracts_shape(
    anybody, settings, monkeypatch, place, error, status, detail
):
    monkeypatch.setattr(Raising, "error", error)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:place], "tests.raising.Raising", *settings.MIDDLEWARE[place:]]
    _assert_shaped(anybody.get("/api/v1/alerts"), status, detail)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/nonsense",
        "/api/v1/alerts/",
        "/api/v1//alerts",
        "/api/v2/alerts",
    ],
)
@pytest.mark.usefixtures("_debug")
def test_a_route_that_there_is_not_is_not_found_and_leads_nowhere(anybody, method, path):
    _assert_shaped(anybody.generic(method, path), 404, "Not Found")


@pytest.mark.parametrize("path", ["/nonsense", "/apish", "/api.html"])
def test_beside_the_api_a_page_is_a_page(anybody, path):
    answer = anybody.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize("host", ["evil.example", "localhost:port", "a b", "[::1", ""])
@pytest.mark.usefixtures("_debug")
def test_a_host_that_is_not_ours_is_refused(anybody, host):
    _assert_shaped(anybody.get("/api/v1/alerts", HTTP_HOST=host), 400, "Bad Request")


@pytest.mark.usefixtures("_debug")
def test_a_body_beyond_djangos_limit_is_too_large(analyst, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = len(OVERSIZED) - 1
    answer = analyst.generic("POST", "/api/v1/alerts", OVERSIZED, content_type="application/json")
    _assert_shaped(answer, 413, "Request body too large")


@pytest.mark.usefixtures("_debug")
def test_a_form_of_too_many_fields_is_a_bad_request(settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 10
    client = ApiClient(enforce_csrf_checks=True)
    make_user("admin", "root")
    client.login(username="root", password=PASSWORD)
    client.cookies["aurora_csrf"] = "a" * 32
    form, kind = b"a=1&" * 11, "application/x-www-form-urlencoded"
    _assert_shaped(client.generic("POST", "/api/v1/ingest/cef", form, content_type=kind), 400, "Bad Request")


class _Served:
    """The whole application behind a real socket, with a limit of a thousand bytes."""

    def __init__(self) -> None:
        self.server = uvicorn.Server(
            uvicorn.Config(application, lifespan="off", log_config=None, http=protocol.HttpProtocol)
        )
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.thread.start()
        until(lambda: self.server.started)

    def answer(self, *pieces: bytes) -> httpx.Response:
        """What comes back until the server closes."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as peer:
            for piece in pieces:
                peer.sendall(piece)
            while piece := peer.recv(65_536):
                received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = [tuple(line.split(": ", 1)) for line in lines]
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)  # type: ignore[arg-type]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.listener.close()


@pytest.fixture(scope="module")
def served() -> Iterator[_Served]:
    bridge = application.application_mapping["http"]
    limit, bridge.max_body = bridge.max_body, 1_000
    running = _Served()
    yield running
    running.stop()
    bridge.max_body = limit


_END = b"Host: localhost\r\nConnection: close\r\n\r\n"
_POST = b"POST /api/v1/alerts HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status", "detail"),
    [
        pytest.param(b"GET /api HTTP/1.1\r\n" + _END, 404, "Not Found", id="no slash"),
        pytest.param(b"GET /api/v1/alerts/ HTTP/1.1\r\n" + _END, 404, "Not Found", id="a slash too much"),
        pytest.param(b"GET /api/v1/%ff%00 HTTP/1.1\r\n" + _END, 404, "Not Found", id="a path that is no text"),
        pytest.param(b"GET /api/v1/../../etc HTTP/1.1\r\n" + _END, 404, "Not Found", id="a path with dots"),
        pytest.param(b"GET /api/v1/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 400, "Bad Request", id="another host"),
        pytest.param(_POST + b"Content-Length: x\r\n" + _END, 400, "Bad Request", id="a length that is no number"),
        pytest.param(_POST + b"Content-Length: -1\r\n" + _END, 400, "Bad Request", id="a negative length"),
        pytest.param(_POST + b"Content-Length: 1\r\nContent-Length: 2\r\n" + _END, 400, "Bad Request", id="two lengths"),
        pytest.param(_POST + b"Content-Length: 99999999999999999999\r\n" + _END, 400, "Bad Request", id="a length beyond 64 bits"),
        pytest.param(_POST + b"Content-Length: 1001\r\n" + _END, 413, "Request body too large", id="too long, as it says"),
        pytest.param(
            _POST + b"Transfer-Encoding: chunked\r\n" + _END + b"44c\r\n" + OVERSIZED + b"\r\n0\r\n\r\n",
            413, "Request body too large", id="too long, without saying so",
        ),
        pytest.param(_POST + b"Transfer-Encoding: chunked\r\n" + _END + b"zz\r\n", 400, "Bad Request", id="no chunk"),
        pytest.param(b"NONSENSE\r\n\r\n", 400, "Bad Request", id="no HTTP"),
    ],
)  # fmt: skip
def test_what_djangos_test_client_cannot_send_has_the_contracts_shape(served, request_bytes, status, detail):
    _assert_shaped(served.answer(request_bytes), status, detail)


def test_a_caller_who_hangs_up_within_its_body_harms_nobody_else(served):
    with socket.create_connection(("127.0.0.1", served.port)) as peer:
        peer.sendall(_POST + b"Content-Length: 900\r\n" + _END + b"{")
    _assert_shaped(served.answer(b"GET /api HTTP/1.1\r\n" + _END), 404, "Not Found")


def test_head_of_nothing_is_not_found_without_a_body(served):
    answer = served.answer(b"HEAD /api/v1/nonsense HTTP/1.1\r\n" + _END)
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (404, b"", "application/json")
