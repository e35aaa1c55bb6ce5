"""Text from outside, made fit for PostgreSQL, Redis and UTF-8, none of which holds all that a Python string can; and stored words as people read them."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_LARGEST = 2**63 - 1
_DEEPEST = 12
_AS_WRITTEN = {
    "api": "API",
    "apikey": "API key",
    "cps": "CPS",
    "ioc": "IOC",
    "iot": "IoT",
    "ip": "IP",
    "ot": "OT",
    "url": "URL",
}


def storable(text: str, limit: int | None = None) -> str:
    """At most `limit` characters of `text`, with NUL and lone surrogates made visible: as U+FFFD and `?`."""
    return text[:limit].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def words(value: str) -> str:
    """A stored word as people read it: `false_positive` → `False positive`, `iot_sensor` → `IoT sensor`."""
    parts = value.replace("_", " ").replace("-", " ").lower().split()
    if not parts:
        return ""
    text = " ".join(_AS_WRITTEN.get(part, part) for part in parts)
    return text if parts[0] in _AS_WRITTEN else text[:1].upper() + text[1:]


def require_storable(value: Any, depth: int = 0) -> Any:
    """`value`, if PostgreSQL can hold it as jsonb and JSON can carry it out again. Raises ValueError for the first part that it cannot.

    NUL, halves of surrogate pairs, what is not finite, whole numbers beyond 64 bits (jsonb writes a float of `1e30` out as one), other
    kinds of values than JSON's and days, and what is nested deeper than anybody reads.
    """
    if isinstance(value, dict | list):
        if depth >= _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST}")
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            require_storable(item, depth + 1)
    elif fault := _fault(value):
        raise ValueError(fault)
    return value


def _fault(value: Any) -> str:
    if isinstance(value, str):
        return "NUL characters and halves of surrogate pairs are not allowed" if _UNSTORABLE.search(value) else ""
    if isinstance(value, int | float):  # what is no number is not less than anything either
        return "" if abs(value) <= _LARGEST else "numbers must be finite and within 64 bits"
    return "" if isinstance(value, date | None) else f"a {type(value).__name__} is none of JSON's values"
