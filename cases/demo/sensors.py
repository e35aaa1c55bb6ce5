"""The sensors that tell one stream, and the shorthand in which an act of the attack is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from cases.demo import suricata
from cases.demo.events import Record, Step
from cases.demo.suricata import Application, Conversation, Suricata
from cases.demo.wazuh import Wazuh


@dataclass(frozen=True, slots=True)
class Sensors:
    """The sensors that remember. All draw from one generator: the order of the stream decides each draw."""

    network: Suricata
    hosts: Wazuh

    @classmethod
    def seeded(cls, seed: int) -> Sensors:
        rng = Random(f"sensors:{seed}")  # noqa: S311 - a story, not a secret
        return cls(network=Suricata(rng), hosts=Wazuh(rng))


@dataclass(frozen=True, slots=True)
class Act:
    """Writes the steps of one phase of the attack."""

    label: str
    sensors: Sensors

    def eve(self, minute: float, *, rule: suricata.Rule, talk: Conversation, app: Application | None = None) -> Step:
        return self._step(minute, "suricata", partial(self.sensors.network.alert, rule=rule, talk=talk, app=app))

    def eve_flow(self, minute: float, *, talk: Conversation, app_proto: str) -> Step:
        write = partial(self.sensors.network.flow, talk=talk, app_proto=app_proto, has_alerted=True)
        return self._step(minute, "suricata", write)

    def wazuh(self, minute: float, write: Callable[..., Record], **known: object) -> Step:
        """`write` is a method of `sensors.hosts`, `known` all it needs but the time."""
        return self._step(minute, "wazuh", partial(write, **known))

    def hook(self, minute: float, source: str, write: Callable[..., Record], **known: object) -> Step:
        """`write` is a function of `cases.demo.webhooks`, `known` all it needs but the time."""
        return self._step(minute, source, partial(write, **known))

    def _step(self, minute: float, source: str, write: Callable[..., Record]) -> Step:
        return Step(minute, source, self.label, write)
