"""Odd requests on their whole way: bridge, WSGI handler, middleware, view."""

from __future__ import annotations

import gzip
import json
from http import HTTPStatus

import pytest

from aurora.bridge import WsgiBridge
from aurora.wsgi import application
from tests.cast import PASSWORD, ApiClient, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def analyst() -> ApiClient:
    return ApiClient("analyst")


async def _status(path: str, *, raw_path: bytes = b"/", query: bytes = b"", content_type: str = "") -> int:
    """Of a GET without a credential, through everything that stands between the server and the views."""
    sent = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "http_version": "1.1",
        "headers": [(b"host", b"localhost"), (b"content-type", content_type.encode())],
    }

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    await WsgiBridge(application, threads=1, max_body=1000)(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", ["/api/v1/\ufffd", "/api/v1/alert\u0660", "/\u96ea"])
async def test_a_path_beyond_latin_1_is_the_path_of_nothing(path):
    assert await _status(path, raw_path=b"/api/v1/%ff") == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("parameter", ["charset=hex", "charset=idna", "charset*=bogus'en'%41"])
async def test_a_charset_that_is_none_ends_nothing(parameter):
    content_type = f"application/json; {parameter}"
    assert await _status("/health/live", query=b"q=%41", content_type=content_type) == HTTPStatus.OK


@pytest.mark.parametrize("path", ["/users/a%00b", "/agents/%00", "/%00"])
def test_a_name_with_nul_is_the_name_of_nothing(path):
    answer = ApiClient("admin").call("PATCH", path, {})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_a_session_cookie_with_nul_is_no_session():
    client = ApiClient()
    client.cookies.load('aurora_session="abcdefgh\\000xyz"')
    assert client.call("GET", "/users/me").status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("accepted", ["text/html", "text/plain", "application/xml", "nonsense"])
def test_every_caller_gets_json_whatever_it_accepts(analyst, accepted):
    answer = analyst.call("GET", "/alerts", HTTP_ACCEPT=accepted)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


def test_a_firewall_that_accepts_only_text_gets_its_blocklist(analyst):
    assert analyst.call("GET", "/feeds/blocklist?type=ip", HTTP_ACCEPT="text/plain").status_code == HTTPStatus.OK


def test_format_is_an_unknown_parameter_like_any(analyst):
    answer = analyst.call("GET", "/alerts?format=xml")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["query", "format"])


def test_options_is_a_wrong_method_like_any(analyst):
    answer = analyst.call("OPTIONS", "/alerts")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST, HEAD")


@pytest.mark.parametrize("path", ["/alerts", "/ingest/cef"])
def test_a_packed_body_is_a_media_type_we_do_not_take(path):
    packed = gzip.compress(b'{"title": "t"}')
    answer = ApiClient("admin").call("POST", path, packed, HTTP_CONTENT_ENCODING="gzip")
    assert (answer.status_code, answer.json()) == (415, {"detail": "Unsupported media type"})


@pytest.mark.parametrize("media_type", ["multipart/form-data; boundary=b", "application/xml", "image/png"])
def test_intake_refuses_what_certainly_holds_no_records(media_type):
    client = ApiClient(enforce_csrf_checks=True)
    make_user("admin", "root")
    client.login(username="root", password=PASSWORD)
    client.get("/admin/login/")
    client.cookies["aurora_csrf"] = "a" * 32
    form = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
    answer = client.call("POST", "/ingest/cef", form, content_type=media_type, HTTP_X_CSRFTOKEN="a" * 32)
    assert (answer.status_code, answer.json()) == (415, {"detail": "Unsupported media type"})


@pytest.mark.parametrize(
    "media_type",
    ["", "application/json; charset=utf-8", "application/x-ndjson", "application/x-www-form-urlencoded", "text/plain"],
)
def test_intake_takes_what_senders_call_their_records(media_type):
    answer = ApiClient("admin").call("POST", "/ingest/generic", b'{"title": "Port scan"}', content_type=media_type)
    assert (answer.status_code, answer.json()["received"]) == (202, 1)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("enabled", 0, "bool_type"),
        ("enabled", "yes", "bool_type"),
        ("max_concurrency", "4", "int_type"),
        ("max_concurrency", True, "int_type"),
        ("timeout", "0.5", "float_type"),
    ],
)
def test_a_body_says_numbers_and_flags_in_jsons_own_types(field, value, kind):
    answer = ApiClient("admin").call("PATCH", "/agents/threat_intel", {field: value})
    assert [(fault["loc"], fault["type"]) for fault in answer.json()["detail"]] == [(["body", field], kind)]


def test_two_point_nought_is_a_whole_number_to_json():
    answer = ApiClient("admin").call("PATCH", "/agents/threat_intel", b'{"max_concurrency": 2.0}')
    assert (answer.status_code, answer.json()["max_concurrency"]) == (200, 2)


@pytest.mark.parametrize("path", ["/stats", "/users/me", "/system/mode"])
def test_a_call_without_parameters_refuses_every_parameter(path):
    answer = ApiClient("admin").call("GET", f"{path}?limit=1")
    assert answer.json()["detail"] == [
        {"loc": ["query", "limit"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}
    ]


def test_a_technique_is_of_plain_digits(analyst):
    answer = analyst.call("GET", "/alerts?technique=T١٢٣٤")
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (400, "string_pattern_mismatch")


@pytest.mark.parametrize("moment", [0, 1_700_000_000, "1700000000", "-1.5"])
def test_a_number_is_no_time(analyst, moment):
    answer = analyst.call("POST", "/iocs", {"type": "ip", "value": "198.51.100.7", "expires_at": moment})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", "expires_at"])


def test_of_a_million_unknown_fields_the_answer_names_some():
    body = json.dumps({f"f{number}": 1 for number in range(5_000)} | {"username": "root", "password": 1}).encode()
    faults = ApiClient().call("POST", "/auth/token", body).json()["detail"]
    assert len(faults) == 101
    assert faults[0]["loc"] == ["body", "password"]


def test_a_refusal_of_the_domain_has_the_form_of_invalid_input(analyst):
    answer = analyst.call("POST", "/investigations", {})
    [fault] = answer.json()["detail"]
    assert (answer.status_code, fault["loc"], fault["type"]) == (400, ["body"], "value_error")


def test_lengths_are_told_in_pydantics_words_for_text(analyst):
    faults = analyst.call("GET", "/alerts?q=").json()["detail"]
    assert faults == [
        {"loc": ["query", "q"], "msg": "String should have at least 1 character", "type": "string_too_short"}
    ]


def test_a_title_of_blanks_is_none(analyst):
    answer = analyst.call("POST", "/alerts", {"title": "   ", "source": "s", "severity": "low"})
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (400, "string_too_short")


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_outside_of_the_calendar_is_not_kept(analyst, moment):
    answer = analyst.call("POST", "/iocs", {"type": "ip", "value": "198.51.100.7", "expires_at": moment})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", "expires_at"])


@pytest.mark.parametrize("name", ["me", ".", ".."])
def test_a_name_that_has_no_address_is_refused(name):
    answer = ApiClient("admin").call("POST", "/users", {"username": name, "password": PASSWORD, "role": "viewer"})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", "username"])


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/api/docs", "/api/schema"])
@pytest.mark.parametrize("method", ["OPTIONS", "POST", "TRACE"])
def test_what_is_only_read_has_no_other_method(path, method):
    answer = ApiClient(enforce_csrf_checks=True).generic(method, path)
    assert answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert {"GET", "HEAD"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize("host", ["testserver", "evil.example"])
def test_the_edges_own_answers_are_whole_and_never_guessed_at(host):
    answer = ApiClient().get("/api/v1/nonsense", HTTP_HOST=host)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Length"] == str(len(answer.content))
