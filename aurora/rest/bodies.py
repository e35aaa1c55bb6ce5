"""What callers send, from bytes to a model, with the errors a caller can act on: pydantic's, as FastAPI would tell them."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from aurora.errors import Invalid
from aurora.rest.problems import problem, problems_of

Model = TypeVar("Model", bound=BaseModel)

_LISTED_UNKNOWN_FIELDS = 100
_OF_NUMBERS = ("int_", "less_", "greater_")
_HUGE = re.compile(rb"[0-9]{19}")
"""Whole numbers that may be beyond 64 bits, which orjson reads as floats. Faults of numbers may then be of how they were read."""


def validated(model: type[Model], body: bytes) -> Model:
    """A JSON body as `model`. Raises Invalid with a fault for each field, or with the position at which it is no JSON."""
    try:
        return checked(model, decode_json(body))
    except ValidationError as error:
        faults = problems_of(error, "body")
    if not any(fault["type"].startswith(_OF_NUMBERS) for fault in faults) or not _HUGE.search(body):
        raise Invalid(problems=faults)
    # Once more with the numbers as they were written: "less than 256" rather than "a fractional part".
    try:
        return checked(model, _decode_exactly(body, 0))
    except ValidationError as error:
        raise Invalid(problems=problems_of(error, "body")) from None


def checked(model: type[Model], data: object) -> Model:
    """`data` as `model`. Raises pydantic's ValidationError, in the words for values that come from elsewhere: they name no class of ours."""
    found: Model = model.__pydantic_validator__.validate_python(
        _without_most_unknown(model, data), from_attributes=True
    )
    return found


def decode_json(body: bytes) -> Any:
    """The JSON value of a body. Raises Invalid for an empty one (`missing`) and a malformed one (`json_invalid`, with the fault's position)."""
    if not body:
        raise Invalid(problems=[problem(["body"], "Field required", "missing")])
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as fast:
        return _decode_exactly(body, fast.pos)


def _decode_exactly(body: bytes, found: int) -> Any:
    """As the standard library reads it, whose positions FastAPI reports.

    It also takes what orjson does not: UTF-16, a byte order mark, halves of surrogate pairs, which pydantic then refuses by the field's name.
    `found` is where orjson saw a fault that the standard library lets pass: NaN and Infinity are no JSON (RFC 8259, 6).
    """
    try:
        return json.loads(body, parse_constant=_refuse)
    except json.JSONDecodeError as slow:
        position = slow.pos
    except UnicodeDecodeError as undecodable:
        position = undecodable.start
    except (RecursionError, ValueError):  # nested too deep, too many digits, no number
        position = found
    raise Invalid(problems=[problem(["body", position], "JSON decode error", "json_invalid")])


def _refuse(_name: str) -> None:
    raise ValueError


def _without_most_unknown(model: type[BaseModel], data: object) -> object:
    """`data` with so many unknown fields that the answer still names some: a fault for each of a million makes it a hundred times the body."""
    if not isinstance(data, dict) or len(data) <= _LISTED_UNKNOWN_FIELDS:
        return data
    unknown = [name for name in data if name not in model.model_fields]
    dropped = set(unknown[_LISTED_UNKNOWN_FIELDS:])
    return {name: value for name, value in data.items() if name not in dropped}
