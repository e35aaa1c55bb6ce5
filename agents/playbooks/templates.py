"""Parameters with places to fill: `{{ alert.hosts }}`, `{{ results.scan.targets.0 }}`, `Isolated {{ alert.hosts }} of {{ case.reference }}`.

Not a template engine: a path is looked up key by key in plain values, and nothing else happens. What was filled in is never looked at again, so
text of an attacker's that holds braces stays text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aurora.errors import Invalid

ROOTS = frozenset({"alert", "case", "results", "parameters", "severity", "execution"})
"""Where a path may begin."""

_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_PATH = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w -]+)*")
_DEEPEST = 8


def check(value: Any) -> None:
    """Raises Invalid for a place that cannot be looked up, wherever in `value` it stands."""
    for text in _texts(value, 0):
        for path in _PLACE.findall(text):
            if not _PATH.fullmatch(path) or path.partition(".")[0] not in ROOTS:
                raise Invalid(f"`{{{{ {path} }}}}` is no path; it begins with one of {', '.join(sorted(ROOTS))}")


def filled(value: Any, context: Mapping[str, Any]) -> Any:
    """`value` with its places filled. A text that is one place becomes what it names, a list for example. Raises Invalid for what is not there."""
    if isinstance(value, Mapping):
        return {key: filled(item, context) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, context) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value.strip())
    if whole:
        return _found(whole[1], context)
    return _PLACE.sub(lambda place: _as_text(_found(place[1], context)), value)


def _found(path: str, context: Mapping[str, Any]) -> Any:
    value: Any = context
    for key in path.split("."):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and len(key) < 10 and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise Invalid(f"There is no `{path}` to fill in")
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_as_text(item) for item in value)
    return "" if value is None else str(value)


def _texts(value: Any, depth: int) -> list[str]:
    if depth > _DEEPEST:
        raise Invalid("The parameters are nested too deep")
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for item in items for text in _texts(item, depth + 1)]
