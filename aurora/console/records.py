"""The console's base: rows are shown, and changed by verbs alone. No page of it saves a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from aurora.console import navigation, widgets
from aurora.console.overview import Panel
from aurora.console.paginator import EstimatingPaginator

Facts = list[tuple[str, object]]
"""Label and value; a value that is HTML was made by `aurora.console.widgets`."""

Section = Callable[[HttpRequest, Any], Panel | None]
"""`(request, row) → a box of the row's page`, or None for readers who may not see it."""


class RecordList(ChangeList):
    """A list that never counts the whole table: unless it is narrowed, what it shows is all there is."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class RecordAdmin(ModelAdmin):
    """A list of rows and a page for each. Subclasses say what a page shows; templates under `admin/<app>/<model>/` may extend it."""

    record_facts: ClassVar[tuple[str, ...]] = ()
    """Fields of the page's table of facts."""
    record_texts: ClassVar[tuple[str, ...]] = ()
    """Fields shown whole, as preformatted text; JSON is indented."""
    list_empty: ClassVar[str] = ""
    """What an empty list says that is not searched: that this is well, or what would be here."""
    list_deferred: ClassVar[tuple[str, ...]] = ()
    """Wide fields that the list does not show and therefore does not load."""
    sections: ClassVar[tuple[Section, ...]] = ()
    """Boxes of a row's page that apps above this one add."""
    record_icon = "description"
    record_nouns: ClassVar[tuple[str, str]] = ("", "")
    """What one row and several are called; empty: as the model calls itself."""
    change_form_template = "admin/aurora/record.html"
    change_list_template = "admin/aurora/list.html"
    paginator = EstimatingPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True
    show_facets = ShowFacets.NEVER  # facets count the whole table
    actions: Any = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any, Any]:
        rows: models.QuerySet[Any, Any] = super().get_queryset(request)
        match = request.resolver_match
        is_list = bool(match and match.url_name and match.url_name.endswith("_changelist"))
        return rows.defer(*self.list_deferred) if is_list else rows

    def get_list_display(self, request: HttpRequest) -> Any:
        """Fields are headed as everything else is, `Requested by`: on small screens unfold writes each column's name beside its value."""
        links = self.list_display_links or ()
        return [name if name in links else self._column(name) for name in super().get_list_display(request)]

    @property
    def nouns(self) -> tuple[str, str]:
        one, many = self.record_nouns
        return one or str(self.opts.verbose_name), many or str(self.opts.verbose_name_plural)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return RecordList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Called as the sidebar calls it; Django's "Select alert to view" tells a reader of many tabs nothing."""
        _, title, _ = navigation.place_of(self.model)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """The row's page. Without a form: none of it is edited here."""
        if object_id is None or request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "original": row,
            "opts": self.opts,
            "inline_admin_formsets": [],
            "record_icon": self.record_icon,
            "sections": [panel for section in self.sections if (panel := section(request, row))],
            **self.page(request, row),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.change_form_template, context)

    @classmethod
    def add_section(cls, section: Section) -> None:
        """For an app above: alerts know nothing of investigations, which yet belong on an alert's page."""
        cls.sections = (*cls.sections, section)

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the row's template is given. `facts` and `texts` come from the class; a subclass adds its own."""
        return {
            "facts": facts_of(row, self.record_facts),
            "texts": [(self._label(name), text) for name in self.record_texts if (text := getattr(row, name))],
        }

    def _column(self, name: Any) -> Any:
        fields = {field.name: field for field in self.opts.fields}
        if name not in fields:
            return name

        @admin.display(
            description=self._label(name), ordering=name, boolean=isinstance(fields[name], models.BooleanField)
        )
        def column(row: models.Model) -> Any:
            shown = getattr(row, f"get_{name}_display", None)
            return shown() if shown else getattr(row, name)

        column.__name__ = name
        return column

    def _label(self, name: str) -> str:
        return field_label(self.model, name)


def facts_of(row: models.Model, names: Iterable[str]) -> Facts:
    """The named fields of a row, each with its label, as a page shows them."""
    return [(field_label(type(row), name), _fact(row, name)) for name in names]


def field_label(model: type[models.Model], name: str) -> str:
    """The field's verbose name, or the property's own name, as a label: `expires_at` → `Expires`, `is_shipped` → `Shipped`."""
    known = {field.name: field for field in model._meta.get_fields()}
    label = str(getattr(known.get(name), "verbose_name", name)).replace("_", " ")
    label = label.removeprefix("is ").removesuffix(" at")
    return label[:1].upper() + label[1:]


def _fact(row: models.Model, name: str) -> object:
    value = getattr(row, name)
    if isinstance(value, datetime):
        return widgets.when(value)
    if value is None or value in ("", [], {}):
        return widgets.NOTHING
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return widgets.badge("status", "yes" if value else "no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str):
        display = getattr(row, f"get_{name}_display", None)
        return widgets.words(display()) if display else value
    return format_html("<code>{}</code>", value)
