"""The cast of the tests: accounts by role, and clients signed in as them."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
from django.contrib.auth.models import Group, User
from django.test import Client

from aurora.actors import Actor
from aurora.identity import api_keys
from tests.promises import assert_kept

PASSWORD = "correct-horse-battery"

ADMIN = Actor(name="root", role="admin")
ANALYST = Actor(name="ana", role="analyst")
OPERATOR = Actor(name="olga", role="operator")
VIEWER = Actor(name="vic", role="viewer")
SENSOR = Actor(name="key:sensor", role="api_service")

_numbers = itertools.count(1)


def make_user(role: str, username: str | None = None, password: str = PASSWORD) -> User:
    """An account of a role. Hashing is quick in tests (tests/conftest.py)."""
    user = User.objects.create_user(username=username or f"{role}-{next(_numbers)}", password=password, is_staff=True)
    user.groups.set([Group.objects.get_or_create(name=role)[0]])
    return user


class ApiClient(Client):
    """Django's test client for `/api/v1`, JSON in and out, with an API key of a role."""

    def __init__(self, role: str | None = None, **defaults: Any) -> None:
        super().__init__(raise_request_exception=False, **defaults)
        if role:
            _, key = api_keys.create(name=f"{role}-{next(_numbers)}", role=role, expires_at=None, actor=ADMIN)
            self.defaults["HTTP_X_API_KEY"] = key

    def call(self, method: str, path: str, body: Any = None, **extra: Any) -> Any:
        """The response to `method` on `/api/v1{path}`; `body` is sent as JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else orjson.dumps(body) if body is not None else b""
        content_type = extra.pop("content_type", "application/json")
        answer = self.generic(method, f"/api/v1{path}", data, content_type=content_type, **extra)
        assert_kept(method, f"/api/v1{path}", answer)
        return answer
