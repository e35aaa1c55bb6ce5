"""Django's configuration of `agents`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AgentsConfig(AppConfig):
    name = "agents"
    verbose_name = "Agents"

    def ready(self) -> None:
        from agents import workers

        workers.register_all()
        post_migrate.connect(_make_agents, sender=self)


def _make_agents(**_signal: Any) -> None:
    from agents.registry import ensure_agents

    ensure_agents()
