"""The console's pages of the ground floor: what waits, what was buried, who did what, who may do what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group, User
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from aurora import admin_keys, audit_chain  # noqa: F401 - the keys' page registers itself
from aurora.actors import Actor
from aurora.bus import dead_letters
from aurora.console import widgets
from aurora.console.making import MakingAdmin
from aurora.console.records import RecordAdmin
from aurora.console.verbs import Button, ButtonsAdmin, Choice
from aurora.errors import Invalid, Missing
from aurora.identity import accounts, credentials
from aurora.models import AuditEntry, DeadLetter, OutboxEvent
from aurora.resilience import availability
from aurora.rest.auth import actor_of
from aurora.roles import ROLES, permissions_of
from aurora.standin import source

_NOUNS = {"casetask": "task", "evidence": "evidence", "executionstep": "step"}
"""Targets of the audit trail that have no page of their own."""

# Django's own pages of accounts would save them past the verbs that guard the last admin.
admin.site.unregister([User, Group])


@admin.register(OutboxEvent)
class OutboxEventAdmin(RecordAdmin):
    """Events that wait for the relay: empty on a good day."""

    list_empty = "Nothing waits for the bus."
    record_icon = "outbox"
    record_nouns = ("event", "events")
    record_facts = ("event_id", "stream", "type", "aggregate", "traceparent", "created_at")
    record_texts = ("data",)
    list_display = ("type", "stream", "aggregate", "created")
    list_deferred = ("data",)
    search_fields = ("=event_id", "type", "aggregate")

    @admin.display(description="Waiting since", ordering="created_at")
    def created(self, event: OutboxEvent) -> SafeString:
        return widgets.ago(event.created_at)


class RedrivenFilter(admin.SimpleListFilter):
    """Dead letters by whether somebody has put them back."""

    title = "redriven"
    parameter_name = "redriven"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Waiting"), ("yes", "Put back")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        return queryset.filter(redriven_at__isnull=self.value() == "no") if self.value() else queryset


@admin.register(DeadLetter)
class DeadLetterAdmin(ButtonsAdmin):
    """Messages that no delivery could handle, with what is needed to understand them and to put them back."""

    buttons = (
        Button(
            "redrive",
            "Put back",
            "agents:manage",
            lambda key, actor, _: dead_letters.redrive(dead_letter_id=key, actor=actor),
            icon="replay",
            tone="primary",
            suits=lambda letter: letter.redriven_at is None,
            done="put back on the stream",
        ),
    )
    list_empty = "Every message was handled."
    record_icon = "mark_email_unread"
    record_facts = (
        "stream",
        "group",
        "entry_id",
        "event_id",
        "type",
        "deliveries",
        "traceparent",
        "created_at",
        "redriven_at",
    )
    record_texts = ("error", "data")
    list_display = ("message", "group", "why", "deliveries", "buried", "state")
    list_filter = (RedrivenFilter,)
    list_deferred = ("data",)
    search_fields = ("=entry_id", "=event_id", "type", "error")
    search_help_text = "Type, error, entry or event id"
    list_fullwidth = True

    @admin.display(description="Message")
    def message(self, letter: DeadLetter) -> SafeString:
        return format_html(
            '<span class="au-title"><b>{}</b><small>{} · {}</small></span>',
            letter.type or "message",
            letter.stream,
            letter.entry_id,
        )

    @admin.display(description="Error")
    def why(self, letter: DeadLetter) -> SafeString:
        return format_html('<span class="au-clip" title="{}">{}</span>', letter.error[:500], letter.error[:160])

    @admin.display(description="Buried", ordering="created_at")
    def buried(self, letter: DeadLetter) -> SafeString:
        return widgets.ago(letter.created_at)

    @admin.display(description="State")
    def state(self, letter: DeadLetter) -> SafeString:
        return widgets.badge(
            "status", "resolved" if letter.redriven_at else "new", "Put back" if letter.redriven_at else "Waiting"
        )


@admin.register(AuditEntry)
class AuditEntryAdmin(RecordAdmin):
    """Who changed what, from where."""

    record_icon = "history"
    record_nouns = ("entry", "entries")
    list_fullwidth = True
    record_facts = ("at", "actor", "address", "action", "target_type", "target_id", "request_id", "number", "digest")
    record_texts = ("before", "after")
    list_display = ("moment", "actor", "what", "target", "address")
    list_deferred = ("before", "after")
    list_display_links = ("what",)
    search_fields = ("=actor", "=target_id", "action")
    search_help_text = "Actor, action or the id of what was changed"
    list_before_template = "admin/aurora/audit_chain.html"  # type: ignore[assignment] # unfold calls it None

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"chain": audit_chain.state(), **(extra_context or {})})

    @admin.display(description="At", ordering="at")
    def moment(self, entry: AuditEntry) -> SafeString:
        return widgets.ago(entry.at)

    @admin.display(description="Action", ordering="action")
    def what(self, entry: AuditEntry) -> str:
        return entry.action

    @admin.display(description="Target")
    def target(self, entry: AuditEntry) -> SafeString:
        noun, url = _page_of(entry)
        told = format_html('<span class="au-title"><b>{}</b><small>{}</small></span>', noun, entry.target_id)
        return format_html('<a href="{}">{}</a>', url, told) if url else told

    def page(self, request: HttpRequest, row: AuditEntry) -> dict[str, Any]:
        context = super().page(request, row)
        facts = dict(context["facts"])
        facts["Target type"], url = _page_of(row)
        if url:
            facts["Target id"] = format_html('<a href="{}">{}</a>', url, row.target_id)
        return {**context, "title": f"{row.action} by {row.actor}", "facts": list(facts.items())}


def _page_of(entry: AuditEntry) -> tuple[str, str]:
    """What an entry's target is called, and the address of its page; empty for what has none. It may be gone by now."""
    for model, pages in admin.site._registry.items():
        if model._meta.model_name == entry.target_type and isinstance(pages, RecordAdmin):
            noun, _ = pages.nouns
            route = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
            return widgets.words(noun), reverse(route, args=[entry.target_id]) if entry.target_id else ""
    return widgets.words(_NOUNS.get(entry.target_type, entry.target_type)), ""


def _edit_account(key: Any, actor: Actor, changes: dict[str, Any]) -> User:
    return accounts.edit_account(username=_username(key), changes=changes, actor=actor)


def _set_role(key: Any, actor: Actor, form: Mapping[str, str]) -> object:
    if form.get("choice") not in ROLES:
        raise Invalid("Choose a role")
    return _edit_account(key, actor, {"role": form["choice"]})


def _roles(user: User) -> list[Choice]:
    current = credentials.role_of(user)
    nothing = [] if current else [Choice("", "No role", is_chosen=True)]
    return nothing + [Choice(role, widgets.words(role), role == current) for role in ROLES]


def _username(key: Any) -> str:
    name = User.objects.filter(pk=key).values_list("username", flat=True).first()
    if name is None:
        raise Missing
    return name


def _users(_deleted: object) -> str:
    return reverse("admin:auth_user_changelist")


class PasswordForm(forms.Form):
    """What a password must be, the verb decides."""

    password = forms.CharField(
        max_length=1024, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )


class AccountForm(PasswordForm):
    """A new account."""

    field_order = ("username", "password", "role")
    username = forms.CharField(max_length=150, validators=[ASCIIUsernameValidator()])
    role = forms.ChoiceField(choices=[(role, widgets.words(role)) for role in ROLES], initial="viewer")


@admin.register(User)
class UserAdmin(MakingAdmin):
    """Accounts. Every change goes through the verbs, which keep the last admin and end the account's sessions with programs."""

    buttons = (
        Button(
            "role",
            "Set role",
            "users:manage",
            _set_role,
            "shield_person",
            is_for_many=False,
            choices=_roles,
            done="given its role",
        ),
        Button(
            "activate",
            "Activate",
            "users:manage",
            lambda key, actor, _: _edit_account(key, actor, {"is_active": True}),
            icon="person_check",
            suits=lambda user: not user.is_active,
            done="activated",
        ),
        Button(
            "deactivate",
            "Deactivate",
            "users:manage",
            lambda key, actor, _: _edit_account(key, actor, {"is_active": False}),
            icon="person_off",
            tone="danger",
            suits=lambda user: user.is_active,
            done="deactivated",
        ),
        Button(
            "delete",
            "Delete",
            "users:manage",
            lambda key, actor, _: accounts.delete_account(username=_username(key), actor=actor),
            icon="delete",
            tone="danger",
            confirm="The account is gone at once and for good. What it did stays in the audit trail.",
            is_for_many=False,
            done="deleted",
            leads_to=_users,
        ),
    )
    record_icon = "person"
    # An account has no address and no other name: nothing here asks for them or writes to them.
    record_facts = ("username", "is_active", "is_staff", "date_joined", "last_login")
    list_display = ("username", "role", "is_active", "signed_in")
    list_filter = ("is_active", "groups")
    search_fields = ("username",)
    ordering = ("username",)

    form_class = AccountForm
    form_title, form_press, form_icon = "Add user", "Add user", "person_add"
    change_form_template = "admin/auth/user/page.html"

    def make(self, given: Mapping[str, Any], actor: Actor) -> User:
        return accounts.create_account(**given, actor=actor)

    def get_urls(self) -> list[URLPattern]:
        route = path(
            "<path:object_id>/password/", self.admin_site.admin_view(self.set_password), name="auth_user_password"
        )
        return [route, *super().get_urls()]

    def set_password(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A new password for somebody who has lost theirs; they set their own by their own page."""
        availability.database.require_writable()
        if not self.may_manage(request):
            raise PermissionDenied
        user = self.get_object(request, object_id)
        if user is None:
            raise Http404

        def done(request: HttpRequest, _user: User) -> HttpResponse:
            messages.success(request, f"{user.username} has a new password and is signed out everywhere.")
            return HttpResponseRedirect(reverse("admin:auth_user_change", args=[user.pk]))

        return self.through(
            request,
            PasswordForm(request.POST or None),
            lambda given, actor: _edit_account(user.pk, actor, {"password": given["password"]}),
            done,
            title=f"New password for {user.username}",
            press="Set password",
            press_icon="password",
            hint="It ends everything that the account has opened: sessions, tokens, sockets.",
        )

    def may_manage(self, request: HttpRequest) -> bool:
        return source.is_writable() and actor_of(request).may("users:manage")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User, User]:
        rows: QuerySet[User, User] = super().get_queryset(request)
        return rows.defer("password").prefetch_related("groups")

    def page(self, request: HttpRequest, row: User) -> dict[str, Any]:
        context = super().page(request, row)
        facts = [
            ("May open the console" if label == "Staff status" else label, value) for label, value in context["facts"]
        ]
        new_password = reverse("admin:auth_user_password", args=[row.pk]) if self.may_manage(request) else ""
        return {**context, "facts": [("Role", self.role(row)), *facts], "new_password": new_password}

    @admin.display(description="Role")
    def role(self, user: User) -> SafeString:
        return widgets.badge("role", credentials.role_of(user))

    @admin.display(description="Last sign-in", ordering="last_login")
    def signed_in(self, user: User) -> SafeString:
        return widgets.ago(user.last_login)


@admin.register(Group)
class RoleAdmin(RecordAdmin):
    """The roles and what each may do: a table in code, shown."""

    record_icon = "shield_person"
    record_nouns = ("role", "roles")
    record_facts = ("name",)
    list_display = ("role", "may")
    ordering = ("id",)

    def page(self, request: HttpRequest, row: Group) -> dict[str, Any]:
        granted = widgets.chips(sorted(permissions_of(row.name)), shown=50)
        return {**super().page(request, row), "facts": [("Role", widgets.badge("role", row.name)), ("May", granted)]}

    @admin.display(description="Role", ordering="name")
    def role(self, group: Group) -> SafeString:
        return widgets.badge("role", group.name)

    @admin.display(description="May")
    def may(self, group: Group) -> SafeString:
        return widgets.chips(sorted(permissions_of(group.name)), shown=6)
