"""The console's page of accounts that playbooks disabled in directories. Enabling one again is its run's to do, by its undo."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from agents.playbooks.admin import run_link
from agents.playbooks.models import DisabledAccount
from aurora.console import widgets
from aurora.console.records import RecordAdmin


class EnabledFilter(admin.SimpleListFilter):
    """Accounts by whether the step that disabled them was undone."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("disabled", "Disabled"), ("enabled", "Enabled again")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(enabled_at__isnull=self.value() == "disabled") if self.value() else queryset


@admin.register(DisabledAccount)
class DisabledAccountAdmin(RecordAdmin):
    """Accounts that steps disabled, and whether their undo has enabled them."""

    list_empty = "What playbooks disable in a directory is kept here, for the undo to go by."
    record_icon = "person_off"
    record_nouns = ("account", "accounts")
    record_facts = ("dn", "attribute", "before", "created_at", "disabled_at", "enabled_at")
    list_display = ("state", "dn", "held_in", "disabled", "enabled")
    list_display_links = ("dn",)
    list_filter = (EnabledFilter,)
    list_select_related = ("connector",)
    list_fullwidth = True
    ordering = ("-id",)
    search_fields = ("dn",)
    search_help_text = "Name in the directory"

    def page(self, request: HttpRequest, row: DisabledAccount) -> dict[str, Any]:
        context = super().page(request, row)
        return {
            **context,
            "facts": [
                ("State", self.state(row)),
                ("Directory", self.held_in(row)),
                ("Run", run_link(row.key)),
                *context["facts"],
            ],
        }

    @admin.display(description="State")
    def state(self, row: DisabledAccount) -> SafeString:
        if row.enabled_at:
            return widgets.badge("status", "closed", "Enabled again")
        if row.disabled_at:
            return widgets.badge("status", "active", "Disabled")
        return widgets.badge("status", "partial", "Not shown as disabled")

    @admin.display(description="Directory", ordering="connector__name")
    def held_in(self, row: DisabledAccount) -> str:
        return row.connector.name if row.connector else f"{row.directory} (connector removed)"

    @admin.display(description="Disabled", ordering="disabled_at")
    def disabled(self, row: DisabledAccount) -> SafeString:
        return widgets.ago(row.disabled_at)

    @admin.display(description="Enabled again", ordering="enabled_at")
    def enabled(self, row: DisabledAccount) -> SafeString:
        return widgets.ago(row.enabled_at)
