"""Counting rows of big tables."""

from __future__ import annotations

import pytest
from django.db import connection

from aurora.counting import capped, counted_or_estimated
from aurora.models import OutboxEvent

pytestmark = pytest.mark.django_db


def _events(number: int) -> None:
    OutboxEvent.objects.bulk_create(
        OutboxEvent(stream="s", type="even" if at % 2 else "odd", aggregate="a", data="{}") for at in range(number)
    )


def _analyse() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE aurora_outboxevent")


def test_few_rows_are_counted():
    _events(5)
    assert counted_or_estimated(OutboxEvent.objects.all(), exact_up_to=5) == (5, True)


def test_many_rows_are_estimated():
    _events(400)
    _analyse()
    count, is_exact = counted_or_estimated(OutboxEvent.objects.order_by("-pk"), exact_up_to=20)
    assert (300 <= count <= 500, is_exact) == (True, False)


def test_the_estimate_heeds_filters():
    _events(400)
    _analyse()
    count, _ = counted_or_estimated(OutboxEvent.objects.filter(type="odd"), exact_up_to=20)
    assert 150 <= count <= 250


def test_an_estimate_never_falls_below_what_was_counted():
    _events(40)
    _analyse()
    OutboxEvent.objects.update(type="new to the planner")
    found, _ = counted_or_estimated(OutboxEvent.objects.filter(type="new to the planner"), exact_up_to=20)
    assert found == 21


def test_no_table_is_counted_to_its_end(django_assert_num_queries):
    _events(5)
    with django_assert_num_queries(1) as queries:
        assert capped(OutboxEvent.objects.order_by("-pk"), 3) == 4
    assert "LIMIT 4" in queries[0]["sql"]
