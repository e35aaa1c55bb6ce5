"""The page that an approver's link leads to. It shows what is asked and has two buttons; only a press decides."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from agents.playbooks import links
from agents.playbooks.links import Opened
from aurora import dry_run
from aurora.errors import AuroraError, Conflict, Denied, Invalid, Missing
from aurora.rest.auth import address_of
from aurora.standin import source
from aurora.standin.middleware import refused_in_showcase, unavailable

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_STATUS_OF: dict[type[AuroraError], int] = {Missing: 404, Conflict: 410, Denied: 403, Invalid: 400}
_HEADINGS = {
    404: "This is no link of ours",
    410: "This link is no longer good",
    403: "This link is not for you",
    400: "Nothing was decided",
}
_NOT_OURS = "It may have been cut off on its way. Copy the whole of it, or sign in to the console, where approvals wait as well."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def approval_link(request: HttpRequest) -> HttpResponse:
    """What is asked, to whoever holds the link; and on POST the decision."""
    if settings.MODE == "demo" and request.method == "POST":
        return refused_in_showcase(request)
    if settings.MODE != "demo" and not source.is_writable():
        return unavailable(request)
    sent = request.POST if request.method == "POST" else request.GET
    token = sent.get("link", "")
    try:
        found = links.opened(token=token, address=address_of(request))
        _require_same_person(request, found)
        if request.method != "POST":
            return _page(request, "ask", 200, found, {"token": token})
        return _decided(request, token, found)
    except AuroraError as error:
        return _refusal(request, error)


def _decided(request: HttpRequest, token: str, found: Opened) -> HttpResponse:
    given = {name: request.POST.get(name, "") for name in ("verdict", "reason")}
    try:
        with dry_run.preview() if dry_run.is_on() else nullcontext():
            done = links.decide(token=token, address=address_of(request), **given)
            response = _page(request, "done", 200, done, {"verdict": given["verdict"], "is_kept": not dry_run.is_on()})
    except Invalid as error:
        return _page(request, "ask", 400, found, {"token": token, "error": error.detail})
    if dry_run.is_on():
        response.headers[dry_run.HEADER] = dry_run.MODE
    return response


def _require_same_person(request: HttpRequest, found: Opened) -> None:
    """A forwarded link is opened in a browser where somebody else has signed in: they would decide in another's name without noticing."""
    if request.user.is_authenticated and request.user.get_username() != found.owner.name:
        raise Denied(f"It is for {found.owner.name}; you are signed in as {request.user.get_username()}")


def _refusal(request: HttpRequest, error: AuroraError) -> HttpResponse:
    status = next(code for kind, code in _STATUS_OF.items() if isinstance(error, kind))
    text = _NOT_OURS if status == 404 else f"{error.detail}. Nothing was decided by opening it."
    return _page(request, "refused", status, None, {"heading": _HEADINGS[status], "text": text, "code": status})


def _page(request: HttpRequest, state: str, status: int, found: Opened | None, context: dict[str, Any]) -> HttpResponse:
    about: dict[str, Any] = {}
    if found:
        values = (
            (name, value if isinstance(value, list) else [value]) for name, value in found.approval.parameters.items()
        )
        parameters = [(name, ", ".join(map(str, items))) for name, items in values]
        about = {"approval": found.approval, "owner": found.owner.name, "parameters": parameters}
    response = render(request, "approvals/link.html", {"state": state, **about, **context}, status=status)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
