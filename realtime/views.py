"""The live page. It holds nothing but its frame and today's figures; what happens comes over the sockets and the API."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render, resolve_url
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agents.overview import running_investigations
from aurora.rest.auth import actor_of
from cases import overview
from cases.states import SEVERITIES

# No inline script or style, nothing from elsewhere: text that an attacker wrote stays text even if a mistake let it become markup.
# `'self'` covers ws: and wss: to this origin as well (CSP Level 3, section 6.7.2.8).
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PERMISSIONS = ("ws:alerts", "ws:agent-thoughts", "alerts:read")

View = Callable[[HttpRequest], HttpResponseBase]


def _for_watchers(view: View) -> View:
    """Lets in whoever the console lets in and may watch; asks everybody else to sign in. Nothing is cached."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponseBase:
        if not admin.site.has_permission(request):
            return redirect_to_login(request.get_full_path(), resolve_url(settings.LOGIN_URL))
        actor = actor_of(request)
        if not all(actor.may(permission) for permission in PERMISSIONS):
            return HttpResponse("Your role may not watch the live page.", status=403, content_type="text/plain")
        return view(request)

    return never_cache(require_safe(guarded))


@_for_watchers
def dashboard(request: HttpRequest) -> HttpResponseBase:
    """The page."""
    context = {"figures": _figures(), "severities": SEVERITIES, "actor": actor_of(request)}
    response = render(request, "dashboard/page.html", context)
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


@_for_watchers
def figures(request: HttpRequest) -> HttpResponseBase:
    """The counters as JSON: the page counts along and asks once a minute, so that its figures never drift from the console's."""
    return JsonResponse(_figures())


def _figures() -> dict[str, Any]:
    today = overview.today()
    return {
        "by_severity": today.by_severity,
        "alerts": today.alerts,
        "unacknowledged": today.unacknowledged,
        "open_cases": today.open_cases,
        "running": running_investigations(),
        "per_minute": overview.alerts_per_minute(),
    }
