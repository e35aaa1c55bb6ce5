"""The console's pages of alerts, cases, IOCs and intake."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from aurora.console import widgets
from aurora.console.records import RecordAdmin
from aurora.console.verbs import Button, ButtonsAdmin
from cases import case_page, handover, lifecycle, pages, triage
from cases.case_buttons import CASE_BUTTONS
from cases.filters import AssigneeFilter, OpenFilter, SeenFilter, SourceFilter
from cases.models import Alert, Case, IngestReceipt, IngestReject, Ioc
from cases.observables import refang
from cases.states import ALERT_TRANSITIONS, CASE_TRANSITIONS, ENDED_ALERTS, GRAVITY, AlertStatus, CaseStatus


def _case_url(case: Case) -> str:
    return reverse("admin:cases_case_change", args=[case.pk])


ALERT_BUTTONS = (
    Button(
        "acknowledge",
        "Acknowledge",
        "alerts:write",
        lambda key, actor, _: triage.acknowledge(alert_id=key, actor=actor),
        icon="done",
        tone="primary",
        suits=lambda alert: alert.acknowledged_at is None and alert.status not in ENDED_ALERTS,
        done="acknowledged",
    ),
    Button(
        "take",
        "Take",
        "alerts:write",
        handover.take_alert,
        icon="back_hand",
        suits=lambda alert: alert.assignee_id is None and alert.status not in ENDED_ALERTS,
        done="yours",
    ),
    Button(
        "promote",
        "Promote to case",
        "cases:write",
        lambda key, actor, _: lifecycle.promote_alert(alert_id=key, actor=actor),
        icon="work",
        suits=lambda alert: alert.case_id is None,
        done="promoted to a case",
        leads_to=_case_url,
    ),
    Button(
        "escalate",
        "Escalate",
        "alerts:write",
        lambda key, actor, _: triage.change_status(alert_id=key, status=AlertStatus.ESCALATED, actor=actor),
        icon="arrow_upward",
        suits=lambda alert: AlertStatus.ESCALATED in ALERT_TRANSITIONS[alert.status],
        done="escalated",
    ),
    Button(
        "resolve",
        "Resolve",
        "alerts:write",
        lambda key, actor, _: triage.change_status(alert_id=key, status=AlertStatus.RESOLVED, actor=actor),
        icon="task_alt",
        suits=lambda alert: AlertStatus.RESOLVED in ALERT_TRANSITIONS[alert.status],
        done="resolved",
    ),
    Button(
        "false-positive",
        "False positive",
        "alerts:write",
        lambda key, actor, _: triage.change_status(alert_id=key, status=AlertStatus.FALSE_POSITIVE, actor=actor),
        icon="thumb_down",
        suits=lambda alert: AlertStatus.FALSE_POSITIVE in ALERT_TRANSITIONS[alert.status],
        done="marked a false positive",
    ),
    Button(
        "reopen",
        "Reopen",
        "alerts:write",
        lambda key, actor, _: triage.change_status(alert_id=key, status=AlertStatus.INVESTIGATING, actor=actor),
        icon="undo",
        suits=lambda alert: alert.status in ENDED_ALERTS,
        done="under investigation again",
    ),
    Button(
        "assign",
        "Assign",
        "alerts:write",
        handover.assign_alert,
        icon="person_add",
        is_for_many=False,
        choices=handover.assignees,
        done="assigned",
    ),
    Button(
        "link",
        "Add to case",
        "cases:write",
        handover.link_alert,
        icon="add_link",
        is_for_many=False,
        suits=lambda alert: alert.case_id is None,
        choices=handover.open_cases,
        done="added to the case",
        leads_to=_case_url,
    ),
)


@admin.register(Alert)
class AlertAdmin(ButtonsAdmin):
    """Alerts: read, judged, promoted. They are made by intake alone and never deleted here."""

    buttons = ALERT_BUTTONS
    change_form_template = "admin/cases/alert/page.html"
    record_icon = "notifications_active"
    list_display = ("severity_badge", "alert", "status_badge", "assets", "seen_count", "last", "in_case")
    list_display_links = ("alert",)
    list_filter = ("severity", "status", SourceFilter, "category", AssigneeFilter, SeenFilter)
    list_select_related = ("case", "assignee")
    ordering = ("-id",)
    list_deferred = ("raw", "metadata", "description", "iocs")
    list_fullwidth = True
    search_fields = ("title",)
    search_help_text = "Title, IOC, host, user, technique or id"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Alert, Alert], search_term: str
    ) -> tuple[QuerySet[Alert, Alert], bool]:
        return pages.alerts_matching(queryset, search_term), False

    def page(self, request: HttpRequest, row: Alert) -> dict[str, Any]:
        return {**super().page(request, row), **pages.alert_page(row)}

    @admin.display(description="Severity", ordering=GRAVITY)
    def severity_badge(self, alert: Alert) -> SafeString:
        return widgets.badge("severity", alert.severity)

    @admin.display(description="Alert")
    def alert(self, alert: Alert) -> SafeString:
        return format_html(
            '<span class="au-title"><b>{}</b><small>{} · {}{}</small></span>',
            alert.title,
            alert.source,
            widgets.words(alert.get_category_display()),
            widgets.chips(alert.mitre_techniques, kind="technique") if alert.mitre_techniques else "",
        )

    @admin.display(description="Status", ordering="status")
    def status_badge(self, alert: Alert) -> SafeString:
        told = ["Acknowledged"] if alert.acknowledged_at else []
        told += [alert.assignee.username] if alert.assignee else []
        taken = format_html('<small class="au-taken">{}</small>', " · ".join(told)) if told else ""
        return format_html("{}{}", widgets.badge("status", alert.status), taken)

    @admin.display(description="Assets")
    def assets(self, alert: Alert) -> SafeString:
        return widgets.chips(alert.affected_assets, shown=2)

    @admin.display(description="Count")
    def seen_count(self, alert: Alert) -> SafeString:
        return format_html('<span class="au-number">{}</span>', f"{alert.count:,}")

    @admin.display(description="Last seen", ordering="last_seen")
    def last(self, alert: Alert) -> SafeString:
        first = alert.first_seen.strftime("%Y-%m-%d %H:%M:%S UTC")
        return format_html('<span title="First seen {}">{}</span>', first, widgets.ago(alert.last_seen))

    @admin.display(description="Case")
    def in_case(self, alert: Alert) -> SafeString:
        if alert.case is None:
            return widgets.NOTHING
        return format_html('<a class="au-link" href="{}">{}</a>', _case_url(alert.case), alert.case.reference)


@admin.register(Case)
class CaseAdmin(ButtonsAdmin):
    """Cases with everything that happened to them."""

    buttons = CASE_BUTTONS
    change_form_template = "admin/cases/case/page.html"
    record_icon = "work"
    list_display = ("severity_badge", "case", "status_badge", "alert_count", "confidence_bar", "assigned", "updated")
    list_display_links = ("case",)
    list_filter = (OpenFilter, "status", "severity", AssigneeFilter)
    list_select_related = ("assignee",)
    list_fullwidth = True
    search_fields = ("title",)
    search_help_text = "Title, reference or id"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Case, Case], search_term: str
    ) -> tuple[QuerySet[Case, Case], bool]:
        return pages.cases_matching(queryset, search_term), False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Case, Case]:
        linked = Alert.objects.filter(case=OuterRef("pk")).order_by().values("case").annotate(total=Count("pk"))
        rows: QuerySet[Case, Case] = super().get_queryset(request)
        # A subquery is counted for the page's rows only; a join would group the whole table.
        return rows.select_related("assignee").annotate(linked=Coalesce(Subquery(linked.values("total")), 0))

    def page(self, request: HttpRequest, row: Case) -> dict[str, Any]:
        context = super().page(request, row)
        if row.merged_into_id:
            context["buttons"], context["choosers"] = [], []  # it never changes again
        forms = {button.name: url for button, url, _ in context.pop("buttons")}
        # As a case lives: the first is chosen unless somebody chooses, and a case is not closed by a press without thought.
        next_statuses = [status for status in CaseStatus.values if status in CASE_TRANSITIONS[row.status]]
        return {**context, **case_page.case_page(row), "forms": forms, "next_statuses": next_statuses}

    @admin.display(description="Severity", ordering=GRAVITY)
    def severity_badge(self, case: Case) -> SafeString:
        return widgets.badge("severity", case.severity)

    @admin.display(description="Case")
    def case(self, case: Case) -> SafeString:
        return format_html(
            '<span class="au-title"><b>{}</b><small>{} · opened by {}</small></span>',
            case.title,
            case.reference,
            case.opened_by,
        )

    @admin.display(description="Status", ordering="status")
    def status_badge(self, case: Case) -> SafeString:
        return widgets.badge("status", case.status)

    @admin.display(description="Alerts")
    def alert_count(self, case: Any) -> SafeString:
        return format_html('<span class="au-number">{}</span>', f"{case.linked:,}")

    @admin.display(description="Confidence", ordering="confidence")
    def confidence_bar(self, case: Case) -> SafeString:
        return widgets.percent(case.confidence or None)  # 0: no agent has looked yet

    @admin.display(description="Assignee")
    def assigned(self, case: Case) -> str | SafeString:
        return case.assignee.username if case.assignee else widgets.NOTHING

    @admin.display(description="Updated", ordering="updated_at")
    def updated(self, case: Case) -> SafeString:
        return widgets.ago(case.updated_at)


@admin.register(Ioc)
class IocAdmin(RecordAdmin):
    """Indicators, shown defanged."""

    change_form_template = "admin/cases/ioc/page.html"
    record_icon = "fingerprint"
    list_display = ("kind", "indicator", "status_badge", "tlp_badge", "confidence_bar", "sighted", "source", "last")
    list_display_links = ("indicator",)
    list_filter = ("type", "status", "tlp")
    search_fields = ("value",)
    search_help_text = "Value, defanged or not"
    list_fullwidth = True

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Ioc, Ioc], search_term: str
    ) -> tuple[QuerySet[Ioc, Ioc], bool]:
        return super().get_search_results(request, queryset, refang(search_term))

    def page(self, request: HttpRequest, row: Ioc) -> dict[str, Any]:
        return {**super().page(request, row), **pages.ioc_page(row)}

    @admin.display(description="Type", ordering="type")
    def kind(self, ioc: Ioc) -> SafeString:
        return widgets.badge("ioc", ioc.type, pages.ioc_label(ioc.type))

    @admin.display(description="Indicator", ordering="value")
    def indicator(self, ioc: Ioc) -> SafeString:
        return format_html('<code class="au-indicator">{}</code>', pages.defanged(ioc))

    @admin.display(description="Status", ordering="status")
    def status_badge(self, ioc: Ioc) -> SafeString:
        return widgets.badge("status", ioc.status)

    @admin.display(description="TLP")
    def tlp_badge(self, ioc: Ioc) -> SafeString:
        return widgets.badge("tlp", ioc.tlp, f"TLP:{ioc.tlp.upper()}")

    @admin.display(description="Confidence", ordering="confidence")
    def confidence_bar(self, ioc: Ioc) -> SafeString:
        return widgets.percent(ioc.confidence)

    @admin.display(description="Sightings", ordering="sightings")
    def sighted(self, ioc: Ioc) -> SafeString:
        return format_html('<span class="au-number">{}</span>', f"{ioc.sightings:,}")

    @admin.display(description="Last seen", ordering="last_seen")
    def last(self, ioc: Ioc) -> SafeString:
        return widgets.ago(ioc.last_seen)


@admin.register(IngestReceipt)
class IngestReceiptAdmin(RecordAdmin):
    """What became of each delivery."""

    record_icon = "move_to_inbox"
    record_nouns = ("delivery", "deliveries")
    record_facts = ("receipt", "source", "received", "created", "merged", "ignored", "rejected", "stored_at")
    list_display = ("stored", "source", "received", "created", "merged", "ignored", "refused", "receipt")
    list_display_links = ("receipt",)
    search_fields = ("=receipt", "source")
    search_help_text = "Receipt or source"

    @admin.display(description="Rejected", ordering="rejected")
    def refused(self, receipt: IngestReceipt) -> SafeString:
        kind = "au-number au-error" if receipt.rejected else "au-number"
        return format_html('<span class="{}">{}</span>', kind, f"{receipt.rejected:,}")

    @admin.display(description="Stored", ordering="stored_at")
    def stored(self, receipt: IngestReceipt) -> SafeString:
        return widgets.ago(receipt.stored_at)


@admin.register(IngestReject)
class IngestRejectAdmin(RecordAdmin):
    """Records that were no alerts, with the reason."""

    list_empty = "Every record that was delivered was understood."
    record_icon = "block"
    record_facts = ("receipt", "source", "index", "detail", "created_at")
    record_texts = ("raw",)
    list_display = ("detail", "source", "index", "received")
    list_deferred = ("raw",)
    search_fields = ("detail",)

    @admin.display(description="Received", ordering="created_at")
    def received(self, reject: IngestReject) -> SafeString:
        return widgets.ago(reject.created_at)
