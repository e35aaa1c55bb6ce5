"""Tokens and API keys."""

from __future__ import annotations

import time
from datetime import timedelta

import jwt
import pytest
from django.conf import settings as live
from django.utils import timezone

from aurora.errors import Denied
from aurora.identity import accounts, credentials
from aurora.models import ApiKey, RefreshToken
from tests.cast import ADMIN, PASSWORD, ApiClient, make_user

pytestmark = pytest.mark.django_db


def _sign_in(client: ApiClient, username: str, password: str = PASSWORD):
    return client.call("POST", "/auth/token", {"username": username, "password": password})


def _bearer(token: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {token}"}


def _forged(**changes) -> str:
    now = int(time.time())
    claims = {"sub": "ana", "role": "admin", "iat": now, "exp": now + 60, "jti": "1"} | changes
    return jwt.encode(claims, live.SECRET_KEY, algorithm="HS256")


def test_signing_in_gives_tokens_that_work():
    user = make_user("analyst")
    answer = _sign_in(ApiClient(), user.username)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["role"]) == ("bearer", "analyst")
    me = ApiClient().call("GET", "/users/me", **_bearer(body["access_token"])).json()
    assert (me["username"], me["role"]) == (user.username, "analyst")
    assert "alerts:write" in me["permissions"]


def test_an_unknown_user_and_a_wrong_password_get_the_same_answer():
    user = make_user("viewer")
    wrong, unknown = _sign_in(ApiClient(), user.username, "wrong"), _sign_in(ApiClient(), "nobody")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


def test_an_expired_token_is_refused():
    make_user("admin", "ana")
    answer = ApiClient().call("GET", "/users/me", **_bearer(_forged(exp=int(time.time()) - 1)))
    assert answer.status_code == 401


def test_a_token_of_another_key_is_refused():
    make_user("admin", "ana")
    token = jwt.encode(
        {"sub": "ana", "role": "admin", "iat": 1, "exp": 9999999999, "jti": "1"}, "x" * 50, algorithm="HS256"
    )
    assert ApiClient().call("GET", "/users/me", **_bearer(token)).status_code == 401


def test_the_role_is_the_accounts_not_the_tokens():
    make_user("viewer", "ana")
    assert ApiClient().call("GET", "/users/me", **_bearer(_forged())).json()["role"] == "viewer"


def test_a_removed_account_is_out_at_once():
    user = make_user("viewer", "ana")
    user.delete()
    assert ApiClient().call("GET", "/users/me", **_bearer(_forged())).status_code == 401


def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_family():
    user = make_user("viewer")
    first = credentials.sign_in(username=user.username, password=PASSWORD)
    second = credentials.refresh(refresh_token=first.refresh_token)
    with pytest.raises(Denied):
        credentials.refresh(refresh_token=first.refresh_token)
    with pytest.raises(Denied):
        credentials.refresh(refresh_token=second.refresh_token)


def test_signing_out_ends_the_refresh_token():
    user = make_user("viewer")
    signed_in = credentials.sign_in(username=user.username, password=PASSWORD)
    assert ApiClient().call("POST", "/auth/logout", {"refresh_token": signed_in.refresh_token}).status_code == 204
    with pytest.raises(Denied):
        credentials.refresh(refresh_token=signed_in.refresh_token)


def test_the_table_of_refresh_tokens_holds_nothing_that_signs_in():
    user = make_user("viewer")
    token = credentials.sign_in(username=user.username, password=PASSWORD).refresh_token
    row = RefreshToken.objects.get()
    assert token not in {str(row.id), row.id.hex, str(row.family)}


def test_an_api_key_is_shown_once_and_stored_hashed():
    row, key = credentials.create_api_key(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    assert key.startswith("aurora_key_")
    stored = ApiKey.objects.get(pk=row.pk)
    assert key not in {stored.key_hash, stored.prefix}
    assert credentials.actor_from_api_key(key).role == "api_service"


@pytest.mark.parametrize("change", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now() - timedelta(1)}])
def test_a_dead_api_key_is_refused(change):
    row, key = credentials.create_api_key(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    ApiKey.objects.filter(pk=row.pk).update(**change)
    with pytest.raises(Denied):
        credentials.actor_from_api_key(key)


def test_the_right_prefix_with_a_wrong_secret_is_refused():
    _, key = credentials.create_api_key(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    with pytest.raises(Denied):
        credentials.actor_from_api_key(key[:-1] + ("a" if key[-1] != "a" else "b"))


def test_a_changed_password_ends_the_refresh_tokens():
    user = make_user("viewer")
    token = credentials.sign_in(username=user.username, password=PASSWORD).refresh_token
    accounts.edit_account(username=user.username, changes={"password": "another-long-9z"}, actor=ADMIN)
    with pytest.raises(Denied):
        credentials.refresh(refresh_token=token)
