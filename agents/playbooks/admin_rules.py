"""The console's pages of rules that run playbooks when alerts arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.playbooks import automation
from agents.playbooks.admin import run_lines
from agents.playbooks.models import AutomationRule, Playbook
from aurora.actors import Actor
from aurora.console import widgets
from aurora.console.making import MakingAdmin
from aurora.console.verbs import Button
from aurora.errors import Invalid

RUNS_SHOWN = 10
LONGEST_CONDITION = 500
MOST_A_MINUTE = 1000


CONDITION_HELP = (
    "On severity, source, category, techniques, asset_criticality, is_ot, is_it, business_hours and alert, such as: "
    'severity >= "high" and "T1110" in techniques and is_it'
)


class RuleForm(forms.Form):
    """A new rule. It is switched on from its page, where one sees first what it would have been for."""

    name = forms.CharField(max_length=64)
    playbook = forms.ModelChoiceField(Playbook.objects.order_by("name"), empty_label="Choose a playbook")
    condition = forms.CharField(
        max_length=LONGEST_CONDITION,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=CONDITION_HELP,
    )
    max_per_minute = forms.IntegerField(initial=5, min_value=1, max_value=MOST_A_MINUTE, label="Runs a minute, at most")
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


def _rewrite(key: Any, actor: Actor, form: Mapping[str, str]) -> AutomationRule:
    most = form.get("max_per_minute", "")
    if not (most.isascii() and most.isdigit() and len(most) < 6 and 1 <= int(most) <= MOST_A_MINUTE):
        raise Invalid(f"Runs a minute are a number from 1 to {MOST_A_MINUTE}")
    changes = {"condition": form.get("condition", "").strip()[:LONGEST_CONDITION], "max_per_minute": int(most)}
    return automation.edit_rule(rule_id=key, changes=changes, actor=actor)


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
        Button("edit", "Save", automation.PERMISSION, _rewrite, is_for_many=False, done="changed"),
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

    def page(self, request: HttpRequest, row: AutomationRule) -> dict[str, Any]:
        context = super().page(request, row)
        playbook = reverse("admin:agents_playbook_change", args=[row.playbook_id])
        facts = [("Playbook", format_html('<a href="{}">{}</a>', playbook, row.playbook)), *context["facts"]]
        return {
            **context,
            # Saving is the form beside the condition.
            "buttons": [offer for offer in context["buttons"] if offer[0].name != "edit"],
            "edit": next((url for button, url, _ in context["buttons"] if button.name == "edit"), ""),
            "help": CONDITION_HELP,
            "longest": LONGEST_CONDITION,
            "most": MOST_A_MINUTE,
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
