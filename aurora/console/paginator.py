"""Pages of big tables without counting them."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db import connections
from django.db.models import QuerySet
from django.utils.functional import cached_property

EXACT_UP_TO = 5000
"""Rows that are counted; beyond, the planner's estimate is good enough for a page number."""


class EstimatingPaginator(Paginator):  # type: ignore[type-arg]
    """Counts exactly up to `EXACT_UP_TO` rows, which costs the same at a million as at five thousand, and asks the planner beyond.

    The estimate is `EXPLAIN`'s row count (PostgreSQL manual, "Row Estimation Examples"): true to the last ANALYZE, filters included.
    """

    template_name = "admin/aurora/pagination.html"
    object_list: QuerySet[Any, Any]

    @cached_property
    def count(self) -> int:
        counted = self.object_list.order_by()[: EXACT_UP_TO + 1].count()
        return counted if counted <= EXACT_UP_TO else max(counted, self._estimate())

    @property
    def is_exact(self) -> bool:
        return self.count <= EXACT_UP_TO

    @property
    def shown_count(self) -> str:
        return f"{self.count:,}" if self.is_exact else f"about {self.count:,}"

    def _estimate(self) -> int:
        sql, params = self.object_list.order_by().values("pk").query.sql_with_params()
        with connections[self.object_list.db].cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            (plan,) = cursor.fetchone()
        return int(plan[0]["Plan"]["Plan Rows"])
