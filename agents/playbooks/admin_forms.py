"""A console page that makes a row from a form: what is right, the verb decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from aurora.actors import Actor
from aurora.console.verbs import ButtonsAdmin
from aurora.errors import AuroraError, Invalid
from aurora.rest.auth import actor_of
from aurora.standin import source


class MakingAdmin(ButtonsAdmin):
    """A ButtonsAdmin with such a page, under the list's "Add"."""

    form_class: ClassVar[type[forms.Form]]
    form_title: ClassVar[str]
    form_press: ClassVar[str]
    form_hint: ClassVar[str] = ""

    def make(self, given: Mapping[str, Any], actor: Actor) -> Any:
        """The verb; the row that it made. Raises an AuroraError."""
        raise NotImplementedError

    def has_add_permission(self, request: HttpRequest) -> bool:
        return source.is_writable() and request.user.has_perm(f"{self.opts.app_label}.add_{self.opts.model_name}")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        if object_id is None:
            return self._make(request)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _make(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = self.form_class(request.POST or None, request.FILES or None)
        if form.is_valid():
            try:
                row = self.make(form.cleaned_data, actor_of(request))
            except AuroraError as error:
                _show(form, error)
            else:
                messages.success(request, f"{row}: done.")
                return HttpResponseRedirect(
                    reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])
                )
        context = {
            **self.admin_site.each_context(request),
            "title": self.form_title,
            "opts": self.opts,
            "inline_admin_formsets": [],
            "record_icon": self.record_icon,
            "form": form,
            "press": self.form_press,
            "hint": self.form_hint,
        }
        return TemplateResponse(request, "admin/agents/form.html", context)


def _show(form: forms.Form, error: AuroraError) -> None:
    problems = error.problems if isinstance(error, Invalid) else []
    for fault in problems:
        place = ".".join(str(part) for part in fault["loc"][1:])
        sentence = fault["msg"].removeprefix("Value error, ")
        if place in form.fields:
            form.add_error(place, sentence)
        else:
            form.add_error(None, f"{place}: {sentence}" if place else sentence)
    if not problems:
        form.add_error(None, error.detail)
