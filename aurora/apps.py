"""Django's configuration of the ground floor."""

from __future__ import annotations

import threading
from typing import Any

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate

from aurora.resilience import availability
from aurora.resilience.availability import Standing


class AuroraConfig(AppConfig):
    name = "aurora"
    verbose_name = "System"

    def ready(self) -> None:
        from aurora import audit_chain
        from aurora.bus import housekeeping, registry, schedule
        from aurora.bus.relay import Relay
        from aurora.bus.schedule import Scheduler
        from aurora.observability import tracing
        from aurora.standin import own_parts, snapshot

        tracing.start()
        post_migrate.connect(_make_groups, sender=self)
        registry.register("relay", Relay)
        registry.register("scheduler", Scheduler)
        housekeeping.register()
        audit_chain.register()
        own_parts.register_all()
        availability.database.on_change(_tell_others)
        schedule.register("snapshot", every=snapshot.REFRESH_SECONDS, function=snapshot.refresh, is_local=True)


class ConsoleConfig(AdminConfig):
    """The admin with our own site, so that every page of it reads the same table of roles."""

    default_site = "aurora.console.site.Console"


def _tell_others(_standing: Standing) -> None:
    """In a thread, for Redis may be away as well."""
    from aurora.bus import control

    threading.Thread(target=control.look_at_postgres, name="mode-changed", daemon=True).start()


def _make_groups(**_signal: Any) -> None:
    from aurora.identity.accounts import ensure_roles

    ensure_roles()
