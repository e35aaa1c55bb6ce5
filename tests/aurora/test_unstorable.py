"""NUL, halves of surrogate pairs and numbers beyond every column: in each parameter, each path and each field, and none becomes a 500."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from aurora.rest import limits
from cases.normalizers import SOURCES
from tests.cast import ApiClient
from tests.promises import document, route_of
from tests.routes import Route, api_routes

pytestmark = pytest.mark.django_db

ROUTES = api_routes()
BEARING_A_BODY = [route for route in ROUTES if route.view.calls[route.method].body is not None]
READ = [route for route in ROUTES if route.method == "GET"]
UNSTORABLE = {
    "NUL": r'"a\u0000b"',
    "NUL in a name": r'{"a\u0000b": 1}',
    "NUL within": r'[{"a": ["\u0000"]}]',
    "half a pair": r'"a\ud800b"',
    "half a pair in a name": r'{"a\udfff": 1}',
    "63 bits": str(2**63),
    "64 bits": str(2**64),
    "less than 64 bits": str(-(2**64)),
    "thirty digits": "9" * 30,
    "nearly infinite": "1e308",
    "infinite": "1e999",
    "huge within": '{"a": [1e308, 99999999999999999999999]}',
    "a time before all": '"0001-01-01T00:00:00+14:00"',
    "a time after all": '"9999-12-31T23:59:59-14:00"',
}
NAMES = [
    "%00",
    "a%00b",
    "%ed%a0%80",
    "%ff",
    "9" * 30,
    "-1",
    "x" * 5_000,
    "%D9%A1" * 32,
    "%0a",
    "..%2f..",
    "%f0%9f%92%a5",
]
FOREIGN = re.compile(rb"(?i)psycopg|postgres|sqlstate|violates|encoding|surrogate.*codec|traceback")


@pytest.fixture(autouse=True)
def _room_for_all(settings: Any, redis_client: Any) -> Iterator[None]:
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, (1_000_000, 60))
    limits._policy.cache_clear()
    yield
    limits._policy.cache_clear()


@pytest.fixture
def admin() -> ApiClient:
    """As behind a server, which tells the path as it was sent: of a decoded one beyond Latin-1 no span of a request can be made."""
    return ApiClient("admin", REQUEST_URI="/")


@pytest.fixture
def rows(admin: ApiClient) -> dict[str, str]:
    """One row of each kind that can be made, by the name of its path parameter."""
    made = {
        "alert_id": _made(admin, "/alerts"),
        "case_id": _made(admin, "/cases"),
        "ioc_id": _made(admin, "/iocs"),
        "key_id": _made(admin, "/auth/api-keys"),
        "playbook_id": _made(admin, "/playbooks"),
        "connector_id": _made(admin, "/connectors"),
    }
    admin.call("POST", "/users", {"username": "una", "password": "correct-horse-battery", "role": "viewer"})
    run = admin.call("POST", f"/playbooks/{made['playbook_id']}/execute", {"case_id": made["case_id"], "dry_run": True})
    asked = admin.call("POST", "/investigations", {"alert_id": made["alert_id"]})
    known = {"username": "una", "agent_type": "threat_intel", "source": "generic"}
    return made | known | {"execution_id": run.json()["id"], "investigation_id": asked.json()["id"]}


@pytest.mark.parametrize("route", BEARING_A_BODY, ids=str)
def test_no_field_of_a_body_brings_a_500(admin, rows, route):
    path = _path(route, rows)
    for example in _examples(route):
        for kind, body in _broken(example):
            _assert_calm(admin, route.method, path, f"{kind}: {body[:200]!r}", body)
    for read in READ:
        _assert_calm(admin, "GET", _path(read, rows), f"reading after {route}")


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_no_query_parameter_brings_a_500(admin, rows, route):
    model = route.view.calls[route.method].query
    for name in (*(model.model_fields if model else ()), "unknown", "a\0b"):
        for kind, value in UNSTORABLE.items():
            bare = json.loads(value) if value.startswith('"') else value
            query = f"?{quote(name)}={quote(bare.encode('utf-8', 'surrogatepass'))}"
            _assert_calm(admin, route.method, _path(route, rows) + query, f"{kind} as {name}", b"{}")


@pytest.mark.parametrize("route", [route for route in ROUTES if "<" in route.pattern], ids=str)
def test_no_path_brings_a_500(admin, route):
    for name in NAMES:
        path = "/" + re.sub(r"<\w+:\w+>", name, route.pattern)
        _assert_calm(admin, route.method, path, name, b"{}")


@pytest.mark.parametrize("source", SOURCES)
def test_no_value_of_a_record_brings_a_500(admin, rows, source):
    fields = ("title", "message", "severity", "timestamp", "host", "src_ip", "id", "rule", "alert", "event", "_source")
    for kind, value in UNSTORABLE.items():
        record = "{" + ", ".join(f'"{name}": {value}' for name in fields) + "}"
        for body in (record, f'{{"title": "t", "rule": {record}, "alert": {record}}}', f"[{record}]", value):
            _assert_calm(admin, "POST", f"/api/v1/ingest/{source}", kind, body.encode())
    for read in READ:
        _assert_calm(admin, "GET", _path(read, rows), f"reading after records of {source}")


@pytest.mark.parametrize(
    "value",
    [
        r'"\0"',
        r'"\ud800"',
        ".inf",
        ".nan",
        "1" * 30,
        "1e300",
        "!!binary /9g=",
        "!!set {a, b}",
        "{1: 2}",
        "{null: 2}",
        "2026-11-27",
    ],
)
def test_no_value_in_the_text_of_a_playbook_brings_a_500(admin, value):
    source = f"name: odd\nsteps:\n- name: tell\n  action: notify\n  parameters: {{text: {value}}}\n"
    body = json.dumps({"source": source}).encode()
    _assert_calm(admin, "POST", "/api/v1/playbooks", value, body)
    made = admin.call("GET", "/playbooks").json()["items"]
    for path in ("/playbooks", *(f"/playbooks/{item['id']}{part}" for item in made for part in ("", "/versions"))):
        _assert_calm(admin, "GET", f"/api/v1{path}", f"{value} in it")


def _assert_calm(client: ApiClient, method: str, path: str, place: str, body: bytes = b"") -> None:
    answer = client.generic(method, path, body if method != "GET" else b"", content_type="application/json")
    assert answer.status_code < 500, f"{method} {path[:300]} with {place}: {answer.content[:300]!r}"
    assert answer.status_code < 400 or not FOREIGN.search(answer.content), f"{path} with {place}: {answer.content!r}"


def _broken(example: Any) -> Iterator[tuple[str, bytes]]:
    """The example with one value after another replaced by each that cannot be stored."""
    text = json.dumps(example)
    for hole in _holes(example):
        for kind, value in UNSTORABLE.items():
            yield kind, json.dumps(hole).replace(json.dumps(_HOLE), value).encode()
    if isinstance(example, dict):
        yield "NUL in a name", (r'{"a\u0000": 1, ' + text[1:]).encode()
        yield "half a pair in a name", (r'{"a\ud800": 1, ' + text[1:]).encode()


_HOLE = "a hole"


def _holes(value: Any) -> Iterator[Any]:
    yield _HOLE
    if isinstance(value, dict):
        for name, item in value.items():
            yield from (value | {name: hole} for hole in _holes(item))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from ([*value[:place], hole, *value[place + 1 :]] for hole in _holes(item))


def _examples(route: Route) -> list[Any]:
    operation = document()["paths"][route_of(route.pattern)][route.method.lower()]
    contents = operation["requestBody"]["content"].values()
    return [example for content in contents if isinstance(example := content.get("example"), dict | list)]


def _path(route: Route, rows: dict[str, str]) -> str:
    nothing = "00000000-0000-7000-8000-000000000000"
    return "/" + re.sub(r"<\w+:(\w+)>", lambda found: rows.get(str(found[1]), nothing), route.pattern)


def _made(client: ApiClient, path: str) -> str:
    taken = document()["paths"][f"/api/v1{path}"]["post"]["requestBody"]["content"]["application/json"]["example"]
    answer = client.call("POST", path, taken | {"expires_at": None} if "expires_at" in taken else taken)
    assert answer.status_code < 300, answer.content
    return str(answer.json()["id"])
