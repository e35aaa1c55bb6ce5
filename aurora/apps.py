"""Django's configuration of the ground floor."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class AuroraConfig(AppConfig):
    name = "aurora"
    verbose_name = "System"

    def ready(self) -> None:
        from aurora import audit_chain
        from aurora.bus import housekeeping, registry
        from aurora.bus.relay import Relay
        from aurora.bus.schedule import Scheduler
        from aurora.observability import tracing

        tracing.start()
        post_migrate.connect(_make_groups, sender=self)
        registry.register("relay", Relay)
        registry.register("scheduler", Scheduler)
        housekeeping.register()
        audit_chain.register()


class ConsoleConfig(AdminConfig):
    """The admin with our own site, so that every page of it reads the same table of roles."""

    default_site = "aurora.console.site.Console"


def _make_groups(**_signal: Any) -> None:
    from aurora.identity.accounts import ensure_roles

    ensure_roles()
