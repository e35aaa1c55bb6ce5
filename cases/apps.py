"""Django's configuration of `cases`."""

from __future__ import annotations

from django.apps import AppConfig


class CasesConfig(AppConfig):
    name = "cases"
    verbose_name = "Alerts and cases"

    def ready(self) -> None:
        from aurora.bus import registry
        from cases import working_set
        from cases.draining import Drainer

        registry.register("spool", Drainer)
        working_set.register_all()
