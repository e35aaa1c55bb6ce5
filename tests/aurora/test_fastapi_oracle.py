"""Invalid input is told as FastAPI tells it of the same models: for every route, what is wrong with each of its fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from aurora.errors import Invalid
from aurora.rest import limits
from aurora.rest.bodies import validated
from tests import bad_requests
from tests.cast import ApiClient
from tests.oracle import ROUTES, Oracle, path_of
from tests.promises import document, route_of
from tests.routes import Route

pytestmark = pytest.mark.django_db

WITH_A_BODY = [route for route in ROUTES if route.view.calls[route.method].model]
PROMISED = {
    "missing",
    "extra_forbidden",
    "json_invalid",
    "model_attributes_type",
    "string_type",
    "string_too_long",
    "string_too_short",
    "string_pattern_mismatch",
    "string_unicode",
    "uuid_parsing",
    "datetime_from_date_parsing",
    "timezone_aware",
    "int_parsing",
    "less_than_equal",
    "greater_than_equal",
    "bool_type",
    "list_type",
    "too_long",
    "literal_error",
}
"""Kinds of faults that the cases must bring about, or they do not ask what they are meant to."""


@pytest.fixture(autouse=True)
def _room_for_all(settings: Any, redis_client: Any) -> Iterator[None]:
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, (1_000_000, 60))
    limits._policy.cache_clear()
    yield
    limits._policy.cache_clear()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    asked = Oracle()
    yield asked
    asked.close()


@pytest.fixture
def admin() -> ApiClient:
    return ApiClient("admin")


@pytest.mark.parametrize("route", WITH_A_BODY, ids=str)
def test_every_bad_body_is_told_as_fastapi_tells_it(admin, oracle, route):
    for kind, body in _bodies(route):
        expected = _asked(oracle, route, body)
        if expected.status_code != 200:
            answer = admin.call(route.method, _below_v1(route), body)
            _assert_same(answer, expected, f"{route} with {kind}: {body[:300]!r}")


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_bad_query_is_told_as_fastapi_tells_it(admin, oracle, route):
    for kind, query in _queries(route):
        expected = oracle.ask(route.method, path_of(route), _body(route), query)
        if expected.status_code != 200:
            address = f"{_below_v1(route)}?{httpx.QueryParams(query)}"
            answer = admin.call(route.method, address, _body(route))
            _assert_same(answer, expected, f"{route} with {kind}: {query}")


@pytest.mark.parametrize("route", [route for route in ROUTES if "<" in route.pattern], ids=str)
def test_what_fastapi_refuses_in_a_path_is_the_name_of_nothing(admin, oracle, route):
    for name in ("nonsense", "7", "019ac0de-7b1e-7c3a-9d52-3f6f0c2b8a4g", "0" * 33, "a" * 5_000, "%00", "9" * 30):
        expected = oracle.ask(route.method, path_of(route, name), _body(route))
        if expected.status_code == 422:
            answer = admin.call(route.method, path_of(route, name).removeprefix("/api/v1"), _body(route))
            assert (answer.status_code, [*answer.json()]) == (404, ["detail"]), name


def test_of_a_repeated_parameter_the_last_counts(admin, oracle):
    expected = oracle.ask("GET", "/api/v1/alerts?limit=5&limit=no")
    _assert_same(admin.call("GET", "/alerts?limit=5&limit=no"), expected, "twice")


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_python_takes_for_json_and_no_standard_does_is_malformed(admin, constant):
    """RFC 8259, 6. FastAPI lets it pass, and PostgreSQL would not store it."""
    answer = admin.call("POST", "/iocs", b'{"type": "ip", "value": "203.0.113.7", "confidence": ' + constant + b"}")
    [fault] = answer.json()["detail"]
    assert (answer.status_code, fault["type"], fault["loc"][0]) == (400, "json_invalid", "body")


def test_the_cases_are_many_and_of_every_kind():
    kinds = Counter(_kind(route, body) for route in WITH_A_BODY for _, body in _bodies(route))
    assert kinds.total() - kinds[""] >= 1_000
    assert kinds.keys() >= PROMISED


def _kind(route: Route, body: bytes) -> str:
    """Of the first fault of a body; empty when it is taken."""
    try:
        validated(_model(route), body)
    except Invalid as error:
        return error.problems[0]["type"]
    return ""


def _bodies(route: Route) -> Iterator[tuple[str, bytes]]:
    return bad_requests.bodies(_model(route).model_json_schema(), _example(route))


def _model(route: Route) -> type[BaseModel]:
    model = route.view.calls[route.method].model
    assert model is not None
    return model


def _queries(route: Route) -> Iterator[tuple[str, dict[str, str]]]:
    """Of parameters that many routes have in common, the first route bears the most."""
    model = route.view.calls[route.method].query
    is_first = route is next(other for other in ROUTES if other.view.calls[other.method].query is model)
    return bad_requests.queries(model.model_json_schema() if model and is_first else {})


def _asked(oracle: Oracle, route: Route, body: bytes) -> Any:
    return oracle.ask(route.method, path_of(route), body)


def _assert_same(answer: Any, expected: Any, place: str) -> None:
    """422 is 400 with us; and where FastAPI has only a sentence for what it could not decode, ours is still the list."""
    assert answer.status_code == 400, f"{place}: {answer.status_code} {answer.content[:300]!r}"
    told = answer.json()["detail"]
    if expected.status_code == 422:
        assert told == expected.json()["detail"], place
    else:
        assert [(fault["loc"][0], fault["type"]) for fault in told] == [("body", "json_invalid")], place


def _example(route: Route) -> Any:
    operation = document()["paths"][route_of(route.pattern)][route.method.lower()]
    return operation["requestBody"]["content"]["application/json"]["example"]


def _body(route: Route) -> bytes:
    return (
        b""
        if route.view.calls[route.method].model is None
        else httpx.Request("POST", "http://x", json=_example(route)).content
    )


def _below_v1(route: Route) -> str:
    return path_of(route).removeprefix("/api/v1")
