"""Console pages in tests: a signed-in browser, and rows to look at."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.utils import timezone

from cases.models import Alert
from tests import factories
from tests.cast import make_user


def signed_in(role: str) -> Client:
    """A browser in which an account of `role` has signed in."""
    client = Client()
    client.force_login(make_user(role))
    return client


def make_alert(**fields: Any) -> Alert:
    """A builder's alert, seen just now: the console shows today."""
    return factories.make_alert(**{"severity": "high", "first_seen": timezone.now()} | fields)


def text_of(response: Any) -> str:
    assert response.status_code == 200, response
    return str(response.content, response.charset)
