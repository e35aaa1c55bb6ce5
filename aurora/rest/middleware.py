"""What every request passes: a request id, the contract's shape on every error below `/api/`, a log context."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from django_structlog.middlewares import RequestMiddleware
from django_structlog.signals import bind_extra_request_failed_metadata

from aurora.ids import new_id
from aurora.rest import problems
from aurora.rest.auth import address_of, forget_strange_forwarding

log = structlog.get_logger(__name__)

REFUSED = "aurora.refused"
"""In the WSGI environ, from `aurora.bridge`: the status to answer with, for a body that it did not read to the end."""

_REQUEST_ID = "HTTP_X_REQUEST_ID"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class EdgeMiddleware:
    """The outermost: gives the request its id, taken over from a sane `X-Request-ID`, and answers with it.

    Below `/api/` it puts into the contract's shape what DRF never sees: unknown routes, refused hosts, failures of other middleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        sent = request.META.get(_REQUEST_ID, "")
        forget_strange_forwarding(request)
        request.META[_REQUEST_ID] = sent if _SANE_REQUEST_ID.fullmatch(sent) else str(new_id())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.META[_REQUEST_ID], address=address_of(request))
        try:
            response = self._answer(request)
        except Exception:
            # Of Django's own page about a failure: nothing behind this turns it into an answer of any shape.
            log.exception("answer_failed", request_id=request.META[_REQUEST_ID])
            response = problems.from_status(500)
        response.headers["X-Request-ID"] = request.META[_REQUEST_ID]
        # Django's own middleware adds it to what it sees; answers made here, and to hosts that are not ours, it does not.
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        if status := request.META.get(REFUSED):
            # Whoever sends too slowly is not waited for any longer; whoever sends too much would miss the answer, were the connection closed.
            return problems.from_status(
                status, {"Connection": "close"} if status == HTTPStatus.REQUEST_TIMEOUT else None
            )
        if "\0" in request.path:
            return problems.from_status(404)  # the name of nothing, and of nothing that PostgreSQL can be asked for
        _forget_strange_session(request)
        response = self.get_response(request)
        is_shaped = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or is_shaped or not problems.is_of_the_api(request.path):
            return response
        kept = {name: response.headers[name] for name in ("Allow", "Retry-After") if name in response.headers}
        return problems.from_status(response.status_code, kept)


class RequestContextMiddleware(RequestMiddleware):
    """django-structlog's, inside the request's span: tells how the request ended. What it binds, lines from outside of it bear as well."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Method and path. Not the query: it may hold a token."""
        return f"{request.method} {request.path}"


@receiver(bind_extra_request_failed_metadata)
def _name_the_route(request: HttpRequest, log_kwargs: dict[str, Any], **_rest: Any) -> None:
    """The route beside the path: one fault of many paths is then one fault to whoever counts."""
    log_kwargs["route"] = request.resolver_match.route if request.resolver_match else ""


def _forget_strange_session(request: HttpRequest) -> None:
    """Django's session keys are letters and digits; a NUL hidden in a quoted cookie would make the database driver raise."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    if key and not (key.isascii() and key.isalnum()):
        del request.COOKIES[settings.SESSION_COOKIE_NAME]
