"""Lists: newest first by their UUIDv7 keys, so the first page costs the same at a thousand rows and at a million."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Model, QuerySet

from aurora.errors import Invalid
from aurora.rest.problems import problem
from aurora.rest.schemas import PageQuery

EXACT_UP_TO = 10_000
"""Up to so many rows are counted; beyond, `total` is the planner's estimate and `total_is_exact` false."""

Row = TypeVar("Row", bound=Model)


def page_of(rows: QuerySet[Any], query: PageQuery, represent: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The contract's envelope around one page of `rows`. Raises Invalid for a cursor that is none of ours."""
    total, is_exact = _total(rows)
    ordered = rows.order_by("-pk")
    if query.cursor is not None:
        ordered = ordered.filter(pk__lt=_decode(query.cursor))
    found: Sequence[Any] = list(ordered[query.skip : query.skip + query.limit + 1])
    page = found[: query.limit]
    return {
        "items": [represent(row) for row in page],
        "next_cursor": _encode(page[-1]) if len(found) > query.limit else None,
        "total": total,
        "total_is_exact": is_exact,
        "data_source": "database",
    }


def _total(rows: QuerySet[Any]) -> tuple[int, bool]:
    counted = rows.order_by()[: EXACT_UP_TO + 1].count()
    if counted <= EXACT_UP_TO:
        return counted, True
    sql, parameters = rows.order_by().values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        plan = cursor.fetchone()[0]
    return max(counted, int(plan[0]["Plan"]["Plan Rows"])), False


def _encode(row: Any) -> str:
    key = row["id"] if isinstance(row, dict) else row.pk
    return base64.urlsafe_b64encode(key.bytes).rstrip(b"=").decode()


def _decode(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except (ValueError, binascii.Error):
        fault = problem(["query", "cursor"], "Input should be a cursor from `next_cursor`", "cursor_parsing")
        raise Invalid(problems=[fault]) from None
