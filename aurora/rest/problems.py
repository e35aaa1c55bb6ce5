"""Every error's way to an answer: one table from kind to status, one shape `{"detail": …}`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from pydantic import ValidationError
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from aurora.errors import AuroraError, Conflict, Denied, Invalid, Missing, Problem, RateLimited, Unavailable
from aurora.resilience.availability import DatabaseUnavailable, is_outage

log = structlog.get_logger(__name__)

DATABASE_UNAVAILABLE = "Database unavailable — running in degraded mode"
DATABASE_RETRY_SECONDS = 5

STATUS_OF: dict[type[Exception], int] = {
    Invalid: HTTPStatus.BAD_REQUEST,
    Denied: HTTPStatus.FORBIDDEN,
    Missing: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    Http404: HTTPStatus.NOT_FOUND,
    PermissionDenied: HTTPStatus.FORBIDDEN,
    RequestDataTooBig: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    SuspiciousOperation: HTTPStatus.BAD_REQUEST,
    BadRequest: HTTPStatus.BAD_REQUEST,
    MultiPartParserError: HTTPStatus.BAD_REQUEST,
    UnreadablePostError: HTTPStatus.BAD_REQUEST,
}
"""The nearest ancestor decides. DRF's own errors bear their status, an outage of PostgreSQL is a 503, and the rest a 500."""

_DETAIL_OF_STATUS = {
    400: "Bad Request",
    401: "Authentication required",
    403: "Not allowed",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request body too large",
    415: "Unsupported media type",
    503: "Service unavailable",
}


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. What it does not know it leaves to Django, whose 500 `from_status` then puts into shape."""
    status, detail, headers = _describe(error)
    if status is None:
        return None
    return Response({"detail": detail}, status=status, headers=headers)


def unavailable() -> HttpResponse:
    """The contract's 503 while PostgreSQL is away, for what does not come by way of a view."""
    body = orjson.dumps({"detail": DATABASE_UNAVAILABLE})
    headers = {"Retry-After": str(DATABASE_RETRY_SECONDS)}
    return HttpResponse(body, status=503, content_type="application/json", headers=headers)


def from_status(status: int, headers: dict[str, str] | None = None) -> HttpResponse:
    """The contract's answer for a bare status that some other part of the stack decided on."""
    body = orjson.dumps({"detail": detail_of(status)})
    length = {"Content-Length": str(len(body))}
    return HttpResponse(body, status=status, content_type="application/json", headers=length | (headers or {}))


def is_of_the_api(path: str) -> bool:
    """Whether an error under `path` has the contract's shape, and not that of a page."""
    return path == "/api" or path.startswith("/api/")


def detail_of(status: int) -> str:
    """The sentence of a status that says enough by itself."""
    return _DETAIL_OF_STATUS.get(status, HTTPStatus(status).phrase)


def problems_of(error: ValidationError, origin: str) -> list[Problem]:
    """pydantic's errors in the contract's form. `origin` is `body`, `query`, `path` or `header`."""
    return [
        {"loc": [origin, *fault["loc"]], "msg": fault["msg"], "type": fault["type"]}
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def problem(loc: Iterable[str | int], msg: str, kind: str) -> Problem:
    return {"loc": list(loc), "msg": msg, "type": kind}


_Description = tuple[int | None, str | Sequence[Problem], dict[str, str]]


def _describe(error: Exception) -> _Description:
    if isinstance(error, AuroraError):
        return _describe_ours(error)
    if isinstance(error, APIException):
        detail = _DETAIL_OF_STATUS.get(error.status_code, str(error.detail))
        return error.status_code, detail, {}
    if is_outage(error):
        if not isinstance(error, DatabaseUnavailable):  # a refusal that cost nothing is no news
            log.warning("database_unavailable", error=str(error).strip()[:300])
        return 503, DATABASE_UNAVAILABLE, {"Retry-After": str(DATABASE_RETRY_SECONDS)}
    status = _status_of(error)
    return status, detail_of(status) if status else "", {}


def _describe_ours(error: AuroraError) -> _Description:
    status = _status_of(error)
    if isinstance(error, Denied) and error.is_anonymous:
        return 401, error.detail, {"WWW-Authenticate": "Bearer"}
    if isinstance(error, Invalid):
        return status, error.problems or [problem(["body"], f"Value error, {error.detail}", "value_error")], {}
    if isinstance(error, Unavailable):
        return status, error.detail, {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return status, error.detail, {}


def _status_of(error: Exception) -> int | None:
    return next((int(STATUS_OF[kind]) for kind in type(error).__mro__ if kind in STATUS_OF), None)
