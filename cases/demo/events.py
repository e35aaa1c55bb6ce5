"""What the demo hands out (`DemoEvent`) and what its parts write it in (`Step`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

# Kill-chain order; beaconing goes on below everything that follows it.
PHASES = (
    "recon",
    "initial_access",
    "execution",
    "beaconing",
    "credential_access",
    "lateral_movement",
    "collection",
    "exfiltration",
)

Record = dict[str, Any]
Render = Callable[[datetime], Record]


@dataclass(frozen=True, slots=True)
class DemoEvent:
    """One record of one sensor.

    `at` is aware UTC, `source` the intake source of `POST /api/v1/ingest/{source}`, `record` exactly what
    that sensor sends there, `label` one of `PHASES`, or None for noise. A label says what truly happened:
    flow records of the beacon bear it too, although intake ignores every EVE record that is not an alert.
    """

    at: datetime
    source: str
    record: Record
    label: str | None


class Step(NamedTuple):
    """A moment of the attack's script and how to write its record once the time is known.

    `minute` counts on a scale of six hours (0–360), which is stretched or squeezed to the length asked for.
    `render` is called in order of time, because the sensors count (record numbers, `firedtimes`).
    """

    minute: float
    source: str
    label: str
    render: Render
