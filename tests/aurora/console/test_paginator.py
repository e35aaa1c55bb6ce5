from __future__ import annotations

import pytest
from django.db import connection

from aurora.console import paginator
from aurora.models import OutboxEvent

pytestmark = pytest.mark.django_db


def _events(number: int) -> None:
    OutboxEvent.objects.bulk_create(
        OutboxEvent(stream="s", type="seen", aggregate="a", data="{}") for _ in range(number)
    )


def _pages() -> paginator.EstimatingPaginator:
    return paginator.EstimatingPaginator(OutboxEvent.objects.order_by("-pk"), 10)


def test_a_small_table_is_counted():
    _events(25)
    assert (_pages().count, _pages().num_pages, _pages().shown_count) == (25, 3, "25")


def test_a_large_table_is_estimated(monkeypatch):
    monkeypatch.setattr(paginator, "EXACT_UP_TO", 20)
    _events(400)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE aurora_outboxevent")
    assert 300 <= _pages().count <= 500
    assert _pages().shown_count.startswith("about ")


def test_no_table_is_counted_to_its_end(django_assert_num_queries):
    _events(5)
    with django_assert_num_queries(1) as queries:
        assert _pages().count == 5
    assert f"LIMIT {paginator.EXACT_UP_TO + 1}" in queries[0]["sql"]
