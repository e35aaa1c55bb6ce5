"""What operations of the OpenAPI schema have in common: errors, headers, credentials; and the routes that are no API views."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from aurora.rest.answers import InvalidInput, LiveAnswer, ReadyAnswer, Refusal
from aurora.rest.calls import JSON
from aurora.rest.problems import DATABASE_UNAVAILABLE, detail_of

Json = dict[str, Any]

_MODELS = (InvalidInput, Refusal, LiveAnswer, ReadyAnswer)

CREDENTIALS: dict[str, Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "session": {"type": "apiKey", "in": "cookie", "name": "aurora_session"},
}

_HEADERS: dict[str, tuple[Json, str]] = {
    "X-Request-ID": ({"type": "string"}, "The request's id in every log line: the caller's own when it was sane."),
    "X-Aurora-Data-Source": (
        {"type": "string", "enum": ["demo", "snapshot"]},
        "While PostgreSQL is away: where the answer is from.",
    ),
    "X-Aurora-Mode": (
        {"type": "string", "const": "dry_run"},
        "The installation keeps no change of people's (`AURORA_MODE=dry_run`): this is what would have happened.",
    ),
    "RateLimit-Policy": ({"type": "string"}, 'Each quota: requests, seconds. `"general";q=100;w=60`'),
    "RateLimit": ({"type": "string"}, 'Each quota: requests left, seconds until there are more. `"general";r=87;t=42`'),
    "Retry-After": ({"type": "integer", "minimum": 1}, "Seconds."),
    "WWW-Authenticate": ({"type": "string", "const": "Bearer"}, "How to say who is calling."),
    "Allow": ({"type": "string"}, "The methods that there are."),
    "Idempotent-Replayed": ({"type": "string", "const": "true"}, "The answer was given before, under the same key."),
}
_ALWAYS = ("X-Request-ID", "X-Aurora-Data-Source", "X-Aurora-Mode", "RateLimit-Policy", "RateLimit")
_OF_STATUS = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}
_CERTAIN = {"X-Request-ID", "WWW-Authenticate", "Allow", "Retry-After"}

_SENTENCES = {
    200: "Done.",
    201: "Made.",
    202: "Taken; the work goes on.",
    204: "Done; there is nothing to say.",
    400: "The input is invalid; the list says what and where.",
    401: "No credential, or one that is expired, forged or ended.",
    403: "The caller is known and lacks the permission that is named.",
    404: "There is no such thing.",
    405: "The route has no such method.",
    408: "The body did not come in time.",
    409: "The current state forbids it: a duplicate, or a transition that may not follow.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    429: "Over the limit.",
    500: "An unforeseen failure; the log has it under the request's id.",
    503: "PostgreSQL is away, an agent's breaker is open, or intake is overloaded.",
}
_EXAMPLES: dict[int, Any] = {
    400: [
        {
            "loc": ["body", "severity"],
            "msg": "String should match pattern '^(critical|high|medium|low|info)$'",
            "type": "string_pattern_mismatch",
        }
    ],
    403: "Permission required: cases:write",
    409: "The IOC exists",
    429: "Rate limit exceeded. Try again in 42 seconds.",
    503: DATABASE_UNAVAILABLE,
}


def sentence_of(status: int) -> str:
    return _SENTENCES.get(status, HTTPStatus(status).phrase)


def headers_of(status: int) -> Json:
    """References to the headers of an answer."""
    names = (*_ALWAYS, *_OF_STATUS.get(status, ()), *(("Idempotent-Replayed",) if status in (200, 201) else ()))
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def refusal(status: int) -> Json:
    """A reference to the answer with that status of error."""
    return {"$ref": f"#/components/responses/{_name_of(status)}"}


def components() -> dict[str, Json]:
    """Everything that `refusal`, `headers_of` and `plain_paths` refer to."""
    models = models_json_schema(
        [(model, "serialization") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )[1]
    return {
        "schemas": models["$defs"],
        "headers": {
            name: {"description": meaning, "required": name in _CERTAIN, "schema": described}
            for name, (described, meaning) in _HEADERS.items()
        },
        "responses": {_name_of(status): _refusal(status) for status in _SENTENCES if status >= 400},
        "securitySchemes": CREDENTIALS,
    }


def plain_paths() -> Json:
    """The probes and the document itself."""
    live, ready = ({"$ref": f"#/components/schemas/{model.__name__}"} for model in (LiveAnswer, ReadyAnswer))
    text = {"type": "string"}
    return {
        "/health/live": _read("The process answers.", "live", {200: (JSON, live)}),
        "/health/ready": _read("Each dependency with its latency.", "ready", {200: (JSON, ready), 503: (JSON, ready)}),
        "/metrics": _read("Figures for Prometheus.", "metrics", {200: ("text/plain", text)}),
        "/api/schema": _read("This document.", "schema", {200: (JSON, {"type": "object"})}),
        "/api/docs": _read("This document, to be read.", "docs", {200: ("text/html", text)}),
    }


def _refusal(status: int) -> Json:
    model = InvalidInput if status == HTTPStatus.BAD_REQUEST else Refusal
    example = {"detail": _EXAMPLES.get(status, detail_of(status))}
    content = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}, "example": example}
    return {"description": sentence_of(status), "headers": headers_of(status), "content": {JSON: content}}


def _read(summary: str, operation: str, answers: dict[int, tuple[str, Json]]) -> Json:
    request_id = {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}}
    responses = {
        str(status): {
            "description": sentence_of(status) if status < 400 else "Requests cannot be served.",
            "headers": request_id,
            "content": {media_type: {"schema": described}},
        }
        for status, (media_type, described) in answers.items()
    }
    return {
        "get": {
            "operationId": f"get_{operation}",
            "summary": summary,
            "tags": ["system"],
            "security": [],
            "responses": responses,
        }
    }


def _name_of(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")
