"""Every route, every role, every credential: nobody where they don't belong, and nothing that forgot to say who does."""

from __future__ import annotations

import base64
import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import jwt
import orjson
import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from aurora.identity import accounts, api_keys, credentials
from aurora.models import ApiKey
from aurora.rest import limits
from aurora.rest.permissions import PUBLIC, SIGNED_IN, django_permissions_of
from aurora.roles import PERMISSIONS, ROLES
from realtime.messages import CHANNELS
from tests.cast import ADMIN, PASSWORD, ApiClient, make_user
from tests.console_pages import signed_in
from tests.routes import Route, api_routes, view_of

pytestmark = pytest.mark.django_db

ROUTES = api_routes()
PUBLIC_ROUTES = {"POST /api/v1/auth/token", "POST /api/v1/auth/refresh", "POST /api/v1/auth/logout"}
NO_API_VIEWS = {"api/schema", "api/docs"}
"""Public pages below `/api/` that tell nothing of anybody's."""


@pytest.fixture(autouse=True)
def _room_for_all(settings: Any, redis_client: Any) -> Iterator[None]:
    """Limits come after identity and permission; here they are not what is asked about."""
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, (100_000, 60))
    limits._policy.cache_clear()
    yield
    limits._policy.cache_clear()


def _needed(route: Route) -> tuple[str, ...]:
    declared = route.view.permissions[route.method]
    return (declared,) if isinstance(declared, str) else tuple(declared)


def _path(route: Route) -> str:
    """The route with ids of nothing."""
    filled = re.sub(r"<\w+:\w+_id>", str(uuid.uuid4()), route.pattern)
    return "/" + re.sub(r"<\w+:\w+>", "nothing", filled)


def _call(client: Client, route: Route, **headers: Any) -> Any:
    return client.generic(route.method, _path(route), b"{}", content_type="application/json", **headers)


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_call_declares_who_may_make_it(route):
    assert route.method in route.view.permissions
    assert set(_needed(route)) <= PERMISSIONS | {PUBLIC, SIGNED_IN}


def test_only_signing_in_and_out_need_no_credential():
    assert {str(route) for route in ROUTES if PUBLIC in _needed(route)} == PUBLIC_ROUTES


def test_nothing_below_api_is_served_past_the_declared_permissions():
    def patterns(found: list[URLPattern | URLResolver], prefix: str) -> list[tuple[str, Any]]:
        return [
            leaf
            for pattern in found
            for route in [prefix + str(pattern.pattern)]
            for leaf in (
                patterns(pattern.url_patterns, route)
                if isinstance(pattern, URLResolver)
                else [(route, pattern.callback)]
            )
        ]

    others = {
        route
        for route, callback in patterns(get_resolver().url_patterns, "")
        if route.startswith("api/") and view_of(callback) is None
    }
    assert others == NO_API_VIEWS


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_let_in_where_the_table_says_and_refused_by_name_elsewhere(role):
    client = ApiClient(role)
    wrong = []
    for route in ROUTES:
        needed = _needed(route)
        is_allowed = PUBLIC in needed or SIGNED_IN in needed or bool(ROLES[role] & set(needed))
        answer = _call(client, route)
        if PUBLIC in needed:
            continue  # its 401 is about what is in the body
        refusal = {"detail": f"Permission required: {' or '.join(needed)}"}
        is_right = answer.status_code not in (401, 403) if is_allowed else answer.status_code == 403
        if not is_right or answer.status_code >= 500 or (not is_allowed and answer.json() != refusal):
            wrong.append((str(route), answer.status_code, answer.content))
    assert wrong == []


def _signed(claims: dict[str, Any], key: str | None = None) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {jwt.encode(claims, key or settings.SECRET_KEY, algorithm='HS256')}"}


def _claims(user: User) -> dict[str, Any]:
    token = credentials.sign_in(username=user.username, password=PASSWORD).access_token
    claims: dict[str, Any] = jwt.decode(token, settings.SECRET_KEY, algorithms=["HS256"])
    return claims


def _unsigned(claims: dict[str, Any]) -> dict[str, str]:
    parts = [{"alg": "none", "typ": "JWT"}, claims]
    head, body = (base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in parts)
    return {"HTTP_AUTHORIZATION": f"Bearer {head}.{body}."}


def _after(change: Callable[[str], object]) -> dict[str, str]:
    """A good token, and then something happens to its account."""
    user = make_user("admin")
    headers = _signed(_claims(user))
    change(user.username)
    return headers


def _edited(**changes: Any) -> dict[str, str]:
    return _after(lambda name: accounts.edit_account(username=name, changes=changes, actor=ADMIN))


def _key(networks: tuple[str, ...] = (), **changes: Any) -> dict[str, str]:
    row, key = api_keys.create(name="k", role="admin", expires_at=None, actor=ADMIN, networks=networks)
    if changes:
        ApiKey.objects.filter(pk=row.id).update(**changes)
    return {"HTTP_X_API_KEY": key}


def _promoted() -> dict[str, str]:
    """A viewer's claims with another role, under a key that is not ours."""
    return _signed(_claims(make_user("viewer")) | {"role": "admin"}, "not-our-key-" * 6)


BAD_CREDENTIALS: dict[str, Callable[[], dict[str, str]]] = {
    "none": dict,
    "garbage": lambda: {"HTTP_AUTHORIZATION": "Bearer a.b.c"},
    "basic": lambda: {"HTTP_AUTHORIZATION": "Basic cm9vdDpyb290"},
    "expired": lambda: _signed(_claims(make_user("admin")) | {"exp": int(time.time()) - 1}),
    "of another key": lambda: _signed(_claims(make_user("admin")), "not-our-key-" * 6),
    "of another key, with another role": _promoted,
    "alg none": lambda: _unsigned(_claims(make_user("admin"))),
    "without an end": lambda: _signed({k: v for k, v in _claims(make_user("admin")).items() if k != "exp"}),
    "of nobody": lambda: _signed(_claims(make_user("admin")) | {"sub": "nobody-at-all"}),
    "of an account switched off": lambda: _edited(is_active=False),
    "of an earlier password": lambda: _edited(password="another-horse-battery"),
    "of an account removed": lambda: _after(lambda name: accounts.delete_account(username=name, actor=ADMIN)),
    "of an account without a role": lambda: _after(lambda name: User.objects.get(username=name).groups.clear()),
    "unknown key": lambda: {"HTTP_X_API_KEY": "aurora_key_" + "x" * 54},
    "revoked key": lambda: _key(revoked_at=timezone.now()),
    "expired key": lambda: _key(expires_at=timezone.now() - timedelta(seconds=1)),
    "a key beside a token": lambda: _key(expires_at=None) | _signed(_claims(make_user("admin"))),
    "key of another place": lambda: _key(networks=("192.0.2.0/24",)),
}


@pytest.mark.parametrize("kind", BAD_CREDENTIALS)
def test_a_credential_that_is_none_opens_no_route(kind):
    make_user("admin")  # so that none of the others is the last
    headers, client = BAD_CREDENTIALS[kind](), Client()
    wrong = []
    for route in ROUTES:
        if PUBLIC in _needed(route):
            continue
        answer = _call(client, route, **headers)
        if (
            answer.status_code != 401
            or answer.headers.get("WWW-Authenticate") != "Bearer"
            or set(answer.json()) != {"detail"}
        ):
            wrong.append((str(route), answer.status_code, answer.content))
    assert wrong == []


def test_a_bad_credential_is_not_made_good_by_a_session():
    client = signed_in("admin")
    wrong = [
        str(route)
        for route in ROUTES
        if PUBLIC not in _needed(route) and _call(client, route, HTTP_X_API_KEY="aurora_key_none").status_code != 401
    ]
    assert wrong == []


def test_a_session_changes_nothing_without_its_csrf_token():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("admin"))
    wrong = [
        (str(route), answer.status_code)
        for route in ROUTES
        if PUBLIC not in _needed(route) and route.method != "GET"
        for answer in [_call(client, route)]
        if answer.status_code != 403 or "CSRF" not in answer.json()["detail"]
    ]
    assert wrong == []


@pytest.mark.parametrize("role", ["admin", "analyst", "operator", "viewer"])
def test_the_console_shows_each_role_the_lists_that_the_table_says(role):
    client = signed_in(role)
    granted = django_permissions_of(role)
    wrong = []
    for model in admin.site._registry:
        label, name = model._meta.app_label, model._meta.model_name
        status = client.get(f"/admin/{label}/{name}/").status_code
        if status != (200 if f"{label}.view_{name}" in granted else 403):
            wrong.append((f"{label}.{name}", status))
    assert wrong == []


def test_programs_have_no_business_in_the_console():
    client = signed_in("api_service")
    User.objects.filter(groups__name="api_service").update(is_staff=False)
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_is_opened_and_filled_by_permissions_of_the_table(name):
    channel = CHANNELS[name]
    assert {channel.permission, *channel.types.values()} - {""} <= PERMISSIONS
