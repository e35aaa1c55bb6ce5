"""Times on their way from PostgreSQL to Python."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DataError, connection

pytestmark = pytest.mark.django_db


def moment_of(text: str | None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz", [text])
        (found,) = cursor.fetchone()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-27T11:50:12.480001Z", datetime(2026, 11, 27, 11, 50, 12, 480001, UTC)),
        ("2026-11-27T11:50:12+05:30", datetime(2026, 11, 27, 6, 20, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
    ],
)
def test_a_time_is_read_to_the_microsecond_and_in_utc(text, expected):
    found = moment_of(text)
    assert (found, found.utcoffset()) == (expected, expected.utcoffset())


def test_nothing_is_no_time():
    assert moment_of(None) is None


@pytest.mark.parametrize("text", ["infinity", "0044-03-15 12:00:00+00 BC", "12026-01-01T00:00:00Z"])
def test_what_python_cannot_hold_is_refused_as_ever(text):
    with pytest.raises(DataError):
        moment_of(text)


def test_in_a_session_of_another_zone_it_is_what_django_makes_of_it():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL TimeZone = 'Asia/Kolkata'")
    found = moment_of("2026-11-27T11:50:12Z")
    assert found.replace(tzinfo=None) == datetime(2026, 11, 27, 17, 20, 12)  # noqa: DTZ001
