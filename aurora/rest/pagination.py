"""Lists: newest first by their UUIDv7 keys, so the first page costs the same at a thousand rows and at a million."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from aurora.counting import counted_or_estimated
from aurora.errors import Invalid
from aurora.rest.problems import problem
from aurora.rest.schemas import PageQuery

EXACT_UP_TO = 10_000
"""Up to so many rows are counted; beyond, `total` is the planner's estimate and `total_is_exact` false."""


def page_of(rows: QuerySet[Any], query: PageQuery, represent: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The contract's envelope around one page of `rows`. Raises Invalid for a cursor that is none of ours."""
    total, is_exact = counted_or_estimated(rows, exact_up_to=EXACT_UP_TO)
    ordered = rows.order_by("-pk")
    if query.cursor is not None:
        ordered = ordered.filter(pk__lt=_decode(query.cursor))
    found: Sequence[Any] = list(ordered[query.skip : query.skip + query.limit + 1])
    page = found[: query.limit]
    cursor = _encode(page[-1]) if len(found) > query.limit else None
    return envelope([represent(row) for row in page], next_cursor=cursor, total=total, is_exact=is_exact)


def envelope(
    items: list[dict[str, Any]], *, next_cursor: str | None = None, total: int | None = None, is_exact: bool = True
) -> dict[str, Any]:
    """The contract's envelope of a list; without more than `items`, of a list that is so short that it is always sent whole."""
    return {
        "items": items,
        "next_cursor": next_cursor,
        "total": len(items) if total is None else total,
        "total_is_exact": is_exact,
        "data_source": "database",
    }


def _encode(row: Any) -> str:
    return base64.urlsafe_b64encode(row.pk.bytes).rstrip(b"=").decode()


def _decode(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except (ValueError, binascii.Error):
        fault = problem(["query", "cursor"], "Input should be a cursor from `next_cursor`", "cursor_parsing")
        raise Invalid(problems=[fault]) from None
