"""Lists: newest first by their UUIDv7 keys, so the first page costs the same at a thousand rows and at a million."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from aurora.counting import counted_or_estimated
from aurora.errors import Invalid
from aurora.rest.problems import problem
from aurora.rest.schemas import PageQuery
from aurora.standin import source

EXACT_UP_TO = 10_000
"""Up to so many rows are counted; beyond, `total` is the planner's estimate and `total_is_exact` false."""


def page_of(rows: QuerySet[Any], query: PageQuery, represent: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The contract's envelope around one page of `rows`. Raises Invalid for a cursor that is none of ours."""
    ordered = rows.order_by("-pk")
    if query.cursor is not None:
        ordered = ordered.filter(pk__lt=_decode(query.cursor))
    found: Sequence[Any] = list(ordered[query.skip : query.skip + query.limit + 1])
    page = found[: query.limit]
    cursor = _encode(page[-1].pk.bytes) if len(found) > query.limit else None
    total, is_exact = _seen_total(found, query), True
    if total is None:
        total, is_exact = counted_or_estimated(rows, exact_up_to=EXACT_UP_TO)
    return envelope([represent(row) for row in page], next_cursor=cursor, total=total, is_exact=is_exact)


def page_by_name(
    rows: QuerySet[Any], query: PageQuery, represent: Callable[[Any], dict[str, Any]], *, name: str
) -> dict[str, Any]:
    """As `page_of` for the few rows that a unique text orders, the field `name`. Raises Invalid for a cursor that is none of ours."""
    return page_by_name_together(rows, query, lambda page: [represent(row) for row in page], name=name)


def page_by_name_together(
    rows: QuerySet[Any], query: PageQuery, represent: Callable[[Sequence[Any]], list[dict[str, Any]]], *, name: str
) -> dict[str, Any]:
    """`page_by_name` for rows that are told of all at once, because it takes asking somebody."""
    ordered = rows.order_by(name)
    if query.cursor is not None:
        ordered = ordered.filter(**{f"{name}__gt": _decode_text(query.cursor)})
    found = list(ordered[query.skip : query.skip + query.limit + 1])
    page = found[: query.limit]
    cursor = _encode(getattr(page[-1], name).encode()) if len(found) > query.limit else None
    total = _seen_total(found, query)
    return envelope(represent(page), next_cursor=cursor, total=rows.count() if total is None else total)


def envelope(
    items: list[dict[str, Any]], *, next_cursor: str | None, total: int, is_exact: bool = True
) -> dict[str, Any]:
    """The contract's envelope of a list."""
    return {
        "items": items,
        "next_cursor": next_cursor,
        "total": total,
        "total_is_exact": is_exact,
        "data_source": source.current(),
    }


def _seen_total(found: Sequence[Any], query: PageQuery) -> int | None:
    """How many rows there are, when the page shows the last of them and says how many are before it; counting costs as much as reading a page."""
    shows_the_end = query.cursor is None and len(found) <= query.limit and (found or not query.skip)
    return query.skip + len(found) if shows_the_end else None


def _encode(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def _decode(cursor: str) -> UUID:
    try:
        return UUID(bytes=_bytes_of(cursor))
    except ValueError:
        raise _no_cursor() from None


def _decode_text(cursor: str) -> str:
    try:
        text = _bytes_of(cursor).decode()
    except ValueError:
        raise _no_cursor() from None
    if "\0" in text:
        raise _no_cursor()
    return text


def _bytes_of(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor + "==")  # raises binascii.Error, a ValueError


def _no_cursor() -> Invalid:
    return Invalid(
        problems=[problem(["query", "cursor"], "Input should be a cursor from `next_cursor`", "cursor_parsing")]
    )
