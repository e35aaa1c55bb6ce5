"""The console's pages of connectors and of what they sent to webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents import pages
from agents.playbooks import connector_forms, connectors, deliveries
from agents.playbooks.models import Connector, Delivery
from aurora.actors import Actor
from aurora.console import widgets
from aurora.console.making import MakingAdmin
from aurora.console.verbs import Button, ButtonsAdmin
from aurora.resilience import availability
from aurora.rest.auth import actor_of
from aurora.standin import source

DELIVERIES_SHOWN = 10
PERMISSION = "agents:manage"


def _tested(found: Mapping[str, Any]) -> tuple[bool, str]:
    return found["is_working"], f"{'It works' if found['is_working'] else 'It does not work'}: {found['detail']}"


def _removed(left: int) -> tuple[bool, str]:
    if not left:
        return True, "Connector removed."
    what = "account that it disabled is" if left == 1 else "accounts that it disabled are"
    return True, f"Connector removed. {left} {what} still listed as disabled: enable them in the directory itself."


def _switch(name: str, label: str, icon: str, *, wanted: bool) -> Button:
    return Button(
        name,
        label,
        PERMISSION,
        lambda key, actor, _: connectors.reconfigure(connector_id=key, changes={"enabled": wanted}, actor=actor),
        icon=icon,
        suits=lambda row: row.enabled != wanted,
        done=f"{name}d",
    )


@admin.register(Connector)
class ConnectorAdmin(MakingAdmin):
    """The ways in which actions reach the world."""

    change_form_template = "admin/agents/connector/page.html"
    record_icon = "cable"
    record_facts = ("kind", "priority", "max_in_flight", "updated_at")
    list_display = ("connector", "works", "kind", "serves", "is_enabled", "tested")
    list_display_links = ("connector",)
    list_fullwidth = True
    form_title, form_press = "Add connector", "Add connector"
    buttons = (
        Button(
            "test",
            "Test",
            PERMISSION,
            lambda key, actor, _: connectors.test(connector_id=key, actor=actor),
            icon="network_check",
            tone="primary",
            done="tested",
            tells=_tested,
        ),
        Button(
            "reset",
            "Reset breaker",
            PERMISSION,
            lambda key, actor, _: connectors.reset_breaker(connector_id=key, actor=actor),
            icon="restart_alt",
            suits=lambda row: connectors.breaker_of(row).snapshot().state != "closed",
            done="given a fresh breaker",
        ),
        _switch("enable", "Enable", "toggle_on", wanted=True),
        _switch("disable", "Disable", "toggle_off", wanted=False),
        Button(
            "remove",
            "Remove",
            PERMISSION,
            lambda key, actor, _: connectors.remove(connector_id=key, actor=actor),
            icon="delete",
            tone="danger",
            confirm="Its settings, its secrets and its log go. Steps that need it end as not configured. Accounts that it disabled stay listed.",
            is_for_many=False,
            tells=_removed,
            leads_to=lambda _: reverse("admin:agents_connector_changelist"),
        ),
    )

    def form_for(self, request: HttpRequest) -> forms.Form:
        """Of the kind that was chosen; until then the form that asks for it."""
        kind = (request.POST or request.GET).get("kind", "")
        return connector_forms.form_of(kind, request.POST or None)

    def make(self, given: Mapping[str, Any], actor: Actor) -> Connector:
        return connectors.configure(name=given["name"], kind=given["kind"], changes=given["changes"], actor=actor)

    def get_urls(self) -> list[URLPattern]:
        route = path("<path:object_id>/edit/", self.admin_site.admin_view(self.edit), name="agents_connector_edit")
        return [route, *super().get_urls()]

    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Its settings, in the form that adds one. What is secret goes in and never comes out."""
        availability.database.require_writable()
        if not self.is_editable(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        held = connectors.describe(row)["secrets"]
        form = connector_forms.SettingsForm(row.kind, request.POST or None, row, held)
        return self.through(
            request,
            form,
            lambda given, actor: connectors.reconfigure(
                connector_id=row.pk, changes=given["changes"], actor=actor, seen_as=given["seen"]
            ),
            self.made,
            title=f"Settings of {row.name}",
            press="Save",
            press_icon="save",
            hint="Once saved, it has to be tested anew.",
        )

    def is_editable(self, request: HttpRequest) -> bool:
        return source.is_writable() and actor_of(request).may(PERMISSION)

    def form_page(self, request: HttpRequest, **context: Any) -> Any:
        form: forms.Form = context["form"]
        if isinstance(form, connector_forms.ConnectorForm):
            kind = form.initial["kind"]
            context |= {"title": f"Add connector: {connector_forms.LABELS[kind]}"}
            context |= {"hint": "It is tried out on its page, by “Test”; that has no effect on its target."}
        if isinstance(form, connector_forms.KindForm):
            context |= {"press": "Next", "press_icon": "arrow_forward", "method": "get"}
        return super().form_page(request, **context)

    def page(self, request: HttpRequest, row: Connector) -> dict[str, Any]:
        context, live = super().page(request, row), connectors.describe(row)
        served = widgets.chips(map(widgets.words, row.actions), shown=8)
        told = [
            (connector_forms.label_of(name), connector_forms.written(given)) for name, given in row.settings.items()
        ]
        return {
            **context,
            "facts": [("Serves", served), *context["facts"]],
            "settings": told + [(connector_forms.label_of(name), "set, never shown") for name in live["secrets"]],
            **pages.breaker_box(live["breaker"]),
            "edit": reverse("admin:agents_connector_edit", args=[row.pk]) if self.is_editable(request) else "",
            "is_webhook": row.kind == "webhook",
            "deliveries": [(sent, delivery_badge(sent)) for sent in row.deliveries.defer("body")[:DELIVERIES_SHOWN]],
        }

    @admin.display(description="Connector", ordering="name")
    def connector(self, row: Connector) -> SafeString:
        return format_html('<span class="au-title"><b>{}</b><small>{}</small></span>', row.name, row.test_error)

    @admin.display(description="Serves")
    def serves(self, row: Connector) -> SafeString:
        return widgets.chips(map(widgets.words, row.actions))

    @admin.display(description="Enabled", ordering="enabled")
    def is_enabled(self, row: Connector) -> SafeString:
        return widgets.badge("status", "yes" if row.enabled else "no")

    @admin.display(description="State")
    def works(self, row: Connector) -> SafeString:
        if row.tested_at is None:
            return widgets.badge("status", "untested", "Not tested")
        return widgets.badge("status", "failed" if row.test_error else "online", "Fails" if row.test_error else "Works")

    @admin.display(description="Tested", ordering="tested_at")
    def tested(self, row: Connector) -> SafeString:
        return widgets.ago(row.tested_at)


@admin.register(Delivery)
class DeliveryAdmin(ButtonsAdmin):
    """What was sent to webhooks."""

    list_empty = "What connectors send to webhooks is logged here."
    record_icon = "webhook"
    record_nouns = ("delivery", "deliveries")
    record_facts = ("connector", "event_id", "status", "error", "is_replay", "sent_at")
    record_texts = ("body",)
    list_display = ("outcome", "receiver", "event_id", "why", "sent")
    list_display_links = ("receiver",)
    list_filter = ("connector",)
    list_select_related = ("connector",)
    list_deferred = ("body",)
    list_fullwidth = True
    search_fields = ("=event_id", "connector__name")
    search_help_text = "Event id or connector"
    buttons = (
        Button(
            "replay",
            "Send again",
            PERMISSION,
            lambda key, actor, _: deliveries.replay(delivery_id=key, actor=actor),
            icon="replay",
            tone="primary",
            is_for_many=False,
            suits=lambda row: row.event_id != "check",
            done="sent again",
            leads_to=lambda row: reverse("admin:agents_delivery_change", args=[row.pk]),
        ),
    )

    def page(self, request: HttpRequest, row: Delivery) -> dict[str, Any]:
        context = super().page(request, row)
        receiver = reverse("admin:agents_connector_change", args=[row.connector_id])
        facts = dict(context["facts"])
        facts["Connector"] = format_html('<a href="{}">{}</a>', receiver, row.connector)
        facts["Status"] = delivery_badge(row)
        return {**context, "title": f"To {row.connector}", "facts": list(facts.items())}

    @admin.display(description="Outcome", ordering="status")
    def outcome(self, row: Delivery) -> SafeString:
        again = format_html('<small class="au-taken">{}</small>', "Sent again") if row.is_replay else ""
        return format_html("{}{}", delivery_badge(row), again)

    @admin.display(description="To", ordering="connector__name")
    def receiver(self, row: Delivery) -> str:
        return row.connector.name

    @admin.display(description="Error")
    def why(self, row: Delivery) -> SafeString:
        return format_html('<span class="au-clip" title="{}">{}</span>', row.error[:500], row.error[:160] or "—")

    @admin.display(description="Sent", ordering="sent_at")
    def sent(self, row: Delivery) -> SafeString:
        return widgets.ago(row.sent_at)


def delivery_badge(row: Delivery) -> SafeString:
    """What the receiver answered; what is not in the two hundreds it did not take."""
    if row.status is None:
        return widgets.badge("status", "failed", "No answer")
    return widgets.badge("status", "completed" if 200 <= row.status < 300 else "failed", f"HTTP {row.status}")
