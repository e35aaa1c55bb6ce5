"""What a store that stands in for PostgreSQL holds, as each app declares it: the models and, of a real installation, which rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model, QuerySet

Rows = QuerySet[Any, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One table. A snapshot keeps the newest of `rows`; columns in `blanked` have that value in it instead of their own."""

    model: type[Model]
    rows: Callable[[], Rows]
    newest: int | None = None
    blanked: Mapping[str, Any] = field(default_factory=dict)


_parts: dict[type[Model], Part] = {}


def register(part: Part) -> None:
    """For `AppConfig.ready`. What is not registered is in no stand-in store: while PostgreSQL is away, reading it gets the 503."""
    _parts[part.model] = part


def parts() -> list[Part]:
    return list(_parts.values())


def holds(model: type[Model]) -> bool:
    return model in _parts
