"""The console: Django's admin in the product's clothes, reading the product's table of roles."""

from __future__ import annotations

from contextlib import nullcontext
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import BadRequest
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.forms import AdminOwnPasswordChangeForm
from unfold.sites import UnfoldAdminSite

from aurora import dry_run
from aurora.bus import control
from aurora.console import overview, previews
from aurora.identity import accounts, credentials
from aurora.resilience import availability
from aurora.rest.auth import actor_of, address_of
from aurora.standin.middleware import refused_in_showcase
from aurora.standin.source import SAFE

# unfold's Alpine compiles the expressions of its templates ('unsafe-eval') and sets styles inline; scripts inline or from elsewhere never run,
# so text of an attacker's that a mistake let become markup still does nothing.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class Console(UnfoldAdminSite):
    """The one AdminSite."""

    site_header = site_title = "AuroraSOC"
    index_title = "Overview"
    enable_nav_sidebar = True
    empty_value_display = "—"

    def has_permission(self, request: HttpRequest) -> bool:
        """Staff with a role that reads: a staff flag alone opens nothing, nor does a role without it."""
        user = request.user
        return user.is_active and user.is_staff and user.has_perm("cases.view_alert")

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        guarded = super().admin_view(view, cacheable)
        if view != self.logout and not previews.is_seen_to(view):
            guarded = previews.taken_back_in_dry_run(guarded)

        @wraps(guarded)
        def with_policy(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            _refuse_nul(request)
            is_refused = settings.MODE == "demo" and request.method not in SAFE and view != self.logout
            response: HttpResponseBase = (
                refused_in_showcase(request) if is_refused else guarded(request, *args, **kwargs)
            )
            _set_policy(response)
            return response

        return with_policy

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().login(request, extra_context)
        _set_policy(response)
        if request.method == "POST" and request.user.is_authenticated and response.status_code == HTTPStatus.FOUND:
            credentials.note_sign_in(actor_of(request))
        form = (getattr(response, "context_data", None) or {}).get("form")
        if form is not None and form.retry_after:
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
            response.headers["Retry-After"] = str(form.retry_after)
        return response

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        leaving, user_id = request.user, request.user.pk
        # While PostgreSQL is away no session of its ends, nor is there a trail to tell of it.
        is_kept = availability.database.standing.is_up
        with transaction.atomic() if is_kept else nullcontext():
            response = super().logout(request, extra_context)
            if is_kept and leaving.is_authenticated and not request.user.is_authenticated:
                credentials.note_sign_out(leaving, address=address_of(request))
        control.rights_changed(user_id=user_id)
        _set_policy(response)
        return response

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {**self.each_context(request), **(extra_context or {})}
        done = reverse("admin:password_change_done", current_app=self.name)
        return _OwnPassword.as_view(success_url=done, extra_context=context)(request)

    def app_index(self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None) -> Any:
        """Django's bare list of an app's models; the sidebar has them all, and the overview more."""
        return HttpResponseRedirect(reverse("admin:index", current_app=self.name))

    def get_urls(self) -> list[Any]:
        return [path("sidebar/", self.admin_view(self.sidebar), name="sidebar"), *super().get_urls()]

    def sidebar(self, request: HttpRequest) -> HttpResponse:
        """The sidebar alone, for pages whose counts move: live.js takes them from it."""
        context = {"sidebar_navigation": self.get_sidebar_list(request)}
        return TemplateResponse(request, "unfold/helpers/app_list.html", context)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        parts = overview.parts(permissions=actor_of(request).permissions)
        figures = [figure for part in parts for figure in part.figures]
        panels = [panel for part in parts for panel in part.panels]
        return super().index(request, {"figures": figures, "panels": panels, **(extra_context or {})})


class _OwnPassword(PasswordChangeView):
    """Django's page, whose change is the product's verb."""

    form_class = AdminOwnPasswordChangeForm

    def form_valid(self, form: Any) -> HttpResponse:
        user = accounts.change_own_password(password=form.cleaned_data["new_password1"], actor=actor_of(self.request))
        if not dry_run.is_preview():
            # This sign-in alone outlives it. A new session would be taken back with the rest.
            update_session_auth_hash(self.request, user)
        return HttpResponseRedirect(self.get_success_url())


def _set_policy(response: HttpResponseBase) -> None:
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY


def _refuse_nul(request: HttpRequest) -> None:
    """No browser sends NUL and PostgreSQL stores none: refused here once, and not in each filter and form."""
    for sent in (request.GET, request.POST):
        if any("\0" in text for name, values in sent.lists() for text in (name, *values) if isinstance(text, str)):
            raise BadRequest("NUL in the query or in the form")
