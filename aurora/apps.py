"""Django's configuration of the ground floor."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class AuroraConfig(AppConfig):
    name = "aurora"
    verbose_name = "System"

    def ready(self) -> None:
        from aurora.observability import tracing

        tracing.start()


class ConsoleConfig(AdminConfig):
    """The admin with our own site, so that every page of it reads the same table of roles."""

    default_site = "aurora.console.site.Console"
