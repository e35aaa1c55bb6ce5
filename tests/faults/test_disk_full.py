"""What callers see while PostgreSQL has no room left: a trigger answers a write as the server itself would."""

from __future__ import annotations

import pytest
from django.db import connection

from aurora.rest.problems import DATABASE_UNAVAILABLE
from tests.cast import ApiClient

pytestmark = pytest.mark.django_db

NO_ROOM = """
    CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$;
    CREATE TRIGGER no_room BEFORE INSERT ON aurora_outboxevent EXECUTE FUNCTION no_room();
"""


def test_what_cannot_be_kept_is_spooled(own_spool):
    analyst = ApiClient("analyst")
    with connection.cursor() as cursor:
        cursor.execute(NO_ROOM)
    answer = analyst.call("POST", "/alerts", {"title": "Beacon", "severity": "low", "source": "probe"})
    assert (answer.status_code, answer.json()["spooled"], own_spool.standing().depth) == (202, 1, 1)
    assert analyst.call("GET", "/alerts").json()["items"] == []


def test_another_change_that_cannot_be_kept_is_refused_for_now():
    """With 503, which callers repeat, and not as a fault of the product."""
    analyst = ApiClient("analyst")
    with connection.cursor() as cursor:
        cursor.execute(NO_ROOM)
    answer = analyst.call("POST", "/cases", {"title": "Beacon", "severity": "low"})
    assert (answer.status_code, answer.json()["detail"], answer["Retry-After"]) == (503, DATABASE_UNAVAILABLE, "5")
