"""Announcing a change together with it."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection, transaction

from aurora.bus import outbox, streams
from aurora.models import OutboxEvent


def _event() -> outbox.Event:
    return outbox.Event(streams.ALERTS, "alert.created", "alert:1", {"id": "1"})


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_of_a_transaction_is_refused():
    with pytest.raises(RuntimeError):
        outbox.announce(_event())


@pytest.mark.django_db(transaction=True)
def test_an_event_is_undone_with_its_change():
    with transaction.atomic():
        outbox.announce(_event())
        transaction.set_rollback(True)
    assert not OutboxEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_commit_wakes_the_listener():
    parameters = connection.get_connection_params()
    listener = psycopg.connect(
        host=parameters["host"], user=parameters["user"], dbname=parameters["dbname"], autocommit=True
    )
    with listener:
        listener.execute(f"LISTEN {outbox.CHANNEL}")
        with transaction.atomic():
            outbox.announce(_event())
        assert [note.channel for note in listener.notifies(timeout=60, stop_after=1)] == [outbox.CHANNEL]
