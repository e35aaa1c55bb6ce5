"""The console's pages of rules that run playbooks when alerts arrive."""

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

from agents.playbooks import automation
from agents.playbooks.admin import run_lines
from agents.playbooks.models import AutomationRule, Playbook
from aurora.actors import Actor
from aurora.console import widgets
from aurora.console.making import EditingForm, MakingAdmin
from aurora.console.verbs import Button
from aurora.resilience import availability

RUNS_SHOWN = 10
LONGEST_CONDITION = 500
MOST_A_MINUTE = 1000
_REWRITTEN = ("condition", "max_per_minute")


CONDITION_HELP = (
    "On severity, source, category, techniques, asset_criticality, is_ot, is_it, business_hours and alert, such as: "
    'severity >= "high" and "T1110" in techniques and is_it'
)


class RewritingForm(EditingForm):
    """What can be set of a rule that is there."""

    condition = forms.CharField(
        max_length=LONGEST_CONDITION,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=CONDITION_HELP,
    )
    max_per_minute = forms.IntegerField(initial=5, min_value=1, max_value=MOST_A_MINUTE, label="Runs a minute, at most")

    def look_again(self) -> None:
        super().look_again()
        for name in _REWRITTEN:
            if name in self.changed_data:
                self.add_error(name, f"It is now: {self.initial[name]}")


class RuleForm(RewritingForm):
    """A new rule. It is switched on from its page, where one sees first what it would have been for."""

    field_order = ("name", "playbook")
    name = forms.CharField(max_length=64)
    playbook = forms.ModelChoiceField(Playbook.objects.order_by("name"), empty_label="Choose a playbook")
    dry_run = forms.BooleanField(required=False, initial=True, label="Rehearse only: its runs have no effect")


def _switch(name: str, label: str, icon: str, tone: str, done: str, **changes: bool) -> Button:
    [(field, wanted)] = changes.items()
    return Button(
        name,
        label,
        automation.PERMISSION,
        lambda key, actor, _: automation.edit_rule(rule_id=key, changes=changes, actor=actor),
        icon=icon,
        tone=tone,
        suits=lambda row: getattr(row, field) != wanted,
        done=done,
    )


@admin.register(AutomationRule)
class AutomationRuleAdmin(MakingAdmin):
    """Rules: what sets them off, what they have been for, and a switch."""

    change_form_template = "admin/agents/automationrule/page.html"
    list_empty = "A rule runs a playbook when an alert of a kind arrives."
    record_icon = "bolt"
    record_nouns = ("rule", "rules")
    record_facts = ("max_per_minute", "held_back", "created_by", "owner", "updated_at")
    list_display = ("rule", "playbook", "state", "max_per_minute", "held_back", "updated")
    list_display_links = ("rule",)
    list_select_related = ("playbook",)
    list_fullwidth = True
    form_class = RuleForm
    form_title, form_press = "New rule", "Add rule"
    form_hint = "A new rule is off. Its page says what it would have been for; switch it on there."
    buttons = (
        _switch("enable", "Switch on", "toggle_on", "primary", "switched on", enabled=True),
        _switch("disable", "Switch off", "toggle_off", "", "switched off", enabled=False),
        _switch("earnest", "Run in earnest", "play_circle", "danger", "set to run in earnest", dry_run=False),
        _switch("rehearse", "Rehearse only", "science", "", "set to rehearse", dry_run=True),
        Button(
            "remove",
            "Remove",
            automation.PERMISSION,
            lambda key, actor, _: automation.remove_rule(rule_id=key, actor=actor),
            icon="delete",
            tone="danger",
            confirm="The rule goes, its runs stay.",
            done="removed",
            leads_to=lambda _: reverse("admin:agents_automationrule_changelist"),
        ),
    )

    def make(self, given: Mapping[str, Any], actor: Actor) -> AutomationRule:
        changes = {name: given[name] for name in ("max_per_minute", "dry_run")}
        return automation.write_rule(
            name=given["name"],
            playbook_id=given["playbook"].pk,
            condition=given["condition"],
            changes=changes,
            actor=actor,
        )

    def get_urls(self) -> list[URLPattern]:
        route = path("<path:object_id>/edit/", self.admin_site.admin_view(self.edit), name="agents_automationrule_edit")
        return [route, *super().get_urls()]

    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Its condition and its bound."""
        availability.database.require_writable()
        if not self.has_add_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        form = RewritingForm(request.POST or None, initial={name: getattr(row, name) for name in _REWRITTEN})
        form.saw(automation.version_of(row))
        return self.through(
            request,
            form,
            lambda given, actor: automation.edit_rule(
                rule_id=row.pk,
                changes={name: given[name] for name in _REWRITTEN},
                actor=actor,
                seen_as=given["seen"],
            ),
            self.made,
            title=f"Change {row}",
            press="Save",
            press_icon="save",
            hint="Alerts that came before are not looked at again. Who changes a rule decides no approval that it asks for.",
        )

    def page(self, request: HttpRequest, row: AutomationRule) -> dict[str, Any]:
        context = super().page(request, row)
        playbook = reverse("admin:agents_playbook_change", args=[row.playbook_id])
        facts = [("Playbook", format_html('<a href="{}">{}</a>', playbook, row.playbook)), *context["facts"]]
        return {
            **context,
            "edit": reverse("admin:agents_automationrule_edit", args=[row.pk])
            if self.has_add_permission(request)
            else "",
            "facts": facts,
            "preview": automation.preview(row),
            "runs": run_lines(row.executions.all(), RUNS_SHOWN),
        }

    @admin.display(description="Rule", ordering="name")
    def rule(self, row: AutomationRule) -> SafeString:
        return format_html('<span class="au-title"><b>{}</b><small>{}</small></span>', row.name, row.condition)

    @admin.display(description="State", ordering="enabled")
    def state(self, row: AutomationRule) -> SafeString:
        if not row.enabled:
            return widgets.badge("status", "closed", "Off")
        if row.error:
            return widgets.badge("status", "failed", "Failing")
        return widgets.badge("status", "active", "Rehearses" if row.dry_run else "On")

    @admin.display(description="Updated", ordering="updated_at")
    def updated(self, row: AutomationRule) -> SafeString:
        return widgets.ago(row.updated_at)
