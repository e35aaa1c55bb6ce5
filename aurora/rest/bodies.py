"""Request bodies from bytes to values, with the errors a caller can act on."""

from __future__ import annotations

import json
from typing import Any

import orjson

from aurora.errors import Invalid
from aurora.rest.problems import problem


def decode_json(body: bytes) -> Any:
    """The JSON value of a body; None for an empty one. Raises Invalid (`json_invalid`, with the position of the fault)."""
    if not body.strip():
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as fast:
        raise Invalid(
            problems=[problem(["body", _position(body, fast)], "JSON decode error", "json_invalid")]
        ) from None


def _position(body: bytes, fast: orjson.JSONDecodeError) -> int:
    """Where the standard library, whose positions FastAPI reports, finds the fault; orjson counts bytes and stops elsewhere."""
    try:
        json.loads(body)
    except json.JSONDecodeError as slow:
        return slow.pos
    except (UnicodeDecodeError, RecursionError, ValueError):
        return 0
    return fast.pos
