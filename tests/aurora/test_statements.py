"""Statements that are planned once a connection and travel together."""

from __future__ import annotations

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from aurora import statements

pytestmark = pytest.mark.django_db

_INSERT = "INSERT INTO auth_group (name) VALUES (%s)"


def _insert(*names: str) -> None:
    for name in names:
        with statements.cursor() as cursor:
            cursor.execute(_INSERT, [name])


def _insert_together(*names: str) -> None:
    with transaction.atomic(), statements.pipeline():
        _insert(*names)


def _groups() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM auth_group WHERE name LIKE 'stmt-%%' ORDER BY id")
        return [name for (name,) in cursor.fetchall()]


def test_a_statement_that_runs_often_is_prepared():
    text = "SELECT %s::int + 41 AS often"
    for _ in range(statements.PREPARED_AFTER + 2):
        with statements.cursor() as cursor:
            assert cursor.execute(text, [1]).fetchone() == (42,)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%+ 41 AS often'")
        assert cursor.fetchone() == (1,)


def test_an_error_is_one_of_django():
    with pytest.raises(DataError), transaction.atomic(), statements.cursor() as cursor:
        cursor.execute("SELECT 1 / %s::int", [0])


def test_statements_of_a_pipeline_run_in_their_order():
    _insert_together("stmt-a", "stmt-b", "stmt-c")
    assert _groups() == ["stmt-a", "stmt-b", "stmt-c"]


def test_a_failure_within_a_pipeline_undoes_its_transaction():
    with pytest.raises(IntegrityError):
        _insert_together("stmt-twice", "stmt-twice")
    assert _groups() == []


def test_a_cursor_takes_part_in_the_transaction_around_it():
    with transaction.atomic():
        _insert("stmt-undone")
        transaction.set_rollback(True)
    assert _groups() == []
