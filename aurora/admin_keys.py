"""The console's page of API keys: made, rotated, revoked; a key is shown once, on the page that made it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from aurora.actors import Actor
from aurora.console import widgets
from aurora.console.making import MakingAdmin
from aurora.console.verbs import Button, Choice
from aurora.errors import AuroraError
from aurora.identity import api_keys
from aurora.ids import uuid_or_none
from aurora.models import ApiKey
from aurora.rest.auth import actor_of
from aurora.roles import ROLES

_ROTATE = Button("rotate", "Rotate", "users:manage", lambda key, actor, form: None, icon="autorenew")
"""Its press has a page of its own: the new key must be shown."""
_OVERLAPS = (
    Choice("86400", "Old key good for a day", is_chosen=True),
    Choice("0", "Old key ends at once"),
    Choice("3600", "Old key good for an hour"),
    Choice("604800", "Old key good for a week"),
)


class ApiKeyForm(forms.Form):
    """A new key; what is right, the verb decides."""

    name = forms.CharField(max_length=100)
    role = forms.ChoiceField(choices=[(role, widgets.words(role)) for role in ROLES], initial="api_service")
    networks = forms.CharField(
        required=False, help_text="From where it is good, such as 192.0.2.0/24, separated by commas. Empty: everywhere."
    )
    expires_at = forms.DateTimeField(
        required=False,
        label="Expires (UTC)",
        help_text="Empty: never.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )

    def clean_networks(self) -> list[str]:
        return [part.strip() for part in self.cleaned_data["networks"].split(",") if part.strip()]


@admin.register(ApiKey)
class ApiKeyAdmin(MakingAdmin):
    """Programs' credentials. The key itself is shown once, on the page that made it; its hash never."""

    buttons = (
        Button(
            "revoke",
            "Revoke",
            "users:manage",
            lambda key, actor, _: api_keys.revoke(key_id=key, actor=actor),
            icon="key_off",
            tone="danger",
            confirm="Programs that use this key are refused from now on. A revoked key cannot be brought back.",
            suits=lambda key: key.revoked_at is None,
            done="revoked",
        ),
    )
    record_icon = "key"
    record_facts = (
        "name",
        "prefix",
        "role",
        "networks",
        "created_by",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
        "rotated_from",
    )
    list_display = ("name", "prefix", "role_badge", "good_at", "created_by", "used", "state")
    list_filter = ("role",)
    search_fields = ("name", "=prefix")
    list_deferred = ("key_hash",)
    form_class = ApiKeyForm
    form_title, form_press, form_icon = "Add API key", "Add API key", "key"
    form_hint = "The key is shown once, on the page that follows."

    @admin.display(description="Role", ordering="role")
    def role_badge(self, key: ApiKey) -> SafeString:
        return widgets.badge("role", key.role)

    @admin.display(description="Good at")
    def good_at(self, key: ApiKey) -> str:
        return ", ".join(key.networks) or "everywhere"

    @admin.display(description="Last used", ordering="last_used_at")
    def used(self, key: ApiKey) -> SafeString:
        return widgets.ago(key.last_used_at)

    @admin.display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        if key.revoked_at:
            return widgets.badge("status", "closed", "Revoked")
        is_over = key.expires_at is not None and key.expires_at <= timezone.now()
        return widgets.badge("status", "closed" if is_over else "active", "Expired" if is_over else "Active")

    def make(self, given: Mapping[str, Any], actor: Actor) -> tuple[ApiKey, str]:
        return api_keys.create(**given, actor=actor)

    def made(self, request: HttpRequest, result: tuple[ApiKey, str]) -> HttpResponse:
        """The new key's page: the one on which it is shown."""
        row, key = result
        page = self.form_page(request, title=str(row), row=row, key=key)
        page.template_name = "admin/aurora/api_key.html"
        page.headers["Cache-Control"] = "no-store"
        return page

    def get_urls(self) -> list[URLPattern]:
        rotate = path("<path:object_id>/rotate/", self.admin_site.admin_view(self.rotate), name="aurora_apikey_rotate")
        return [rotate, *super().get_urls()]

    def page(self, request: HttpRequest, row: ApiKey) -> dict[str, Any]:
        context = super().page(request, row)
        context["facts"] = [
            (label, self.good_at(row) if label == "Networks" else value) for label, value in context["facts"]
        ]
        if actor_of(request).may(_ROTATE.permission) and _is_alive(row):
            offer = (_ROTATE, reverse("admin:aurora_apikey_rotate", args=[row.pk]), _OVERLAPS)
            context["choosers"] = [*context["choosers"], offer]
        return context

    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """One press of "Rotate": the new key's page, which shows it this once."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        key_id = uuid_or_none(object_id)
        overlap = request.POST.get("choice", "")
        if key_id is None:
            raise Http404
        if overlap not in {choice.value for choice in _OVERLAPS}:
            messages.error(request, "Choose for how long the old key stays good.")
            return HttpResponseRedirect(reverse("admin:aurora_apikey_change", args=[key_id]))
        try:
            made = api_keys.rotate(key_id=key_id, overlap=timedelta(seconds=int(overlap)), actor=actor_of(request))
        except AuroraError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(reverse("admin:aurora_apikey_changelist"))
        return self.made(request, made)


def _is_alive(key: ApiKey) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > timezone.now())
