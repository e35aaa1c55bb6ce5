"""The labelled demo story: one attack from scan to exfiltration, amid a day's noise.

Deterministic: the same seed gives the same events byte for byte, up to `start`. The labels are the truth that
a benchmark holds agents against. Nothing here reads a clock, a file or a database.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random

from aurora.errors import Invalid
from cases.demo.estate import cast
from cases.demo.events import PHASES, DemoEvent, Step
from cases.demo.intrusion import intrusion
from cases.demo.noise import Draft, noise
from cases.demo.sensors import Sensors
from cases.demo.takeover import takeover

__all__ = ["PHASES", "DemoEvent", "endless", "story"]

SCRIPT_MINUTES = 360.0
UNEVEN_MINUTES = 0.08  # less than what lies between two steps whose order matters

# A round of the endless stream: long enough to be mostly noise, and never told faster than in five minutes.
ROUND_EVENTS = 1_500
ROUND_SECONDS = 300.0


def story(*, start: datetime, seed: int = 7, hours: float = 6.0, noise_per_hour: float = 40.0) -> list[DemoEvent]:
    """One round, ordered by time, within `hours` from `start`.

    The script is squeezed or stretched to `hours` and has as many records whatever its length. Raises
    `Invalid` for a naive `start`, and for figures that are not finite, or not positive (noise may be 0).
    """
    begin = _utc(start)
    _require("hours", hours, is_fine=hours > 0)
    _require("noise_per_hour", noise_per_hour, is_fine=noise_per_hour >= 0)
    sensors, pick = Sensors.seeded(seed), _noise_generator(seed)
    drafts = noise(sensors=sensors, pick=pick)
    due: list[tuple[float, str | None, Step | Draft]] = [
        (step.minute / SCRIPT_MINUTES, step.label, step) for step in _script(sensors, seed=seed, round_number=0)
    ]
    due += [(pick.random(), None, next(drafts)) for _ in range(round(hours * noise_per_hour))]
    due.sort(key=lambda entry: entry[0])
    return [_event(begin + timedelta(hours=hours * moment), label, item) for moment, label, item in due]


def endless(*, start: datetime, seed: int, rate: float) -> Iterator[DemoEvent]:
    """Story after story in the middle of noise, `rate` events a second: event n is at `start` + n / `rate`.

    Each round has other hosts, users and outside addresses. Its steps take the places the script gives them,
    so the beacon stays regular; noise fills every other place. Raises `Invalid` as `story` does, at the call.
    """
    begin = _utc(start)
    _require("rate", rate, is_fine=rate > 0)
    return _rounds(begin, seed, rate)


def _rounds(begin: datetime, seed: int, rate: float) -> Iterator[DemoEvent]:
    sensors = Sensors.seeded(seed)
    drafts = noise(sensors=sensors, pick=_noise_generator(seed))
    length = max(ROUND_EVENTS, round(rate * ROUND_SECONDS))
    for round_number in count():
        places = _places(_script(sensors, seed=seed, round_number=round_number), length)
        for place in range(length):
            step = places.get(place)
            at = begin + timedelta(seconds=(round_number * length + place) / rate)
            yield _event(at, step.label if step else None, step or next(drafts))


def _script(sensors: Sensors, *, seed: int, round_number: int) -> list[Step]:
    """The attack's steps of one round in order of time, none of them at a round second."""
    players = cast(seed=seed, round_number=round_number)
    pick = Random(f"attack:{seed}:{round_number}")  # noqa: S311 - a story, not a secret
    steps = [
        *intrusion(cast=players, sensors=sensors, pick=pick),
        *takeover(cast=players, sensors=sensors, pick=pick),
    ]
    uneven = [step._replace(minute=step.minute + pick.uniform(0, UNEVEN_MINUTES)) for step in steps]
    return sorted(uneven, key=lambda step: step.minute)


def _places(steps: list[Step], length: int) -> dict[int, Step]:
    """Each step at the place its minute asks for, or the next one that is free."""
    places: dict[int, Step] = {}
    place = -1
    for step in steps:
        place = max(place + 1, round(step.minute / SCRIPT_MINUTES * length))
        places[place] = step
    return places


def _event(at: datetime, label: str | None, item: Step | Draft) -> DemoEvent:
    return DemoEvent(at=at, source=item.source, record=item.render(at), label=label)


def _noise_generator(seed: int) -> Random:
    return Random(f"noise:{seed}")  # noqa: S311 - a story, not a secret


def _utc(start: datetime) -> datetime:
    if start.tzinfo is None:
        raise Invalid("start must be an aware datetime")
    return start.astimezone(UTC)


def _require(name: str, value: float, *, is_fine: bool) -> None:
    if not (is_fine and math.isfinite(value)):
        raise Invalid(f"{name} must be positive and finite, not {value}")
