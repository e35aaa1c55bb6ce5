"""The body of `POST /alerts`: checked, refused with its list of faults, and both from the bytes on.

Against a serializer of Django REST framework with the same fields and bounds, in turns of two hundred, medians of the processor's time, as `timeit` would
tell it; in turns of twenty each finds the other's code in the processor's cache, and ours costs half as much again. The refused body has two faults, and
what is timed is all that a refusal costs: finding them, and the list that the caller is sent.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from pydantic import ValidationError
from rest_framework import serializers
from rest_framework.parsers import JSONParser

from aurora.errors import Invalid
from aurora.rest.bodies import checked, validated
from aurora.rest.problems import problems_of
from benchmarks.figures import Figure, Target, median
from benchmarks.installation import Installation
from cases.schemas import AlertIn
from cases.states import Severity

TARGETS = (Target(10.0, "at most", "ours", "µs"), Target(10.0, "at most", "ours", "µs"))
_WARM_UP = 20
_BATCH = 200
_TAKEN: dict[str, Any] = {
    "title": "Beaconing to evil-updates.example",
    "severity": "high",
    "source": "edr",
    "description": "A process calls home every sixty seconds. " * 8,
    "iocs": ["203.0.113.77", "evil-updates.example"],
    "mitre_techniques": ["T1071.001", "T1573"],
    "affected_assets": ["ws-0142"],
    "raw_log": "2026-11-26T08:15:00Z ws-0142 svchost.exe 203.0.113.77:443 " * 8,
    "occurred_at": "2026-11-26T08:15:00Z",
}
_REFUSED = _TAKEN | {"severity": "severe", "source": "x" * 65}


class _Alert(serializers.Serializer[Any]):
    """`AlertIn`, as it would be written with DRF."""

    title = serializers.CharField(max_length=500)
    severity = serializers.ChoiceField(choices=Severity.values)
    source = serializers.CharField(max_length=64)  # type: ignore[assignment]
    description = serializers.CharField(max_length=100_000, required=False, allow_blank=True)
    iocs = serializers.ListField(child=serializers.CharField(max_length=2048), max_length=256, required=False)
    mitre_techniques = serializers.ListField(
        child=serializers.RegexField(r"^T[0-9]{4}(\.[0-9]{3})?$"), max_length=64, required=False
    )
    affected_assets = serializers.ListField(child=serializers.CharField(max_length=255), max_length=256, required=False)
    raw_log = serializers.CharField(max_length=1_000_000, required=False, allow_blank=True)
    occurred_at = serializers.DateTimeField(required=False, allow_null=True)


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 20 turns when quick, else 200."""
    taken, refused = orjson.dumps(_TAKEN), orjson.dumps(_REFUSED)
    calls: list[Callable[[], object]] = [
        lambda: checked(AlertIn, _TAKEN),
        lambda: _theirs(_TAKEN),
        lambda: _faults(_REFUSED),
        lambda: _theirs(_REFUSED),
        lambda: validated(AlertIn, taken),
        lambda: _theirs(JSONParser().parse(io.BytesIO(taken), parser_context={"encoding": "utf-8"})),
        lambda: _refusal(refused),
        lambda: _theirs(JSONParser().parse(io.BytesIO(refused), parser_context={"encoding": "utf-8"})),
    ]
    figures = [median(each[_WARM_UP:]) for each in _microseconds(calls, _WARM_UP + (20 if is_quick else 200))]
    return [
        Figure("a body, validated", "µs", figures[0], "DRF", figures[1], TARGETS[0]),
        Figure("a body, refused, and its faults", "µs", figures[2], "DRF", figures[3], TARGETS[1]),
        Figure("a body, from bytes to the model", "µs", figures[4], "DRF", figures[5]),
        Figure("a body, from bytes to the refusal", "µs", figures[6], "DRF", figures[7]),
    ]


def _microseconds(calls: Sequence[Callable[[], object]], turns: int) -> list[list[float]]:
    """Of the processor's time, which is all that these take, for one call of each batch. One call at a time between the others' would cost
    most for fetching its code into the processor again.
    """
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(turns):
        for call, each in zip(calls, took, strict=True):
            began = time.thread_time_ns()
            for _ in range(_BATCH):
                call()
            each.append((time.thread_time_ns() - began) / _BATCH / 1_000)
    return took


def _faults(body: dict[str, Any]) -> object:
    try:
        return checked(AlertIn, body)
    except ValidationError as error:
        return problems_of(error, "body")


def _refusal(body: bytes) -> object:
    try:
        return validated(AlertIn, body)
    except Invalid as error:
        return error.problems


def _theirs(body: dict[str, Any]) -> object:
    serializer = _Alert(data=body)
    return serializer.validated_data if serializer.is_valid() else serializer.errors
