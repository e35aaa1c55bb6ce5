"""Console pages in tests: a signed-in browser, and rows to look at."""

from __future__ import annotations

import itertools
from typing import Any

from django.test import Client

from cases.models import Alert
from tests.cast import make_user

_numbers = itertools.count(1)


def signed_in(role: str) -> Client:
    """A browser in which an account of `role` has signed in."""
    client = Client()
    client.force_login(make_user(role))
    return client


def make_alert(**fields: Any) -> Alert:
    """A stored alert, valid by default."""
    number = next(_numbers)
    defaults = {"title": f"Beacon {number}", "severity": "high", "source": "suricata", "dedup_hash": f"{number:064}"}
    return Alert.objects.create(**{**defaults, **fields})


def text_of(response: Any) -> str:
    assert response.status_code == 200, response
    return str(response.content, response.charset)
