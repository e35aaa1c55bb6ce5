"""A dry run's changes by the console's forms and buttons: done, shown as done, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from aurora import dry_run
from aurora.standin.source import SAFE

NOTHING_KEPT = "Dry run: nothing of it was kept."

View = Callable[..., HttpResponseBase]
V = TypeVar("V", bound=Callable[..., Any])


def previews_itself(view: V) -> V:
    """Marks a view that takes back what has to be taken back."""
    vars(view)["previews_itself"] = True
    return view


def is_seen_to(view: Any) -> bool:
    """Whether the view is marked so."""
    return bool(getattr(view, "previews_itself", False))


def taken_back_in_dry_run(view: View) -> View:
    """The view; in a dry run, of what it changes nothing is kept."""

    @wraps(view)
    def maybe_taken_back(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not dry_run.is_on() or request.method in SAFE:
            return view(request, *args, **kwargs)
        with dry_run.preview():
            response = view(request, *args, **kwargs)
        if isinstance(response, HttpResponseRedirect):
            return led_back(request, _where_it_was_pressed(request))  # it may lead to what is not there any more
        response.headers[dry_run.HEADER] = dry_run.MODE
        return response

    return maybe_taken_back


def led_back(request: HttpRequest, target: str) -> HttpResponseRedirect:
    """To a page that says that nothing was kept."""
    messages.info(request, NOTHING_KEPT)
    response = HttpResponseRedirect(target)
    response.headers[dry_run.HEADER] = dry_run.MODE
    return response


def _where_it_was_pressed(request: HttpRequest) -> str:
    referer = request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(referer, {request.get_host()}, require_https=request.is_secure())
    return referer if is_ours else reverse("admin:index")
