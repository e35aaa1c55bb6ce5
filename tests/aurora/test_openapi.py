"""The OpenAPI schema: valid, whole, and true to what the views do."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import get_args

import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, RootModel

from tests.cast import ApiClient
from tests.promises import document, route_of
from tests.routes import Route, api_routes

ROUTES = api_routes()
BEARS_A_BODY = ("POST", "PUT", "PATCH")
WITHOUT_A_BODY = {
    "POST api/v1/alerts/<str:alert_id>/acknowledge",
    "POST api/v1/alerts/<str:alert_id>/promote",
    "POST api/v1/ws/ticket",
    "POST api/v1/executions/<str:execution_id>/pause",
    "POST api/v1/executions/<str:execution_id>/resume",
    "POST api/v1/connectors/<str:connector_id>/test",
    "POST api/v1/deliveries/<str:delivery_id>/replay",
}
"""Calls that change something and need to be told nothing."""


def _operations():
    return [
        pytest.param(path, operation, id=f"{method.upper()} {path}")
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


def _response(operation, status):
    response = operation["responses"][status]
    return document()["components"]["responses"][response["$ref"].rsplit("/", 1)[1]] if "$ref" in response else response


def test_it_is_valid_openapi_3_1():
    assert document()["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document()).validate()


def _keys_of(part):
    if isinstance(part, dict):
        return {*part, *chain.from_iterable(_keys_of(each) for each in part.values())}
    return set(chain.from_iterable(map(_keys_of, part))) if isinstance(part, list) else set()


def test_its_bounds_are_in_the_words_of_json_schema():
    """A word that JSON Schema does not know is passed over by who reads it, and the bound with it."""
    assert not _keys_of(document()["components"]["schemas"]) & {"ge", "le", "gt", "lt", "min_length", "max_length"}
    patch = document()["components"]["schemas"]["AgentPatch"]["properties"]
    assert patch["minimum_calls"]["anyOf"][0] == {"minimum": 1, "maximum": 100_000, "type": "integer"}


def test_it_is_served_as_json_to_everybody():
    answer = ApiClient().get("/api/schema", HTTP_ACCEPT="text/html")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(answer.content) == document()


def test_no_script_runs_on_the_page_that_shows_it_but_files_of_ours():
    answer = ApiClient().get("/api/docs")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert re.findall(r"<script(?! src=\"/static/[^\"]+\"></script>)", answer.content.decode()) == []


def test_the_page_that_shows_it_loads_nothing_from_elsewhere():
    page = ApiClient().get("/api/docs").content.decode()
    assert "swagger-ui" in page
    assert "//cdn" not in page
    assert 'src="http' not in page
    assert 'href="http' not in page


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_declares_what_it_takes_and_answers(route: Route):
    call = route.view.calls.get(route.method)
    assert call, (
        f"{route.view.__module__}.{route.view.__name__} does not declare {route.method}: give it "
        f'calls = {{"{route.method}": Call(body=…, query=…, answers={{200: …}}, errors=(…))}} with pydantic models, '
        "see “To add an API route” in docs/development.md"
    )
    assert call.answers, f"{route} declares no answer"
    if route.method in BEARS_A_BODY and call.body is None:
        assert f"{route.method} {route.pattern}" in WITHOUT_A_BODY, (
            f"{route} declares no body: name it in WITHOUT_A_BODY if it takes none"
        )
    assert route.method.lower() in document()["paths"][route_of(route.pattern)]


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_declares_whom_it_lets_in(route: Route):
    assert route.method in route.view.permissions, f'{route.view.__name__}.permissions lacks "{route.method}"'


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_model_of_an_answer_is_closed_so_that_tests_see_each_field(route: Route):
    call = route.view.calls[route.method]
    models = [answer for answer in call.answers.values() if isinstance(answer, type) and issubclass(answer, BaseModel)]
    either = [get_args(model.model_fields["root"].annotation) for model in models if issubclass(model, RootModel)]
    single = [model for model in models if not issubclass(model, RootModel)]
    assert all(model.model_config.get("extra") == "forbid" for model in (*single, *chain(*either)))


@pytest.mark.parametrize(("path", "operation"), _operations())
def test_every_answer_tells_its_headers(path, operation):
    for status in operation["responses"]:
        assert "X-Request-ID" in _response(operation, status)["headers"]


@pytest.mark.parametrize(
    ("status", "header"),
    [
        ("401", "WWW-Authenticate"),
        ("405", "Allow"),
        ("429", "Retry-After"),
        ("429", "RateLimit"),
        ("503", "Retry-After"),
    ],
)
def test_the_errors_tell_the_headers_of_the_contract(status, header):
    operation = document()["paths"]["/api/v1/alerts"]["get"]
    assert header in _response(operation, status)["headers"]


def test_a_quota_that_is_shed_with_503_promises_no_429():
    assert "429" not in document()["paths"]["/api/v1/ingest/{source}"]["post"]["responses"]


def test_every_error_has_exactly_the_key_detail():
    responses = document()["components"]["responses"].values()
    assert all(set(response["content"]["application/json"]["example"]) == {"detail"} for response in responses)


@pytest.mark.parametrize(("path", "operation"), _operations())
def test_every_example_is_one(path, operation):
    contents = [operation.get("requestBody", {}).get("content", {})]
    contents += [_response(operation, status).get("content", {}) for status in operation["responses"]]
    for content in contents:
        for described in content.values():
            if path.startswith("/api/v1/") and "application/json" in content and described:
                assert "example" in described
            if "example" in described:
                schema = {**described["schema"], "components": document()["components"]}
                Draft202012Validator(schema).validate(described["example"])


MODELS = [
    pytest.param(route, model, id=str(route)) for route in ROUTES if (model := route.view.calls[route.method].model)
]


@pytest.mark.parametrize(("route", "model"), MODELS)
def test_every_example_of_a_body_is_taken_by_its_model(route: Route, model: type[BaseModel]):
    operation = document()["paths"][route_of(route.pattern)][route.method.lower()]
    model.model_validate(operation["requestBody"]["content"]["application/json"]["example"])
