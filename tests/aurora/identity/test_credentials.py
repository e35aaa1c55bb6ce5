"""Tokens and API keys."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import patch

import jwt
import pytest
import structlog
import time_machine
from django.conf import settings as live
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.db import connection
from django.test.client import MULTIPART_CONTENT
from django.utils import timezone

from aurora.errors import Denied
from aurora.identity import accounts, api_keys, credentials
from aurora.models import ApiKey, RefreshToken
from tests.cast import ADMIN, PASSWORD, ApiClient, make_user
from tests.waiting import until

pytestmark = pytest.mark.django_db


def _sign_in(client: ApiClient, username: str, password: str = PASSWORD):
    return client.call("POST", "/auth/token", {"username": username, "password": password})


def _bearer(token: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {token}"}


def _token(username: str, **changes) -> str:
    """An access token as the account got it, or with other claims under a right signature."""
    token = credentials.sign_in(username=username, password=PASSWORD).access_token
    claims = jwt.decode(token, live.SECRET_KEY, algorithms=["HS256"])
    return jwt.encode(claims | changes, live.SECRET_KEY, algorithm="HS256")


def _me(token: str):
    return ApiClient().call("GET", "/users/me", **_bearer(token))


def test_signing_in_gives_tokens_that_work():
    user = make_user("analyst")
    answer = _sign_in(ApiClient(), user.username)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["role"]) == ("bearer", "analyst")
    me = ApiClient().call("GET", "/users/me", **_bearer(body["access_token"])).json()
    assert (me["username"], me["role"]) == (user.username, "analyst")
    assert "alerts:write" in me["permissions"]


def test_an_account_tells_when_it_last_signed_in():
    user = make_user("analyst")
    credentials.sign_in(username=user.username, password=PASSWORD)
    user.refresh_from_db()
    assert user.last_login is not None


def test_an_unknown_user_and_a_wrong_password_get_the_same_answer():
    user = make_user("viewer")
    wrong, unknown = _sign_in(ApiClient(), user.username, "wrong"), _sign_in(ApiClient(), "nobody")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


@pytest.mark.parametrize("place", ["/api/v1/auth/token", "/admin/login/"])
@pytest.mark.parametrize(("name", "told"), [("nina", "nina"), ("not-an-account", None)])
def test_a_refused_sign_in_is_a_line_in_the_log_that_names_accounts_only(place, name, told):
    make_user("viewer", "nina")
    given = {"username": name, "password": "wrong-password-1"}
    with structlog.testing.capture_logs() as lines:
        ApiClient().post(place, given, content_type="application/json" if "api" in place else MULTIPART_CONTENT)
    (line,) = (line for line in lines if line["event"] == "sign_in_refused")
    assert line["account"] == told
    assert "wrong-password-1" not in str(lines)


@pytest.mark.parametrize("who", ["nobody", "switched-off", "roleless", "known"])
def test_a_refused_sign_in_hashes_one_password_whoever_it_names(who):
    User.objects.filter(pk=make_user("viewer", "switched-off").pk).update(is_active=False)
    make_user("viewer", "roleless").groups.clear()
    make_user("viewer", "known")
    with patch.object(MD5PasswordHasher, "encode", autospec=True, side_effect=MD5PasswordHasher.encode) as encode:
        assert _sign_in(ApiClient(), who, "wrong").status_code == 401
    assert encode.call_count == 1


def test_an_expired_token_is_refused():
    make_user("admin", "ana")
    assert _me(_token("ana", exp=int(time.time()) - 1)).status_code == 401


def test_a_token_that_was_good_a_moment_ago_is_refused_once_it_has_expired():
    make_user("admin", "ana")
    token = _token("ana", exp=int(time.time()) + 60)
    assert _me(token).status_code == 200
    with time_machine.travel(time.time() + 61):
        assert _me(token).status_code == 401


def test_a_token_of_another_key_is_refused():
    make_user("admin", "ana")
    claims = jwt.decode(_token("ana"), options={"verify_signature": False})
    assert _me(jwt.encode(claims, "x" * 50, algorithm="HS256")).status_code == 401


def test_the_role_is_the_accounts_not_the_tokens():
    make_user("viewer", "ana")
    assert _me(_token("ana", role="admin")).json()["role"] == "viewer"


def test_a_change_of_role_counts_for_tokens_that_are_out():
    make_user("analyst", "ana")
    token = _token("ana")
    accounts.edit_account(username="ana", changes={"role": "viewer"}, actor=ADMIN)
    assert _me(token).json()["role"] == "viewer"


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another-long-9z"}])
def test_a_token_ends_with_its_account_and_with_its_password(change):
    make_user("viewer", "ana")
    token = _token("ana")
    assert _me(token).status_code == 200
    accounts.edit_account(username="ana", changes=change, actor=ADMIN)
    assert _me(token).status_code == 401


def test_a_token_of_a_removed_account_opens_no_later_one_of_its_name():
    make_user("viewer", "ana")
    token = _token("ana")
    accounts.delete_account(username="ana", actor=ADMIN)
    assert _me(token).status_code == 401
    make_user("viewer", "ana")
    assert _me(token).status_code == 401


def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_family():
    user = make_user("viewer")
    first = credentials.sign_in(username=user.username, password=PASSWORD)
    second = credentials.refresh(refresh_token=first.refresh_token)
    with pytest.raises(Denied):
        credentials.refresh(refresh_token=first.refresh_token)
    with pytest.raises(Denied):
        credentials.refresh(refresh_token=second.refresh_token)
    assert [_me(signed_in.access_token).status_code for signed_in in (first, second)] == [401, 401]


def test_signing_out_ends_all_tokens_of_that_sign_in_and_of_no_other():
    user = make_user("viewer")
    here, there = (credentials.sign_in(username=user.username, password=PASSWORD) for _ in range(2))
    later = credentials.refresh(refresh_token=here.refresh_token)
    assert ApiClient().call("POST", "/auth/logout", {"refresh_token": later.refresh_token}).status_code == 204
    assert [_me(signed_in.access_token).status_code for signed_in in (here, later, there)] == [401, 401, 200]
    with pytest.raises(Denied):
        credentials.refresh(refresh_token=later.refresh_token)


@pytest.mark.parametrize("jti", ["", "1", "a.b", "a.b.c", "a.b.c.d", 7])
def test_a_token_of_ours_with_another_jti_is_refused(jti):
    make_user("admin", "ana")
    assert _me(_token("ana", jti=jti)).status_code == 401


@pytest.mark.parametrize(
    "claims", [{"sub": "a\0"}, {"sub": "\ud800"}, {"exp": 10**400}, {"exp": 10**30}, {"sub": ["ana"]}]
)
def test_a_token_of_ours_that_says_what_nothing_can_hold_is_refused(claims):
    make_user("admin", "ana")
    assert _me(_token("ana", **claims)).status_code == 401


def test_the_table_of_refresh_tokens_holds_nothing_that_signs_in():
    user = make_user("viewer")
    token = credentials.sign_in(username=user.username, password=PASSWORD).refresh_token
    row = RefreshToken.objects.get()
    assert token not in {str(row.id), row.id.hex, str(row.family)}


def test_an_api_key_is_shown_once_and_stored_hashed():
    row, key = api_keys.create(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    assert key.startswith("aurora_key_")
    stored = ApiKey.objects.get(pk=row.pk)
    assert key not in {stored.key_hash, stored.prefix}
    assert api_keys.actor_of(key).role == "api_service"


def test_an_api_key_that_would_be_dead_at_birth_is_refused():
    body = {"name": "sensor", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z"}
    answer = ApiClient("admin").call("POST", "/auth/api-keys", body)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", "expires_at"])


@pytest.mark.parametrize("change", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now() - timedelta(1)}])
def test_a_dead_api_key_is_refused(change):
    row, key = api_keys.create(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    ApiKey.objects.filter(pk=row.pk).update(**change)
    with pytest.raises(Denied):
        api_keys.actor_of(key)


def test_the_right_prefix_with_a_wrong_secret_is_refused():
    _, key = api_keys.create(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    with pytest.raises(Denied):
        api_keys.actor_of(key[:-1] + ("a" if key[-1] != "a" else "b"))


def test_a_password_changed_on_the_command_line_ends_the_refresh_tokens_as_well():
    user = make_user("analyst")
    token = credentials.sign_in(username=user.username, password=PASSWORD).refresh_token
    # The command asks a terminal for the password, and saves it thus.
    user.set_password("another-horse-battery")
    user.save()
    assert ApiClient().call("POST", "/auth/refresh", {"refresh_token": token}).status_code == 401


def test_a_changed_password_ends_the_refresh_tokens():
    user = make_user("viewer")
    token = credentials.sign_in(username=user.username, password=PASSWORD).refresh_token
    accounts.edit_account(username=user.username, changes={"password": "another-long-9z"}, actor=ADMIN)
    with pytest.raises(Denied):
        credentials.refresh(refresh_token=token)


class HoldingValidator:
    """A password validator that takes its time: `edit_account` waits in it while it holds the account."""

    reached, may_go_on = threading.Event(), threading.Event()

    def validate(self, password, user=None):
        self.reached.set()
        assert self.may_go_on.wait(20)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", [credentials.refresh, credentials.sign_out])
def test_a_token_used_while_its_password_changes_waits_for_it_without_a_deadlock(end, settings):
    user = make_user("viewer")
    token = credentials.sign_in(username=user.username, password=PASSWORD).refresh_token
    HoldingValidator.reached.clear()
    HoldingValidator.may_go_on.clear()
    settings.AUTH_PASSWORD_VALIDATORS = [{"NAME": f"{__name__}.HoldingValidator"}]
    with ThreadPoolExecutor(2) as pool:
        try:
            changes = {"password": "another-long-9z"}
            edited = pool.submit(_closing, accounts.edit_account, username=user.username, changes=changes, actor=ADMIN)
            assert HoldingValidator.reached.wait(20)
            ended = pool.submit(_closing, end, refresh_token=token)
            until(_somebody_waits_for_a_lock)
        finally:
            HoldingValidator.may_go_on.set()
        assert edited.exception() is None
        assert isinstance(ended.exception(), Denied) == (end is credentials.refresh)
    assert not RefreshToken.objects.filter(revoked_at=None).exists()


def _closing(verb, **arguments):
    try:
        return verb(**arguments)
    finally:
        connection.close()


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])
