"""Holds an answer of the API against what its view declares and the OpenAPI schema promises: status, headers, every field."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from django.urls import Resolver404, resolve

from aurora.rest.answers import InvalidInput, Refusal
from aurora.rest.calls import Answer
from tests.routes import view_of


@cache
def document() -> dict[str, Any]:
    """The OpenAPI schema."""
    from aurora.rest import openapi

    found: dict[str, Any] = json.loads(openapi._document())
    return found


def route_of(pattern: str) -> str:
    """A route as the OpenAPI schema writes it: `/api/v1/alerts/{alert_id}`."""
    return "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", pattern)


def assert_kept(method: str, path: str, answer: Any) -> None:
    """Fails when `answer` is none that the view declares for `method`. Says nothing of routes and methods that there are not."""
    try:
        match = resolve(path.partition("?")[0])
    except Resolver404:
        return
    view = view_of(match.func)
    method = "GET" if method == "HEAD" else method
    if view is None or method not in view.calls:
        return
    status = answer.status_code
    place = f"{method} {path} answered {status}"
    responses = document()["paths"][route_of(match.route)][method.lower()]["responses"]
    assert str(status) in responses, (
        f"{place}, which is none of {sorted(responses)}: declare it in {view.__name__}.calls"
    )
    _assert_headers(responses[str(status)], answer, place)
    if answer.streaming:
        assert answer.headers["Content-Type"] == view.calls[method].answers[status], place
        return
    if answer.content and status >= 400:
        _assert_body(InvalidInput if status == 400 else Refusal, answer, place)
    elif answer.content:
        _assert_body(view.calls[method].answers[status], answer, place)


def _assert_headers(response: dict[str, Any], answer: Any, place: str) -> None:
    if "$ref" in response:
        response = document()["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    for name in response["headers"]:
        if document()["components"]["headers"][name]["required"]:
            assert name in answer.headers, f"{place} without {name}"


def _assert_body(declared: Answer, answer: Any, place: str) -> None:
    assert declared is not None, f"{place} with a body"
    media_type = answer.headers["Content-Type"].partition(";")[0]
    if isinstance(declared, str | tuple):
        assert media_type in ((declared,) if isinstance(declared, str) else declared), f"{place} as {media_type}"
        return
    assert media_type == "application/json", f"{place} as {media_type}"
    declared.model_validate_json(answer.content)
