"""How many rows there are, at a price that does not grow with them."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.models import QuerySet


def capped(rows: QuerySet[Any, Any], up_to: int) -> int:
    """How many rows, but never looking at more than `up_to` + 1 of them."""
    return rows.order_by()[: up_to + 1].count()


def counted_or_estimated(rows: QuerySet[Any, Any], *, exact_up_to: int) -> tuple[int, bool]:
    """How many rows, and whether that is exact: beyond `exact_up_to` the planner's estimate is good enough.

    The estimate is `EXPLAIN`'s row count (PostgreSQL manual, "Row Estimation Examples"): true to the last ANALYZE, filters included.
    """
    counted = capped(rows, exact_up_to)
    return (counted, True) if counted <= exact_up_to else (max(counted, _planned(rows)), False)


def _planned(rows: QuerySet[Any, Any]) -> int:
    if connections[rows.db].vendor != "postgresql":
        return rows.order_by().count()
    sql, parameters = rows.order_by().values("pk").query.sql_with_params()
    with connections[rows.db].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        (plan,) = cursor.fetchone()
    return int(plan[0]["Plan"]["Plan Rows"])
