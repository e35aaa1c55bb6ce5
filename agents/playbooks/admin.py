"""The console's pages of playbooks, runs, approvals and connectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.playbooks import approvals, connectors, executions, pictures, runs
from agents.playbooks.models import Approval, BlocklistEntry, Connector, Delivery, Execution, Playbook
from agents.playbooks.states import ENDED_EXECUTIONS, ApprovalStatus
from aurora.actors import Actor
from aurora.console import widgets
from aurora.console.records import Facts, RecordAdmin
from aurora.console.verbs import Button, ButtonsAdmin, Choice
from aurora.errors import Invalid
from aurora.ids import uuid_or_none
from cases.admin import AlertAdmin, CaseAdmin


def execution_url(execution: Execution) -> str:
    return reverse("admin:agents_execution_change", args=[execution.pk])


def playbooks_to_run(_row: object) -> list[Choice]:
    """What a case's or an alert's button may be pressed with: rehearsals first, a press without thought does nothing."""
    rows = list(Playbook.objects.filter(enabled=True).order_by("name"))
    return [Choice(f"dry:{row.pk}", f"{row} (dry run)") for row in rows] + [
        Choice(f"run:{row.pk}", str(row)) for row in rows
    ]


def _run_on(name: str) -> Callable[[Any, Actor, Mapping[str, str]], Execution]:
    def run(key: Any, actor: Actor, form: Mapping[str, str]) -> Execution:
        kind, _, playbook = form.get("choice", "").partition(":")
        playbook_id = uuid_or_none(playbook)
        if playbook_id is None or kind not in ("dry", "run"):
            raise Invalid("Choose a playbook")
        return executions.execute(playbook_id=playbook_id, actor=actor, dry_run=kind == "dry", **{name: key})

    return run


for _admin, _name in ((CaseAdmin, "case_id"), (AlertAdmin, "alert_id")):
    _admin.add_button(
        Button(
            "run-playbook",
            "Run playbook",
            "playbooks:execute",
            _run_on(_name),
            icon="play_circle",
            is_for_many=False,
            choices=playbooks_to_run,
            done="handed to a playbook",
            kept_in_dry_run=True,
            leads_to=execution_url,
        )
    )


def _whereabouts(execution: Execution) -> Facts:
    """What a run is of, and over, as links."""
    rows = (
        ("Playbook", "agents_playbook", execution.playbook),
        ("Rule", "agents_automationrule", execution.rule),
        ("Case", "cases_case", execution.case),
        ("Alert", "cases_alert", execution.alert),
    )
    return [
        (label, format_html('<a href="{}">{}</a>', reverse(f"admin:{route}_change", args=[row.pk]), row))
        for label, route, row in rows
        if row is not None
    ]


def _is_under_way(row: Execution) -> bool:
    return row.status not in ENDED_EXECUTIONS


@admin.register(Execution)
class ExecutionAdmin(ButtonsAdmin):
    """Runs with their steps."""

    change_form_template = "admin/agents/execution/page.html"
    record_icon = "play_circle"
    change_list_template = "admin/agents/live_list.html"
    record_facts = ("created_at", "started_at", "finished_at")
    list_display = ("run", "status_badge", "dry_run", "requested_by", "summary", "begun")
    list_display_links = ("run",)
    list_filter = ("status", "dry_run")
    list_select_related = ("playbook", "case")
    list_deferred = ("facts", "parameters")
    list_fullwidth = True
    buttons = (
        Button(
            "pause",
            "Pause",
            "playbooks:execute",
            lambda key, actor, _: executions.pause(execution_id=key, actor=actor),
            icon="pause",
            suits=lambda row: _is_under_way(row) and not row.is_paused,
            done="paused",
            kept_in_dry_run=True,
        ),
        Button(
            "resume",
            "Resume",
            "playbooks:execute",
            lambda key, actor, _: executions.resume(execution_id=key, actor=actor),
            icon="play_arrow",
            suits=lambda row: _is_under_way(row) and row.is_paused,
            done="resumed",
            kept_in_dry_run=True,
        ),
        Button(
            "cancel",
            "Call off",
            "playbooks:execute",
            lambda key, actor, _: executions.cancel(execution_id=key, actor=actor),
            icon="cancel",
            tone="danger",
            suits=_is_under_way,
            done="called off",
            kept_in_dry_run=True,
        ),
        Button(
            "undo",
            "Call off and undo",
            "playbooks:execute",
            lambda key, actor, _: executions.cancel(execution_id=key, actor=actor, rollback=True),
            icon="undo",
            tone="danger",
            suits=_is_under_way,
            done="called off; what was completed is being undone",
            kept_in_dry_run=True,
        ),
    )

    def page(self, request: HttpRequest, row: Execution) -> dict[str, Any]:
        steps = list(row.steps.order_by("position"))
        context = super().page(request, row)
        return {
            **context,
            "facts": [*_whereabouts(row), *context["facts"]],
            "steps": steps,
            "approvals": list(row.approvals.select_related("step").order_by("id")),
            "picture": pictures.of_run(row.version, steps),
        }

    @admin.display(description="Run")
    def run(self, row: Execution) -> SafeString:
        about = row.case.reference if row.case else "no case"
        return format_html(
            '<span class="au-title"><b>{}</b><small>{} · {}</small></span>', row.playbook, row.reference, about
        )

    @admin.display(description="Status", ordering="status")
    def status_badge(self, row: Execution) -> SafeString:
        return widgets.badge("status", row.status)

    @admin.display(description="Begun", ordering="created_at")
    def begun(self, row: Execution) -> SafeString:
        return widgets.ago(row.created_at)


@admin.register(Approval)
class ApprovalAdmin(ButtonsAdmin):
    """The inbox of questions to people."""

    record_icon = "how_to_reg"
    change_form_template = "admin/agents/approval/page.html"
    change_list_template = "admin/agents/live_list.html"
    record_facts = ("created_at", "escalated_at", "expires_at", "decided_at")
    list_display = ("question", "status_badge", "asked_by", "people", "expires")
    list_display_links = ("question",)
    list_filter = ("status",)
    list_select_related = ("execution__playbook", "step")
    list_fullwidth = True
    buttons = (
        Button(
            "approve",
            "Approve",
            "approvals:decide",
            lambda key, actor, form: approvals.approve(approval_id=key, actor=actor, reason=form.get("text", "")),
            icon="check",
            asks="Reason",
            is_for_many=False,
            suits=lambda row: row.status == "pending",
            done="approved",
        ),
        Button(
            "reject",
            "Reject",
            "approvals:decide",
            lambda key, actor, form: approvals.reject(
                approval_id=key, actor=actor, reason=form.get("text") or "rejected in the console"
            ),
            icon="close",
            asks="Reason",
            tone="danger",
            is_for_many=False,
            suits=lambda row: row.status == "pending",
            done="rejected",
        ),
    )

    def page(self, request: HttpRequest, row: Approval) -> dict[str, Any]:
        context = super().page(request, row)
        execution = row.execution
        run = format_html('<a href="{}">{}</a>', execution_url(execution), execution)
        values = ((name, value if isinstance(value, list) else [value]) for name, value in row.parameters.items())
        return {
            **context,
            "title": f"{widgets.words(row.action)}: {runs.targets_of(row.parameters)}",
            "facts": [("Run", run), ("Step", row.step.name), *_whereabouts(execution), *context["facts"]],
            "parameters": [(name, ", ".join(map(str, items))) for name, items in values],
            "links": list(row.links.select_related("connector")),
        }

    @admin.display(description="Question")
    def question(self, row: Approval) -> SafeString:
        targets = runs.targets_of(row.parameters)
        return format_html(
            '<span class="au-title"><b>{}: {}</b><small>{} · {}</small></span>',
            widgets.words(row.action),
            targets,
            row.execution.playbook,
            row.reason,
        )

    @admin.display(description="Status", ordering="status")
    def status_badge(self, row: Approval) -> SafeString:
        is_waiting = row.status == ApprovalStatus.PENDING
        return widgets.badge("status", "awaiting_approval" if is_waiting else row.status, widgets.words(row.status))

    @admin.display(description="Asked by", ordering="requested_by")
    def asked_by(self, row: Approval) -> str:
        return row.requested_by

    @admin.display(description="People")
    def people(self, row: Approval) -> SafeString:
        return format_html('<span class="au-number">{} of {}</span>', row.granted, row.needed)

    @admin.display(description="Expires", ordering="expires_at")
    def expires(self, row: Approval) -> SafeString:
        return widgets.ago(row.expires_at)


@admin.register(Connector)
class ConnectorAdmin(ButtonsAdmin):
    """The ways in which actions reach the world."""

    record_icon = "cable"
    record_facts = ("name", "kind", "enabled", "priority", "max_in_flight", "tested_at", "test_error", "updated_at")
    record_texts = ("actions", "settings")
    list_display = ("name", "kind", "serves", "is_enabled", "works")
    buttons = (
        Button(
            "test",
            "Test",
            "agents:manage",
            lambda key, actor, _: connectors.test(connector_id=key, actor=actor),
            icon="network_check",
            done="tested; its page says what came of it",
        ),
    )

    @admin.display(description="Serves")
    def serves(self, row: Connector) -> SafeString:
        return widgets.chips(row.actions)

    @admin.display(description="Enabled", ordering="enabled")
    def is_enabled(self, row: Connector) -> SafeString:
        return widgets.badge("status", "yes" if row.enabled else "no")

    @admin.display(description="Test")
    def works(self, row: Connector) -> SafeString:
        if row.tested_at is None:
            return widgets.NOTHING
        return widgets.badge("status", "failed" if row.test_error else "online")


@admin.register(BlocklistEntry)
class BlocklistAdmin(RecordAdmin):
    """What firewalls are told to block."""

    record_icon = "gpp_bad"
    record_facts = ("type", "value", "reason", "created_at", "expires_at", "lifted_at")
    list_display = ("value", "type", "reason", "created_at", "expires_at", "lifted_at")
    search_fields = ("value",)


@admin.register(Delivery)
class DeliveryAdmin(RecordAdmin):
    """What was sent to webhooks."""

    record_icon = "webhook"
    record_facts = ("event_id", "status", "error", "is_replay", "sent_at")
    record_texts = ("body",)
    list_display = ("event_id", "status", "error", "is_replay", "sent_at")
