"""Answers that were made of fixtures say so, to the last row."""

from __future__ import annotations

from typing import Any

_KEYS = ("id", "agent_type")
"""What a row of an answer is known by."""


def marked(data: Any) -> Any:
    """The answer with `"is_demo": true` in it, in each of a list's rows, and in the rows that those hold."""
    if isinstance(data, dict) and "data_source" in data and "items" in data:
        return data | {"items": [_marked_row(item) for item in data["items"]]}
    return _marked_row(data) if _is_row(data) or (isinstance(data, dict) and "items" in data) else data


def _marked_row(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    inner = {
        name: [_marked_row(item) if _is_row(item) else item for item in value]
        for name, value in data.items()
        if isinstance(value, list)
    }
    return data | inner | {"is_demo": True}


def _is_row(item: Any) -> bool:
    return isinstance(item, dict) and any(name in item for name in _KEYS)
