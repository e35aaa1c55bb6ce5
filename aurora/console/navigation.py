"""The sidebar: groups, icons, and the counts that call for somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `permission` is Django's name; `badge` names a function that counts, by string, since apps lie above this floor."""

    title: str
    icon: str
    route: str
    permission: str = ""
    badge: str = ""
    badge_variant: str = "danger"


_GROUPS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "",
        (
            Entry("Overview", "space_dashboard", "admin:index"),
            Entry("Live dashboard", "sensors", "dashboard"),
        ),
    ),
    (
        "Detect",
        (
            Entry(
                "Alerts",
                "notifications_active",
                "admin:cases_alert_changelist",
                "cases.view_alert",
                "cases.overview.new_critical_alerts",
            ),
            Entry("IOCs", "fingerprint", "admin:cases_ioc_changelist", "cases.view_ioc"),
        ),
    ),
    (
        "Respond",
        (
            Entry(
                "Cases", "work", "admin:cases_case_changelist", "cases.view_case", "cases.overview.open_cases", "info"
            ),
            Entry(
                "Investigations",
                "travel_explore",
                "admin:agents_investigation_changelist",
                "agents.view_investigation",
                "agents.overview.running_investigations",
                "primary",
            ),
            Entry(
                "Approvals",
                "how_to_reg",
                "admin:agents_approval_changelist",
                "agents.view_approval",
                "agents.playbooks.approvals.pending_count",
                "warning",
            ),
            Entry("Runs", "play_circle", "admin:agents_execution_changelist", "agents.view_execution"),
            Entry("Playbooks", "account_tree", "admin:agents_playbook_changelist", "agents.view_playbook"),
            Entry("Rules", "bolt", "admin:agents_automationrule_changelist", "agents.view_automationrule"),
            Entry("Block list", "gpp_bad", "admin:agents_blocklistentry_changelist", "agents.view_blocklistentry"),
            Entry(
                "Disabled accounts",
                "person_off",
                "admin:agents_disabledaccount_changelist",
                "agents.view_disabledaccount",
            ),
            Entry("Agents", "smart_toy", "admin:agents_agent_changelist", "agents.view_agent"),
        ),
    ),
    (
        "Intake",
        (
            Entry("Deliveries", "move_to_inbox", "admin:cases_ingestreceipt_changelist", "cases.view_ingestreceipt"),
            Entry("Rejected records", "block", "admin:cases_ingestreject_changelist", "cases.view_ingestreject"),
        ),
    ),
    (
        "System",
        (
            Entry(
                "Dead letters",
                "mark_email_unread",
                "admin:aurora_deadletter_changelist",
                "aurora.view_deadletter",
                "aurora.console.overview.unhandled_dead_letters",
                "warning",
            ),
            Entry("Connectors", "cable", "admin:agents_connector_changelist", "agents.view_connector"),
            Entry("Webhook log", "webhook", "admin:agents_delivery_changelist", "agents.view_delivery"),
            Entry("Outbox", "outbox", "admin:aurora_outboxevent_changelist", "aurora.view_outboxevent"),
            Entry("Audit trail", "history", "admin:aurora_auditentry_changelist", "aurora.view_auditentry"),
            Entry("API keys", "key", "admin:aurora_apikey_changelist", "aurora.view_apikey"),
            Entry("Users", "group", "admin:auth_user_changelist", "auth.view_user"),
            Entry("Roles", "shield_person", "admin:auth_group_changelist", "auth.view_group"),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """unfold's navigation for the request's user: only what they may see; a badge only where there is something to count."""
    user = request.user
    if not isinstance(user, AbstractUser):
        return []
    groups = []
    for title, entries in _GROUPS:
        items = [_item(entry) for entry in entries if not entry.permission or user.has_perm(entry.permission)]
        if items:
            groups.append({"title": title, "separator": bool(title), "items": items})
    return groups


def place_of(model: type[Model]) -> tuple[str, str, str]:
    """Group, title and address under which the sidebar has the model's list: what its pages are called, whatever Django calls it."""
    route = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    for group, entries in _GROUPS:
        for entry in entries:
            if entry.route == route:
                return group, entry.title, reverse(route)
    name = str(model._meta.verbose_name_plural)
    return "", name[:1].upper() + name[1:], reverse(route)


def _item(entry: Entry) -> dict[str, Any]:
    item: dict[str, Any] = {"title": entry.title, "icon": entry.icon, "link": reverse(entry.route)}
    count: int = import_string(entry.badge)() if entry.badge else 0
    if count:
        item |= {"badge": count if count < 100 else "99+", "badge_variant": entry.badge_variant}
    return item
