"""A target in this process, of the kind that honours keys: the same key again has no second effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from agents.playbooks.actions.contract import ConnectorSettings, Order, Wired
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.models import Connector


class Recorder:
    """`told` holds every order that arrived, `effects` each key once; `before` may fail or look around."""

    SERVES = frozenset(ACTIONS)
    SECRETS: frozenset[str] = frozenset()
    Settings = ConnectorSettings

    def __init__(self) -> None:
        self.told: list[Order] = []
        self.effects: list[str] = []
        self.before: Callable[[Order], None] = lambda order: None

    def install(self) -> Connector:
        """Makes it serve everything, before all others."""
        return Connector.objects.create(name="recorder", kind="webhook", actions=sorted(ACTIONS), priority=1)

    def act(self, order: Order, wired: Wired) -> dict[str, Any]:
        self.told.append(order)
        self.before(order)
        if order.key not in self.effects:
            self.effects.append(order.key)
        return {"done": order.action}

    def check(self, wired: Wired) -> str:
        return "it listens"

    def times(self) -> Counter[str]:
        """How often each key was told."""
        return Counter(order.key for order in self.told)
