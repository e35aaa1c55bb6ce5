"""The console's pages of playbooks: seen, compared, rehearsed, taken out and brought in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.playbooks import authoring, executions, pictures
from agents.playbooks.admin import execution_url, run_lines
from agents.playbooks.models import Execution, Playbook, PlaybookVersion
from agents.playbooks.source import LONGEST
from aurora.actors import Actor
from aurora.console import widgets
from aurora.console.making import EditingForm, MakingAdmin
from aurora.console.verbs import Button, Choice
from aurora.errors import Invalid
from aurora.ids import uuid_or_none
from cases.models import Alert

ALERTS_OFFERED = 20
RUNS_SHOWN = 10
VERSIONS_OFFERED = 50


class ImportForm(EditingForm):
    """A playbook's text, or a file with it."""

    file = forms.FileField(required=False, label="File (YAML or JSON)")
    text = forms.CharField(
        required=False,
        max_length=LONGEST,
        label="or its text",
        strip=False,
        widget=forms.Textarea(attrs={"rows": 16, "spellcheck": "false", "class": "au-code"}),
    )
    replaces = forms.BooleanField(required=False, label="Make it a new version if there is a playbook of this name")

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        file = given.get("file")
        if bool(file) == bool(given.get("text", "").strip()):
            raise forms.ValidationError("Choose a file, or paste a text")
        if file:
            given["text"] = _text_of(file.read(LONGEST * 4 + 1))
        return given

    def look_again(self) -> None:
        super().look_again()
        self.put("text", self.cleaned_data["text"])  # of a file as well, which no page can hold for its reader


def _text_of(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise forms.ValidationError("The file is no text in UTF-8") from None
    if "\0" in text:
        raise forms.ValidationError("The file holds NUL characters")
    return text


def _newest_alerts(_row: object) -> list[Choice]:
    rows = Alert.objects.order_by("-id").only("id", "title")[:ALERTS_OFFERED]
    return [Choice(str(alert.pk), f"On “{alert.title[:80]}”", is_chosen=place == 0) for place, alert in enumerate(rows)]


def _rehearse(key: Any, actor: Actor, form: Mapping[str, str]) -> Execution:
    alert_id = uuid_or_none(form.get("choice", ""))
    if alert_id is None:
        raise Invalid("Choose an alert")
    return executions.execute(playbook_id=key, alert_id=alert_id, dry_run=True, actor=actor)


def _switch(name: str, label: str, icon: str, *, wanted: bool) -> Button:
    return Button(
        name,
        label,
        executions.PERMISSION,
        lambda key, actor, _: authoring.edit_playbook(playbook_id=key, changes={"enabled": wanted}, actor=actor),
        icon=icon,
        suits=lambda row: row.enabled != wanted,
        done=f"{name}d",
    )


@admin.register(Playbook)
class PlaybookAdmin(MakingAdmin):
    """Playbooks, as a picture of their steps and as text."""

    change_form_template = "admin/agents/playbook/page.html"
    record_icon = "account_tree"
    record_facts = ("name", "trigger", "enabled", "version", "is_shipped", "updated_at")
    list_display = ("playbook", "trigger", "version", "is_enabled", "updated")
    list_display_links = ("playbook",)
    list_fullwidth = True
    search_fields = ("name", "title")
    form_class = ImportForm
    form_title, form_press, form_icon = "Import playbook", "Import", "upload_file"
    form_hint = (
        "As exported, or written by hand: YAML or JSON. Faults are told with their lines, and nothing is stored then."
    )
    search_help_text = "Name or title"
    buttons = (
        Button(
            "rehearse",
            "Dry run",
            executions.PERMISSION,
            _rehearse,
            icon="science",
            tone="primary",
            is_for_many=False,
            choices=_newest_alerts,
            suits=lambda row: row.enabled,
            done="rehearsed: nothing of it has an effect",
            leads_to=execution_url,
        ),
        _switch("enable", "Enable", "toggle_on", wanted=True),
        _switch("disable", "Disable", "toggle_off", wanted=False),
    )

    def make(self, given: Mapping[str, Any], actor: Actor) -> Playbook:
        return authoring.import_playbook(
            text=given["text"], replaces=given["replaces"], actor=actor, seen_as=given["seen"]
        )

    def form_for(self, request: HttpRequest) -> forms.Form:
        """Begun with the text of the playbook that `from` names, to be written anew."""
        form, book = ImportForm(request.POST or None, request.FILES or None), _edited(request)
        if book is not None:
            form.initial = {"text": authoring.current_version(book).source, "replaces": True}
            form.saw(authoring.version_of(book))
        return form

    def form_page(self, request: HttpRequest, **context: Any) -> TemplateResponse:
        if book := _edited(request):
            context |= {"title": f"Edit {book}", "press": "Save as a new version", "press_icon": "save"}
            context |= {
                "hint": "Runs that are under way keep the version that they began with. Faults are told with their lines."
            }
            if context["form"].is_outdated:
                url = reverse("admin:agents_playbook_change", args=[book.pk])
                context |= {
                    "hint": format_html('What was changed: <a href="{}">{}</a>.', url, f"version {book.version}")
                }
        return super().form_page(request, **context)

    def get_urls(self) -> list[URLPattern]:
        export = path(
            "<path:object_id>/export/", self.admin_site.admin_view(self.export), name="agents_playbook_export"
        )
        return [export, *super().get_urls()]

    def export(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The text of a version, the present one unless `version` names another, as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        version = _numbered(row, request.GET.get("version", ""), row.version)
        response = HttpResponse(version.source, content_type="application/yaml; charset=utf-8")
        response.headers["Content-Disposition"] = f'attachment; filename="{row.name}-v{version.number}.yaml"'
        return response

    def page(self, request: HttpRequest, row: Playbook) -> dict[str, Any]:
        after = _numbered(row, request.GET.get("after", ""), row.version)
        before = _numbered(row, request.GET.get("before", ""), max(after.number - 1, 1))
        return {
            **super().page(request, row),
            "picture": pictures.of_version(after),
            "after": after,
            "before": before,
            "changes": pictures.changes(before, after),
            "versions": list(row.versions.order_by("-number")[:VERSIONS_OFFERED]),
            "runs": run_lines(row.executions.all(), RUNS_SHOWN),
            "may_write": self.has_add_permission(request),
        }

    @admin.display(description="Playbook", ordering="name")
    def playbook(self, row: Playbook) -> SafeString:
        return format_html('<span class="au-title"><b>{}</b><small>{}</small></span>', str(row), row.description)

    @admin.display(description="Enabled", ordering="enabled")
    def is_enabled(self, row: Playbook) -> SafeString:
        return widgets.badge("status", "yes" if row.enabled else "no")

    @admin.display(description="Updated", ordering="updated_at")
    def updated(self, row: Playbook) -> SafeString:
        return widgets.ago(row.updated_at)


def _edited(request: HttpRequest) -> Playbook | None:
    key = uuid_or_none(request.GET.get("from", ""))
    return Playbook.objects.filter(pk=key).first() if key else None


def _numbered(row: Playbook, given: str, otherwise: int) -> PlaybookVersion:
    """The version that a query names. Raises Http404 for one that there is not."""
    number = int(given) if given.isascii() and given.isdigit() and len(given) < 7 else otherwise if not given else 0
    version = row.versions.filter(number=number).first()
    if version is None:
        raise Http404
    return version
