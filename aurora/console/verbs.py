"""Buttons of the console. Each calls one verb of the domain, row by row, as POST, under a permission of the table of roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from aurora import dry_run
from aurora.actors import Actor
from aurora.console import previews
from aurora.console.records import RecordAdmin
from aurora.errors import AuroraError
from aurora.rest.auth import actor_of
from aurora.standin import source

AT_MOST = 200
"""Rows that one press of a button may touch: the largest page. Each is a transaction of its own."""

Call = Callable[[Any, Actor, Mapping[str, Any]], object]
"""`(primary key, actor, the form's fields, texts and files) → what the verb returned`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a button's select; the chosen one is how things stand, so that a press without thought changes nothing."""

    value: str
    label: str
    is_chosen: bool = False


def _always(row: Any) -> bool:
    return True


def _no_choices(row: Any) -> Sequence[Choice]:
    return ()


@dataclass(frozen=True, slots=True)
class Button:
    """A verb as the console offers it. `suits` says whether it makes sense for a row; the verb itself decides in the end."""

    name: str
    label: str
    permission: str
    call: Call
    icon: str = "bolt"
    tone: str = ""
    is_for_many: bool = True
    suits: Callable[[Any], bool] = _always
    choices: Callable[[Any], Sequence[Choice]] = _no_choices
    """What the button may be pressed with, for a row; the form's field is `choice`."""
    asks: str = ""
    """What may be typed with a press, such as a reason; the form's field is `text`, one for all such buttons. For many rows nothing is asked."""
    confirm: str = ""
    """What cannot be undone asks again, with this sentence."""
    done: str = "done"
    kept_in_dry_run: bool = False
    """What previews by itself: a playbook's run, which is a dry one then."""
    leads_to: Callable[[Any], str] | None = None
    """The page to show after a single press, from what the verb returned."""
    tells: Callable[[Any], tuple[bool, str]] | None = None
    """Whether it went well and what to say of it, from what the verb returned; for verbs that look and report, of which `done` says nothing."""


class ButtonsAdmin(RecordAdmin):
    """A RecordAdmin with buttons: on a row's page each is a form of its own, on the list an action."""

    buttons: ClassVar[tuple[Button, ...]] = ()

    @classmethod
    def add_button(cls, button: Button) -> None:
        """For an app above, as `add_section`."""
        cls.buttons = (*cls.buttons, button)

    def get_actions(self, request: HttpRequest) -> Any:
        actor = actor_of(request)
        if not source.is_writable():
            return {}
        return {
            button.name: (partial(_press_for_many, button), button.name, button.label)
            for button in self.buttons
            if button.is_for_many and actor.may(button.permission)
        }

    def get_urls(self) -> list[URLPattern]:
        route = path("<path:object_id>/do/<slug:name>/", self.admin_site.admin_view(self.press), name=self._route())
        return [route, *super().get_urls()]

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        actor = actor_of(request)
        offered = [
            (button, reverse(f"admin:{self._route()}", args=[row.pk, button.name]), button.choices(row))
            for button in self.buttons
            if source.is_writable() and self.is_offered(button, row, actor)
        ]
        # A select takes room and thought: pages may put these beside the facts that they change.
        choosers = [offer for offer in offered if offer[2]]
        plain = [offer for offer in offered if offer[0].choices is _no_choices and not offer[0].asks]
        asking = [offer for offer in offered if offer[0].asks]
        return {**super().page(request, row), "buttons": plain, "choosers": choosers, "asking": asking}

    def is_offered(self, button: Button, row: Any, actor: Actor) -> bool:
        """Whether the row's page has the button for this reader."""
        return actor.may(button.permission) and button.suits(row)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any, Any]) -> HttpResponse | None:
        """Keys come from a form, and Django asks the database for whatever it holds."""
        try:
            for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.to_python(key)
        except ValidationError:
            messages.error(request, "Choose rows of the list.")
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset)

    @previews.previews_itself
    def press(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """One press of one button on a row's page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        button = next((button for button in self.buttons if button.name == name), None)
        if button is None:
            raise Http404
        actor = actor_of(request)
        if not actor.may(button.permission) or not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        target = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])
        is_kept = button.kept_in_dry_run or not dry_run.is_on()
        try:
            with nullcontext() if is_kept else dry_run.preview():
                result = button.call(row.pk, actor, {**request.POST.dict(), **request.FILES.dict()})
        except AuroraError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(target)
        _tell(request, self, button, result)
        if not is_kept:
            return previews.led_back(request, target)
        return HttpResponseRedirect(button.leads_to(result) if button.leads_to else target)

    def _route(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_do"


def _tell(request: HttpRequest, admin: ButtonsAdmin, button: Button, result: Any) -> None:
    noun, _ = admin.nouns
    is_well, sentence = button.tells(result) if button.tells else (True, f"{noun[:1].upper()}{noun[1:]} {button.done}.")
    messages.add_message(request, messages.SUCCESS if is_well else messages.ERROR, sentence)


def _press_for_many(button: Button, admin: ButtonsAdmin, request: HttpRequest, chosen: QuerySet[Any, Any]) -> None:
    """Calls the verb for each chosen row; the first error is shown and ends it, what was done until then stays done."""
    actor = actor_of(request)
    if not actor.may(button.permission):
        raise PermissionDenied
    keys = list(chosen.values_list("pk", flat=True)[: AT_MOST + 1])
    if len(keys) > AT_MOST:
        messages.error(request, f"At most {AT_MOST} at a time.")
        return
    done = 0
    for key in keys:
        try:
            button.call(key, actor, {})
        except AuroraError as error:
            row = admin.model._base_manager.filter(pk=key).first()
            messages.error(request, f"{row}: {error.detail}")
            break
        done += 1
    if done:
        messages.success(request, f"{done} {admin.nouns[done > 1]} {button.done}.")
