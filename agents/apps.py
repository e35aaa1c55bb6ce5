"""Django's configuration of `agents`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AgentsConfig(AppConfig):
    name = "agents"
    verbose_name = "Agents"

    def ready(self) -> None:
        from agents import events, workers, working_set
        from agents.models import Investigation
        from agents.playbooks import approvals
        from agents.playbooks import events as playbook_events
        from agents.playbooks import workers as playbook_workers
        from agents.playbooks.models import Execution
        from cases import lifecycle, merging

        workers.register_all()
        playbook_workers.register_all()
        working_set.register_all()
        lifecycle.guard_closing(approvals.require_none_pending)
        merging.follow(merging.Part(Investigation, "investigation", events.investigation_updated))
        merging.follow(
            merging.Part(Execution, "run", playbook_events.execution_updated, ("playbook", "version", "case", "alert"))
        )
        post_migrate.connect(_make_agents, sender=self)


def _make_agents(**_signal: Any) -> None:
    from agents.playbooks.authoring import ensure_library
    from agents.playbooks.connectors import ensure_own
    from agents.registry import ensure_agents

    ensure_agents()
    ensure_library()
    ensure_own()
