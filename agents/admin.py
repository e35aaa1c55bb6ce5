"""The console's pages of agents and investigations, and what investigations add to the pages of alerts and cases."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents import investigations, pages, registry, reports
from agents.models import Agent, Investigation
from agents.states import ENDED_INVESTIGATIONS
from aurora.console import markdown, widgets
from aurora.console.overview import Panel
from aurora.console.records import RecordAdmin, RecordList
from aurora.console.verbs import Button, ButtonsAdmin, Call
from cases.admin import AlertAdmin, CaseAdmin

SHOWN = 20


def _investigation_url(investigation: Investigation) -> str:
    return reverse("admin:agents_investigation_change", args=[investigation.pk])


def _investigations_of(request: HttpRequest, row: Any) -> Panel | None:
    if not request.user.has_perm("agents.view_investigation"):
        return None
    found = list(row.investigations.select_related("alert", "case")[:SHOWN])
    return Panel("Investigations", "admin/agents/latest_investigations.html", {"investigations": found})


def _report_of(request: HttpRequest, row: Any) -> Panel | None:
    """The newest report that an investigation wrote on the case, and the ways to take one away as it is now."""
    if not request.user.has_perm("agents.view_investigation"):
        return None
    context: dict[str, Any] = {"address": f"/api/v1/cases/{row.pk}/report", "forms": reports.LABELS.items()}
    if step := pages.newest_report(row):
        context |= {"html": markdown.rendered(step.output["data"]["markdown"]), "written_at": step.finished_at}
    return Panel("Report", "admin/agents/report.html", context, width="wide")


def _at_a_glance(request: HttpRequest, row: Any) -> Panel | None:
    """What the newest investigation found, agent by agent, and the earlier ones as links."""
    if not request.user.has_perm("agents.view_investigation"):
        return None
    found = list(row.investigations.all()[:SHOWN])
    newest = found[0] if found else None
    context = {"newest": newest, "steps": pages.step_lines(newest) if newest else [], "earlier": found[1:]}
    return Panel("Investigation", "admin/agents/investigations_of.html", context)


AlertAdmin.add_button(
    Button(
        "investigate",
        "Investigate",
        "investigations:run",
        lambda key, actor, _: investigations.start(alert_id=key, case_id=None, actor=actor),
        icon="travel_explore",
        done="handed to the agents",
        leads_to=_investigation_url,
    )
)
AlertAdmin.add_section(_at_a_glance)
CaseAdmin.add_button(
    Button(
        "investigate",
        "Investigate",
        "investigations:run",
        lambda key, actor, _: investigations.start(alert_id=None, case_id=key, actor=actor),
        icon="travel_explore",
        done="handed to the agents",
        leads_to=_investigation_url,
    )
)
CaseAdmin.add_section(_investigations_of)
CaseAdmin.add_section(_report_of)


class RunningFilter(admin.SimpleListFilter):
    """Investigations that have not ended."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("running", "Not ended"), ("ended", "Ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        if self.value() == "running":
            return queryset.exclude(status__in=ENDED_INVESTIGATIONS)
        return queryset.filter(status__in=ENDED_INVESTIGATIONS) if self.value() == "ended" else queryset


@admin.register(Investigation)
class InvestigationAdmin(RecordAdmin):
    """Investigations with their steps and their log."""

    change_form_template = "admin/agents/investigation/page.html"
    record_icon = "travel_explore"
    list_display = ("status_badge", "about", "confidence_bar", "lines", "requested_by", "requested", "investigation")
    list_filter = (RunningFilter, "status")
    list_select_related = ("alert", "case")
    list_deferred = ("summary", "alert__raw", "alert__metadata", "alert__description", "case__description")
    list_display_links = ("investigation", "about")
    list_fullwidth = True
    search_fields = ("=id", "requested_by")
    search_help_text = "Id, or who asked"

    def page(self, request: HttpRequest, row: Investigation) -> dict[str, Any]:
        return {**super().page(request, row), **pages.investigation_page(row)}

    @admin.display(description="Id")
    def investigation(self, row: Investigation) -> SafeString:
        return format_html('<code class="au-reference">{}</code>', row.reference)

    @admin.display(description="Status", ordering="status")
    def status_badge(self, row: Investigation) -> SafeString:
        return widgets.badge("status", row.status)

    @admin.display(description="About")
    def about(self, row: Investigation) -> SafeString:
        title = row.alert.title if row.alert else row.case.title
        return format_html('<span class="au-title"><b>{}</b><small>{}</small></span>', title, row.case.reference)

    @admin.display(description="Confidence", ordering="confidence")
    def confidence_bar(self, row: Investigation) -> SafeString:
        return widgets.percent(row.confidence)

    @admin.display(description="Log")
    def lines(self, row: Investigation) -> SafeString:
        return format_html('<span class="au-number">{}</span>', f"{row.event_count:,}")

    @admin.display(description="Requested", ordering="created_at")
    def requested(self, row: Investigation) -> SafeString:
        return widgets.ago(row.created_at)


REASON = "Reason"


def _command(action: str) -> Call:
    return lambda key, actor, form: registry.command_breaker(
        agent_type=key, action=action, actor=actor, reason=form.get("text", "")[:500]
    )


def _switch(*, enabled: bool) -> Call:
    return lambda key, actor, form: registry.configure(
        agent_type=key, changes={"enabled": enabled}, actor=actor, reason=form.get("text", "")[:500]
    )


AGENT_BUTTONS = (
    Button(
        "reset",
        "Reset breaker",
        "agents:manage",
        _command("reset"),
        icon="restart_alt",
        asks=REASON,
        done="given a fresh breaker",
    ),
    Button(
        "force-open",
        "Open breaker",
        "agents:manage",
        _command("force_open"),
        icon="power_off",
        tone="danger",
        asks=REASON,
        done="cut off until its breaker is reset",
    ),
    Button(
        "force-closed",
        "Hold breaker closed",
        "agents:manage",
        _command("force_closed"),
        icon="power",
        tone="danger",
        asks=REASON,
        is_for_many=False,
        done="asked whatever fails, until its breaker is reset",
    ),
    Button(
        "enable",
        "Enable",
        "agents:manage",
        _switch(enabled=True),
        icon="toggle_on",
        asks=REASON,
        suits=lambda agent: not agent.enabled,
        done="enabled",
    ),
    Button(
        "disable",
        "Disable",
        "agents:manage",
        _switch(enabled=False),
        icon="toggle_off",
        asks=REASON,
        suits=lambda agent: agent.enabled,
        done="disabled",
    ),
)


@admin.register(Agent)
class AgentAdmin(ButtonsAdmin):
    """The specialists: how they are configured and how they are."""

    buttons = AGENT_BUTTONS

    change_form_template = "admin/agents/agent/page.html"
    record_icon = "smart_toy"
    list_display = (
        "agent",
        "health",
        "breaker",
        "opened",
        "next_probe",
        "last_error",
        "trips",
        "calls",
    )
    list_display_links = ("agent",)
    list_fullwidth = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return AgentList

    def page(self, request: HttpRequest, row: Agent) -> dict[str, Any]:
        return {**super().page(request, row), **pages.agent_page(row, registry.describe(row))}

    @admin.display(description="Agent")
    def agent(self, row: Agent) -> SafeString:
        told = f"{pages.transport_label(row)} · {row.description}"
        return format_html('<span class="au-title"><b>{}</b><small>{}</small></span>', row.name, told)

    @admin.display(description="Health")
    def health(self, row: Agent) -> SafeString:
        return widgets.badge("status", _live(row)["health"] if row.enabled else "disabled")

    @admin.display(description="Breaker")
    def breaker(self, row: Agent) -> SafeString:
        breaker = _live(row)["breaker"]
        label = "" if breaker["shared"] else f"{widgets.words(breaker['state'])} · this process"
        held = "held by an operator" if breaker["is_forced"] else ""
        count, threshold = breaker["failure_count"], breaker["failure_threshold"]
        failures = f"{count:,} failures in a row" if count > threshold else f"{count:,} of {threshold:,} failures"
        return format_html(
            '{}<small class="au-under">{}</small>', widgets.badge("breaker", breaker["state"], label), held or failures
        )

    @admin.display(description="Opened")
    def opened(self, row: Agent) -> SafeString:
        return widgets.ago(_live(row)["breaker"]["opened_at"])

    @admin.display(description="Next probe")
    def next_probe(self, row: Agent) -> SafeString:
        return widgets.ago(_live(row)["breaker"]["next_probe_at"])

    @admin.display(description="Last error")
    def last_error(self, row: Agent) -> object:
        error = _live(row)["breaker"]["last_error"]
        if not error:
            return widgets.NOTHING
        return format_html('<span class="au-lines" title="{}">{}</span>', error[:500], error[:200])

    @admin.display(description="Trips")
    def trips(self, row: Agent) -> SafeString:
        return format_html('<span class="au-number">{}</span>', f"{_live(row)['breaker']['trips']:,}")

    @admin.display(description="Calls")
    def calls(self, row: Agent) -> SafeString:
        breaker = _live(row)["breaker"]
        answered, failed, rejected = (f"{breaker[name]:,}" for name in ("successes", "failures", "rejected"))
        return format_html(
            '<span class="au-number">{} answered</span><small class="au-second">{} failed · {} rejected</small>',
            answered,
            failed,
            rejected,
        )


class AgentList(RecordList):
    """The agents with how they are, asked once for all rows and columns."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = self.result_list = list(self.result_list)
        for row, live in zip(rows, registry.describe_all(rows), strict=True):
            row._live = live


def _live(row: Any) -> dict[str, Any]:
    """`describe` of a listed agent."""
    return row._live  # type: ignore[no-any-return]


from agents.playbooks import admin as _playbooks  # noqa: E402, F401 - Django finds an app's pages by its `admin` module
from agents.playbooks import admin_accounts as _accounts  # noqa: E402, F401
from agents.playbooks import admin_blocklist as _blocklist  # noqa: E402, F401
from agents.playbooks import admin_connectors as _connectors  # noqa: E402, F401
from agents.playbooks import admin_playbooks as _books  # noqa: E402, F401
from agents.playbooks import admin_rules as _rules  # noqa: E402, F401
