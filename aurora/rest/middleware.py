"""What every request passes: a request id and log context around it, and the contract's shape on every error below `/api/`."""

from __future__ import annotations

import re
from collections.abc import Callable

import structlog
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django_structlog.middlewares import RequestMiddleware

from aurora.ids import new_id
from aurora.rest import problems
from aurora.rest.auth import address_of

BODY_TOO_LARGE = "aurora.body_too_large"
"""Set in the WSGI environ by `aurora.bridge` for a body that it did not read to the end."""

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class RequestContextMiddleware(RequestMiddleware):
    """Gives the request its id, taken over from a sane `X-Request-ID`, binds it to every log line, and answers with it."""

    def prepare(self, request: HttpRequest) -> None:
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = sent if _SANE_REQUEST_ID.fullmatch(sent) else str(new_id())
        request.META["HTTP_X_REQUEST_ID"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(address=address_of(request))
        super().prepare(request)

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        response.headers["X-Request-ID"] = request.META["HTTP_X_REQUEST_ID"]
        super().handle_response(request, response)
        structlog.contextvars.clear_contextvars()

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Method and path. Not the query: it may hold a token."""
        return f"{request.method} {request.path}"


class ApiErrorsMiddleware:
    """Below `/api/`, puts into the contract's shape what DRF never sees: unknown routes, refused hosts, failures of other middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith("/api/"):
            return self.get_response(request)
        if request.META.get(BODY_TOO_LARGE):
            return problems.from_status(413)
        response = self.get_response(request)
        if response.status_code < 400 or response.headers.get("Content-Type", "").startswith("application/json"):
            return response
        kept = {name: response.headers[name] for name in ("Allow", "Retry-After") if name in response.headers}
        return problems.from_status(response.status_code, kept)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Errors of ours, and outages, that a plain Django view let through."""
        return problems.response_for(error) if not isinstance(error, RequestDataTooBig) else problems.from_status(413)
