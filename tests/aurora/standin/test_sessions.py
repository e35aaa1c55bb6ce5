"""The claims of a console's session, minted while PostgreSQL is there."""

from __future__ import annotations

import pytest
from django.test import Client

from aurora.standin.sessions import COOKIE
from tests.cast import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def console() -> Client:
    client = Client()
    client.force_login(make_user("analyst"))
    client.get("/admin/")
    assert COOKIE in client.cookies
    return client


def test_a_page_calls_the_api_and_keeps_its_claims(console):
    given = console.cookies[COOKIE].value
    assert console.get("/api/v1/alerts").status_code == 200
    assert console.cookies[COOKIE].value == given


def test_claims_are_for_the_server_alone(console):
    assert console.cookies[COOKIE]["httponly"]
    assert console.cookies[COOKIE]["samesite"] == "Lax"


def test_claims_end_with_the_session(console):
    console.post("/admin/logout/")
    console.get("/admin/")
    assert not console.cookies[COOKIE].value
