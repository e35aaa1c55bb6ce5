"""The console's pages of runs and approvals, and what runs add to the pages of alerts and cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin
from django.db.models import Case, Exists, IntegerField, OuterRef, Q, QuerySet, Value, When
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.playbooks import approvals, executions, pictures, runs
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.models import Approval, Execution, ExecutionStep, Playbook
from agents.playbooks.states import ENDED_EXECUTIONS, ApprovalStatus, ExecutionStatus, StepState, UndoState
from aurora.actors import Actor
from aurora.console import widgets
from aurora.console.overview import Panel
from aurora.console.records import Facts
from aurora.console.verbs import Button, ButtonsAdmin, Choice
from aurora.errors import Invalid
from aurora.ids import uuid_or_none
from aurora.rest.auth import actor_of
from cases.admin import AlertAdmin, CaseAdmin
from cases.observables import classify, defang

RUNS_SHOWN = 10
_ON_INDICATORS = frozenset({"block_ip", "enrich_ioc"})


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


_TROUBLES = Q(status__in=(StepState.FAILED, StepState.NOT_CONFIGURED)) | Q(
    undo__in=(UndoState.FAILED, UndoState.NOT_CONFIGURED)
)


def with_troubles(rows: QuerySet[Execution, Execution]) -> QuerySet[Execution, Any]:
    """Runs, each with `is_troubled`: whether one of its steps, or of its rollbacks, did not do what it should."""
    return rows.annotate(is_troubled=Exists(ExecutionStep.objects.filter(_TROUBLES, execution=OuterRef("pk"))))


def outcome(row: Any) -> SafeString:
    """The status of a run `with_troubles`. Completed is what went to its end, be it past failures that its author let pass."""
    if row.status == ExecutionStatus.COMPLETED and row.is_troubled:
        return widgets.badge("status", "partial", "Completed with failures")
    return widgets.badge("status", row.status)


def run_lines(rows: QuerySet[Execution, Execution], shown: int) -> list[tuple[Any, SafeString]]:
    """The newest of the runs for a box of a page, each with its badge."""
    newest = with_troubles(rows).select_related("playbook", "case").defer("facts", "parameters").order_by("-id")
    return [(row, outcome(row)) for row in newest[:shown]]


def _runs_of(request: HttpRequest, row: Any) -> Panel | None:
    """What playbooks did for the case or the alert, and what of it waits for somebody."""
    if not request.user.has_perm("agents.view_execution"):
        return None
    waiting = Approval.objects.filter(execution__in=row.executions.all(), status=ApprovalStatus.PENDING)
    asked = list(waiting.select_related("step").order_by("id")) if request.user.has_perm("agents.view_approval") else []
    questions = [(approval, _asked(approval)) for approval in asked]
    lines = run_lines(row.executions.all(), RUNS_SHOWN)
    return Panel(
        "Playbook runs", "admin/agents/runs_of.html", {"runs": lines, "questions": questions}, asks=bool(questions)
    )


for _admin in (CaseAdmin, AlertAdmin):
    _admin.add_section(_runs_of)


def _asked(row: Approval) -> str:
    shown = {name: _shown(row.action, value) for name, value in row.parameters.items()}
    return f"{widgets.words(row.action)}: {runs.targets_of(shown)}"


def _shown(action: str, value: Any) -> Any:
    """A parameter as people read it: what is an indicator, defanged. A host of ours is none."""
    if isinstance(value, list):
        return [_shown(action, item) for item in value]
    known = classify(value) if action in _ON_INDICATORS and isinstance(value, str) else None
    return defang(value, known.type) if known else value


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


def run_link(key: str) -> SafeString:
    """The run whose step has that key, with the step; a dash when there is none any more."""
    step_id = uuid_or_none(key)
    step = ExecutionStep.objects.select_related("execution__playbook").filter(pk=step_id).first() if step_id else None
    if step is None:
        return widgets.NOTHING
    return format_html('<a href="{}">{}</a>, step {}', execution_url(step.execution), step.execution, step.name)


def _is_under_way(row: Execution) -> bool:
    return row.status not in ENDED_EXECUTIONS


@admin.register(Execution)
class ExecutionAdmin(ButtonsAdmin):
    """Runs with their steps."""

    change_form_template = "admin/agents/execution/page.html"
    list_empty = "Runs begin on the page of a case or an alert, or by a rule."
    record_icon = "play_circle"
    change_list_template = "admin/agents/live_list.html"
    record_facts = ("created_at", "started_at", "finished_at")
    record_nouns = ("run", "runs")
    list_display = ("status_badge", "run", "about", "requested_by", "result", "begun")
    list_display_links = ("run",)
    list_filter = ("status", "dry_run")
    list_select_related = ("playbook", "case", "alert")
    list_deferred = ("facts", "parameters", "alert__raw", "alert__metadata", "alert__description", "case__description")
    list_fullwidth = True
    search_fields = ("playbook__name", "playbook__title", "requested_by", "case__title", "alert__title")
    search_help_text = "Playbook, case, alert or who asked"
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

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution, Any]:
        return with_troubles(super().get_queryset(request))

    def page(self, request: HttpRequest, row: Execution) -> dict[str, Any]:
        steps = list(row.steps.order_by("position"))
        context = super().page(request, row)
        return {
            **context,
            "facts": [*_whereabouts(row), *context["facts"]],
            "outcome": outcome(row),
            "steps": steps,
            "approvals": list(row.approvals.select_related("step").order_by("id")),
            "picture": pictures.of_run(row.version, steps),
        }

    @admin.display(description="Run")
    def run(self, row: Execution) -> SafeString:
        return format_html('<span class="au-title"><b>{}</b><small>{}</small></span>', row.playbook, row.reference)

    @admin.display(description="About")
    def about(self, row: Execution) -> SafeString | str:
        title = row.alert.title if row.alert else row.case.title if row.case else ""
        if not title:
            return widgets.NOTHING
        where = row.case.reference if row.case else "alert in no case"
        return format_html('<span class="au-title">{}<small>{}</small></span>', title, where)

    @admin.display(description="Status", ordering="status")
    def status_badge(self, row: Execution) -> SafeString:
        rehearsed = format_html('<small class="au-taken">{}</small>', "Dry run") if row.dry_run else ""
        return format_html("{}{}", outcome(row), rehearsed)

    @admin.display(description="Result")
    def result(self, row: Execution) -> SafeString:
        return format_html('<span class="au-lines">{}</span>', row.summary) if row.summary else widgets.NOTHING

    @admin.display(description="Begun", ordering="created_at")
    def begun(self, row: Execution) -> SafeString:
        return widgets.ago(row.created_at)


@admin.register(Approval)
class ApprovalAdmin(ButtonsAdmin):
    """The inbox of questions to people: what waits stands above what is decided, what ends first above the rest."""

    list_empty = "Playbooks ask here before they do what is risky."
    record_icon = "how_to_reg"
    ordering = (  # type: ignore[assignment] # Django takes expressions, its stubs do not
        Case(When(status=ApprovalStatus.PENDING, then=Value(0)), default=Value(1), output_field=IntegerField()),
        Case(When(status=ApprovalStatus.PENDING, then="expires_at")),
        "-id",
    )
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
            tone="primary",
            asks="Reason",
            is_for_many=False,
            suits=lambda row: row.status == "pending",
            done="approved",
        ),
        Button(
            "reject",
            "Reject",
            "approvals:decide",
            lambda key, actor, form: approvals.reject(approval_id=key, actor=actor, reason=form.get("text", "")),
            icon="close",
            asks="Reason",
            tone="danger",
            is_for_many=False,
            suits=lambda row: row.status == "pending",
            done="rejected",
        ),
    )

    def is_offered(self, button: Button, row: Approval, actor: Actor) -> bool:
        return super().is_offered(button, row, actor) and not _barred(row, actor)

    def page(self, request: HttpRequest, row: Approval) -> dict[str, Any]:
        context = super().page(request, row)
        execution = row.execution
        run = format_html('<a href="{}">{}</a>', execution_url(execution), execution)
        shown = ((name, _shown(row.action, value)) for name, value in row.parameters.items())
        values = ((name, value if isinstance(value, list) else [value]) for name, value in shown)
        return {
            **context,
            "title": _asked(row),
            "facts": [
                ("Run", run),
                ("Step", row.step.name),
                ("Can be undone", _undone_by(row)),
                *_whereabouts(execution),
                *context["facts"],
            ],
            "parameters": [(name, ", ".join(map(str, items)) or "none was found") for name, items in values],
            "links": list(row.links.select_related("connector")),
            "barred": _barred(row, actor_of(request)) if row.status == ApprovalStatus.PENDING else "",
            "longest": approvals.LONGEST_REASON,
        }

    @admin.display(description="Question")
    def question(self, row: Approval) -> SafeString:
        return format_html(
            '<span class="au-title"><b>{}</b><small>{} · {}</small></span>',
            _asked(row),
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

    @admin.display(description="Agreed")
    def people(self, row: Approval) -> SafeString:
        return format_html('<span class="au-number">{} of {}</span>', row.granted, row.needed)

    @admin.display(description="Expires", ordering="expires_at")
    def expires(self, row: Approval) -> SafeString:
        return widgets.ago(row.expires_at)


def _barred(row: Approval, actor: Actor) -> str:
    """Why the reader may not decide; empty for who may."""
    if not actor.may(approvals.PERMISSION):
        return "Your role reads this and does not decide it."
    identity = approvals.identity_of(actor)
    if row.requester == identity:
        return "You asked for this, so somebody else decides."
    if any(one["by"] == identity for one in row.decisions):
        return "You have agreed; another person has to as well."
    return ""


def _undone_by(row: Approval) -> str:
    action = ACTIONS[row.action]
    if not action.is_reversible:
        return "No"
    if not action.undo:
        return "There is nothing to undo"
    if runs.plan_of(row.execution)[row.step.name].step.rollback is None:
        return f"By hand alone: the playbook does not {action.undo[:1].lower()}{action.undo[1:]}"
    return f"Yes: {action.undo[:1].lower()}{action.undo[1:]}"
