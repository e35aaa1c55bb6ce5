"""Typed readers of untrusted JSON: whatever a sensor wrote, each returns its own type and never raises."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

MAX_TITLE = 500
MAX_TEXT = 1_000
_MAX_PATH_DEPTH = 8
_MAX_DIGITS = 30
_MAX_NESTED = 1_000_000

# C0 and C1 controls, lone surrogates, and the bidirectional overrides that make a text read as another.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]+")
_CONTROLS_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]+")

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_LATEST_AHEAD = timedelta(days=1)
# Above these an epoch number counts milliseconds, microseconds, nanoseconds: as seconds they lie past the
# year 5138.
_EPOCH_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
# Windows' FILETIME counts tenths of a microsecond since 1601. Its values of 1990 to 2200 would be nanoseconds
# of 1973 to 1975.
_FILETIMES = (1.227e17, 1.9e17)
_FILETIME_UNIT, _FILETIME_LAG = 1e7, 11_644_473_600


def mapping(value: Any) -> dict[str, Any]:
    """`value` when it is an object, the first object when it is a list of them, else an empty one."""
    if type(value) is dict:
        return value
    if type(value) is list and value and type(value[0]) is dict:
        return value[0]
    return {}


def sequence(value: Any) -> list[Any]:
    """`value` as a list: one value becomes a list of one, nothing becomes an empty list."""
    if type(value) is list:
        return value
    return [] if value is None or value == "" else [value]


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in `value`, which may be one object or a list of them."""
    return (item for item in sequence(value) if type(item) is dict)


def parsed(value: Any) -> Any:
    """What JSON written as a text holds (senders nest it so), else `value` itself."""
    if type(value) is not str or value.lstrip()[:1] not in ("{", "[") or len(value) > _MAX_NESTED:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def text(value: Any, limit: int = MAX_TEXT) -> str:
    """`value` as one clean line of at most `limit` characters; of a list its first element; else an empty
    text.
    """
    if type(value) is list:
        value = value[0] if value else None
    if type(value) is str:
        return clean(value, limit)
    if type(value) is int:
        # str() refuses integers of more than 4,300 digits.
        return str(value) if value.bit_length() < 256 else ""
    if type(value) is float and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    return ""


def texts(value: Any, limit: int = MAX_TEXT) -> list[str]:
    """The non-empty texts in `value`, which may be one value or a list."""
    return [item for item in (text(item, limit) for item in sequence(value)) if item]


def lines(value: Any, limit: int = 10_000) -> str:
    """`value` as text that may keep its line breaks."""
    return clean(value, limit, keep_lines=True) if type(value) is str else text(value, limit)


def clean(value: str, limit: int = MAX_TEXT, *, keep_lines: bool = False) -> str:
    """`value` without control characters (PostgreSQL refuses NUL, UTF-8 refuses lone surrogates), cut to
    `limit`.
    """
    value = value[:limit]
    if not value.isprintable():
        value = (_CONTROLS_BUT_LINES if keep_lines else _CONTROLS).sub(" ", value)
    return value.strip()


def number(value: Any) -> float | None:
    """`value` as a finite number, also when it was written as text."""
    if type(value) is list:
        value = value[0] if value else None
    if type(value) is bool or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > _MAX_DIGITS:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def integer(value: Any) -> int | None:
    """`value` as an integer of at most 64 bits (a port, a count, an id), also when it was written as text."""
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else None
    found = number(value)
    return int(found) if found is not None and abs(found) < 2**63 else None


def at(data: Any, path: str) -> Any:
    """The value at dotted `path`, whether the keys are nested, flat (`"host.name"`), or a mixture as Elastic
    writes.

    A list on the way stands for its first object. None when there is no such value.
    """
    return _descend(mapping(data), path, _MAX_PATH_DEPTH)


def first(data: Any, *paths: str) -> Any:
    """The first value among dotted `paths` that is there and not empty."""
    data = mapping(data)
    for path in paths:
        value = _descend(data, path, _MAX_PATH_DEPTH)
        if value is not None and value != "" and value != [] and value != {}:
            return value
    return None


def first_text(data: Any, *paths: str, limit: int = MAX_TEXT) -> str:
    """The first non-empty text among dotted `paths`."""
    data = mapping(data)
    for path in paths:
        found = text(_descend(data, path, _MAX_PATH_DEPTH), limit)
        if found:
            return found
    return ""


def all_texts(data: Any, paths: Iterable[str]) -> list[str]:
    """Every non-empty text under dotted `paths`, lists opened, distinct, in order."""
    data = mapping(data)
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys(texts(_descend(data, path, _MAX_PATH_DEPTH))))
    return list(found)


def moment(value: Any) -> datetime | None:
    """`value` as an aware UTC time, or None when it is none, before 1990, or more than a day ahead.

    Takes ISO 8601 / RFC 3339 with any fraction and offset (`+0000` too; without an offset: UTC), epoch
    numbers in seconds, milliseconds, microseconds or nanoseconds, and Windows' FILETIME, also written as text.
    """
    if type(value) is list:
        value = value[0] if value else None
    found = _written(value) if type(value) is str else None
    if found is None:
        found = _epoch(number(value))
    if found is None or not _EARLIEST <= found <= datetime.now(UTC) + _LATEST_AHEAD:
        return None
    return found


def first_moment(data: Any, *paths: str) -> datetime | None:
    """The first believable time among dotted `paths`."""
    data = mapping(data)
    for path in paths:
        found = moment(_descend(data, path, _MAX_PATH_DEPTH))
        if found is not None:
            return found
    return None


def _descend(data: dict[str, Any], path: str, depth: int) -> Any:
    if path in data:
        return data[path]
    if depth == 0:
        return None
    dot = path.find(".")
    while dot != -1:
        nested = data.get(path[:dot])
        if nested is not None:
            found = _descend(mapping(nested), path[dot + 1 :], depth - 1)
            if found is not None:
                return found
        dot = path.find(".", dot + 1)
    return None


def _written(value: str) -> datetime | None:
    if len(value) > 64 or value.isdigit():
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _epoch(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    if _FILETIMES[0] < seconds < _FILETIMES[1]:
        seconds = seconds / _FILETIME_UNIT - _FILETIME_LAG
    for above, unit in _EPOCH_UNITS:
        if seconds > above:
            seconds /= unit
            break
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
