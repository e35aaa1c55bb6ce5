"""The route table, for tests that walk all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.urls import URLPattern, URLResolver, get_resolver

from aurora.rest.views import ApiView


class Route(NamedTuple):
    """One method of one route; `pattern` as Django writes it, without the leading slash."""

    method: str
    pattern: str
    view: type[ApiView]

    def __str__(self) -> str:
        return f"{self.method} /{self.pattern}"


def api_routes() -> list[Route]:
    """Every method of every API view that has a route."""
    return [
        Route(method, pattern, view)
        for pattern, callback in _patterns(get_resolver().url_patterns, "")
        if (view := view_of(callback)) is not None
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if hasattr(view, method.lower())
    ]


def view_of(callback: Any) -> type[ApiView] | None:
    """The API view behind a route's function, if it is one."""
    view = getattr(callback, "cls", None)
    return view if isinstance(view, type) and issubclass(view, ApiView) else None


def _patterns(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern.url_patterns, route)
        else:
            yield route, pattern.callback
