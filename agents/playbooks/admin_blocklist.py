"""The console's pages of the block list."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.playbooks import blocking
from agents.playbooks.admin import run_link
from agents.playbooks.models import BlocklistEntry
from aurora.console import widgets
from aurora.console.records import facts_of
from aurora.console.verbs import Button, ButtonsAdmin
from cases.observables import defang, refang


def _is_over(row: BlocklistEntry) -> bool:
    return row.lifted_at is not None or (row.expires_at is not None and row.expires_at <= timezone.now())


class InForceFilter(admin.SimpleListFilter):
    """Entries by whether firewalls are still told to block them."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("blocked", "Blocked"), ("over", "Lifted or expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        over = Q(lifted_at__isnull=False) | Q(expires_at__lte=timezone.now())
        if self.value() == "blocked":
            return queryset.exclude(over)
        return queryset.filter(over) if self.value() == "over" else queryset


def _lifted(row: BlocklistEntry) -> tuple[bool, str]:
    if blocking.is_still_listed(row):
        return (
            False,
            f"{defang(row.value, row.type)} is lifted here, but firewalls still block it: the IOC store holds it as hostile.",
        )
    return True, f"{defang(row.value, row.type)} is lifted: firewalls let it pass when they fetch the list next."


@admin.register(BlocklistEntry)
class BlocklistAdmin(ButtonsAdmin):
    """What firewalls are told to block."""

    buttons = (
        Button(
            "lift",
            "Lift the block",
            blocking.PERMISSION,
            lambda key, actor, form: blocking.lift(entry_id=key, actor=actor, reason=form.get("text", "")),
            icon="lock_open",
            tone="danger",
            asks="Why it is lifted",
            is_for_many=False,
            suits=lambda row: not _is_over(row),
            tells=_lifted,
        ),
    )

    list_empty = "Playbooks put here what firewalls are to block."
    record_icon = "gpp_bad"
    record_nouns = ("entry", "entries")
    record_facts = ("reason", "created_at", "expires_at")
    list_display = ("state", "blocked", "kind", "reason", "since", "until")
    list_display_links = ("blocked",)
    list_filter = (InForceFilter, "type")
    list_fullwidth = True
    search_fields = ("value", "reason")
    search_help_text = "Address, domain, URL or reason"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any, Any], search_term: str
    ) -> tuple[QuerySet[Any, Any], bool]:
        return super().get_search_results(request, queryset, refang(search_term))

    def page(self, request: HttpRequest, row: BlocklistEntry) -> dict[str, Any]:
        lifted = ("lifted_at", "lifted_by", "lifted_because") if row.lifted_at else ()
        context = super().page(request, row)
        return {
            **context,
            "title": defang(row.value, row.type),
            "facts": [
                ("State", self.state(row)),
                ("Type", self.kind(row)),
                ("Run", run_link(row.key)),
                *context["facts"],
                *facts_of(row, lifted),
            ],
            "longest": blocking.LONGEST_REASON,
        }

    @admin.display(description="State")
    def state(self, row: BlocklistEntry) -> SafeString:
        if row.lifted_at:
            return widgets.badge("status", "closed", "Lifted")
        is_over = _is_over(row)
        return widgets.badge("status", "closed" if is_over else "active", "Expired" if is_over else "Blocked")

    @admin.display(description="Blocked", ordering="value")
    def blocked(self, row: BlocklistEntry) -> SafeString:
        return format_html('<code class="au-indicator">{}</code>', defang(row.value, row.type))

    @admin.display(description="Type", ordering="type")
    def kind(self, row: BlocklistEntry) -> SafeString:
        return widgets.badge("ioc", row.type, row.get_type_display())

    @admin.display(description="Since", ordering="created_at")
    def since(self, row: BlocklistEntry) -> SafeString:
        return widgets.ago(row.created_at)

    @admin.display(description="Until", ordering="expires_at")
    def until(self, row: BlocklistEntry) -> SafeString | str:
        return widgets.ago(row.lifted_at or row.expires_at) if row.lifted_at or row.expires_at else "for good"
