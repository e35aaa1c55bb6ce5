"""Pages of big tables without counting them."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

from aurora.counting import counted_or_estimated

EXACT_UP_TO = 5000
"""Rows that are counted; beyond, the planner's estimate is good enough for a page number."""


class EstimatingPaginator(Paginator):  # type: ignore[type-arg]
    """Counts exactly up to `EXACT_UP_TO` rows, which costs the same at a million as at five thousand, and asks the planner beyond."""

    template_name = "admin/aurora/pagination.html"
    object_list: QuerySet[Any, Any]

    @cached_property
    def count(self) -> int:
        return counted_or_estimated(self.object_list, exact_up_to=EXACT_UP_TO)[0]

    @property
    def is_exact(self) -> bool:
        return self.count <= EXACT_UP_TO

    @property
    def shown_count(self) -> str:
        return f"{self.count:,}" if self.is_exact else f"about {self.count:,}"
