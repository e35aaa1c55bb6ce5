"""Every route. Apps are named by string: the ground floor does not import them."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from aurora.observability import health, metrics
from aurora.rest import api, docs, openapi


def _read_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """For the probes. Without the exemption, whoever posts to one would be told of a CSRF token instead of the method."""
    return csrf_exempt(require_safe(view))


_API_V1: list[URLPattern | URLResolver] = [
    path("auth/token", api.Token.as_view()),
    path("auth/refresh", api.Refresh.as_view()),
    path("auth/logout", api.Logout.as_view()),
    path("auth/api-keys", api.ApiKeys.as_view()),
    path("auth/api-keys/<str:key_id>", api.ApiKeyDetail.as_view()),
    path("auth/api-keys/<str:key_id>/rotate", api.ApiKeyRotation.as_view()),
    path("users", api.Accounts.as_view()),
    path("users/me", api.Me.as_view()),
    path("users/<str:username>", api.AccountDetail.as_view()),
    path("system/mode", api.Mode.as_view()),
    path("audit", api.Audit.as_view()),
    path("dead-letters", api.DeadLetters.as_view()),
    path("dead-letters/<str:dead_letter_id>", api.DeadLetterDetail.as_view()),
    path("", include("cases.urls")),
    path("", include("agents.urls")),
    path("", include("realtime.urls")),
]

urlpatterns = [
    path("health/live", _read_only(health.live)),
    path("health/ready", _read_only(health.ready)),
    path("metrics", _read_only(metrics.scrape)),
    path("api/v1/", include(_API_V1)),
    path("api/schema", _read_only(openapi.schema), name="schema"),
    path("api/docs", _read_only(docs.page)),
    path("admin/", admin.site.urls),
    path("", include("agents.page_urls")),
    path("", include("realtime.page_urls")),
]
