"""The product's models without its start-up: no tracing."""

from __future__ import annotations

from django.apps import AppConfig


class Silent(AppConfig):
    name = "aurora"
    label = "aurora"

    def ready(self) -> None:
        """Nothing."""
