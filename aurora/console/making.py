"""A console page that makes a row from a form: what is right, the verb decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.datastructures import MultiValueDict

from aurora.actors import Actor
from aurora.console.verbs import ButtonsAdmin
from aurora.errors import AuroraError, Invalid
from aurora.resilience import availability
from aurora.rest.auth import actor_of
from aurora.seen import Outdated
from aurora.standin import source

_IN_PATTERNS = re.compile(r"String should match pattern '.*'")
"""How pydantic tells that a text has the wrong form."""


class EditingForm(forms.Form):
    """A form of something that is there. It says how that was when the person began, so that nobody's change is undone unseen."""

    seen = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)
    version = ""
    """How it is now, for `aurora.seen.require`."""
    is_outdated = False

    def saw(self, version: str) -> None:
        """What the person is about to be shown."""
        self.version = self.fields["seen"].initial = version

    def look_again(self) -> None:
        """Somebody was faster: what was typed stays in its fields, and is saved if the person, who now sees both, saves again."""
        self.is_outdated = True
        self.put("seen", self.version)

    def put(self, name: str, text: str) -> None:
        """Has the field show `text`, whatever was sent for it."""
        self.data = MultiValueDict(dict(cast(QueryDict, self.data).lists()) | {name: [text]})


class MakingAdmin(ButtonsAdmin):
    """A ButtonsAdmin with such a page, under the button at the head of its list."""

    form_class: ClassVar[type[forms.Form]]
    form_title: ClassVar[str]
    form_press: ClassVar[str]
    form_hint: ClassVar[str] = ""
    form_icon: ClassVar[str] = "add"

    def make(self, given: Mapping[str, Any], actor: Actor) -> Any:
        """The verb; what it returned goes to `made`. Raises an AuroraError."""
        raise NotImplementedError

    def made(self, request: HttpRequest, result: Any) -> HttpResponse:
        """Where one gets from a form that was right: to the page of the row that was made."""
        noun, _ = self.nouns
        messages.success(request, f"{noun[:1].upper()}{noun[1:]} {result} is stored.")
        return HttpResponseRedirect(
            reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[result.pk])
        )

    def form_for(self, request: HttpRequest) -> forms.Form:
        return self.form_class(request.POST or None, request.FILES or None)

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

    def form_page(self, request: HttpRequest, **context: Any) -> TemplateResponse:
        """The page around a form, or around what came of it."""
        frame = {
            **self.admin_site.each_context(request),
            "title": self.form_title,
            "opts": self.opts,
            "inline_admin_formsets": [],
            "record_icon": self.record_icon,
            "press": self.form_press,
            "press_icon": self.form_icon,
            "hint": self.form_hint,
        }
        return TemplateResponse(request, "admin/aurora/form.html", {**frame, **context})

    def _make(self, request: HttpRequest) -> HttpResponse:
        availability.database.require_writable()  # before the permission, which says no as well then, and for a reason that is none
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self.through(request, self.form_for(request), self.make, self.made)

    def through(
        self,
        request: HttpRequest,
        form: forms.Form,
        verb: Callable[[Mapping[str, Any], Actor], Any],
        then: Callable[[HttpRequest, Any], HttpResponse],
        **context: Any,
    ) -> HttpResponse:
        """What a form holds, given to the verb; then where its result leads, or else the form again with what is wrong."""
        if form.is_valid():
            try:
                return then(request, verb(form.cleaned_data, actor_of(request)))
            except AuroraError as error:
                if isinstance(error, Outdated) and isinstance(form, EditingForm):
                    form.look_again()
                _show(form, error)
        return self.form_page(request, form=form, **context)


def _show(form: forms.Form, error: AuroraError) -> None:
    """Each fault beside its field, and what belongs to none above them all."""
    problems = error.problems if isinstance(error, Invalid) else []
    for fault in problems:
        place = ".".join(str(part) for part in fault["loc"][1:])
        sentence = _IN_PATTERNS.sub("This does not have the form that it needs", fault["msg"]).removeprefix(
            "Value error, "
        )
        name = next((name for name in form.fields if f"{place}.".startswith(f"{name}.")), None)
        within = place.removeprefix(name or "").lstrip(".")
        if within.isdigit():
            within = f"line {int(within) + 1}"
        form.add_error(name, f"{within}: {sentence}" if within else sentence)
    if not problems:
        form.add_error(None, error.detail.removeprefix("Value error, "))
