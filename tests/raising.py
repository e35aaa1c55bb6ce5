"""A middleware that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from django.http import HttpRequest, HttpResponseBase


class Raising:
    """Raises what it was told to raise."""

    error: ClassVar[Exception] = RuntimeError("said nothing of what to raise")

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        raise self.error
