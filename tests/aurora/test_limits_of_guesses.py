"""Wrong tokens and keys are counted by address, as wrong passwords are; who has a good one never meets that quota."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from django.utils import timezone

from aurora.identity import api_keys, credentials
from aurora.models import ApiKey
from aurora.rest import limits
from tests.cast import ADMIN, PASSWORD, ApiClient, make_user

pytestmark = pytest.mark.django_db

WRONG_KEY: dict[str, Any] = {"HTTP_X_API_KEY": "aurora_key_" + "x" * 54}
GARBAGE: dict[str, Any] = {"HTTP_AUTHORIZATION": "Bearer a.b.c"}
QUOTA = 3


@pytest.fixture(autouse=True)
def _few_guesses(settings, redis_client, monkeypatch):
    monkeypatch.setattr(limits, "_limiter", None)  # it remembers whom it refused
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"credentials": (QUOTA, 60)}
    limits._policy.cache_clear()
    yield
    limits._policy.cache_clear()


def _asked(times: int = 1, address: str = "203.0.113.9", **headers: Any) -> list[int]:
    client = ApiClient(REMOTE_ADDR=address)
    return [client.call("GET", "/users/me", **headers).status_code for _ in range(times)]


def _signed_in() -> str:
    user = make_user("analyst")
    return credentials.sign_in(username=user.username, password=PASSWORD).access_token


def _bearer(token: str) -> dict[str, Any]:
    return {"HTTP_AUTHORIZATION": f"Bearer {token}"}


def _expired(settings: Any) -> dict[str, Any]:
    claims = jwt.decode(_signed_in(), settings.SECRET_KEY, algorithms=["HS256"])
    return _bearer(jwt.encode(claims | {"exp": int(time.time()) - 1}, settings.SECRET_KEY, algorithm="HS256"))


@pytest.mark.parametrize("guess", [WRONG_KEY, GARBAGE], ids=["key", "token"])
def test_beyond_its_quota_of_wrong_credentials_an_address_is_told_to_wait(guess):
    assert _asked(QUOTA + 2, **guess) == [401] * QUOTA + [429, 429]
    answer = ApiClient(REMOTE_ADDR="203.0.113.9").call("GET", "/users/me", **guess)
    wait = answer.headers["Retry-After"]
    assert answer.json() == {"detail": f"Rate limit exceeded. Try again in {wait} seconds."}
    assert answer.headers["RateLimit-Policy"] == f'"credentials";q={QUOTA};w=60'
    assert answer.headers["RateLimit"] == f'"credentials";r=0;t={wait}'


def test_tokens_and_keys_are_guessed_at_from_one_quota():
    assert _asked(QUOTA, **WRONG_KEY) + _asked(1, **GARBAGE) == [401] * QUOTA + [429]


def test_intake_is_no_way_around():
    client = ApiClient(REMOTE_ADDR="203.0.113.9")
    answers = [client.call("POST", "/ingest/generic", {"title": "t"}, **WRONG_KEY) for _ in range(QUOTA + 1)]
    assert [answer.status_code for answer in answers] == [401] * QUOTA + [503], "senders drop on a 429"
    assert answers[-1].headers["Retry-After"]


def test_a_good_credential_from_the_same_address_is_let_in(settings):
    _, key = api_keys.create(name="edge", role="viewer", expires_at=None, actor=ADMIN)
    token = _signed_in()
    assert _asked(QUOTA + 2, **WRONG_KEY)[-1] == 429
    assert _asked(HTTP_X_API_KEY=key) == _asked(**_bearer(token)) == [200]


def test_a_good_credential_is_never_counted():
    assert _asked(QUOTA + 2, **_bearer(_signed_in())) == [200] * (QUOTA + 2)


def test_a_good_credential_asks_the_quota_of_guesses_nothing(monkeypatch):
    asked: list[Any] = []
    spend = limits.spend

    def noting(request: Any, names: Any, caller: object) -> Any:
        asked.append(names)
        return spend(request, names, caller)

    monkeypatch.setattr(limits, "spend", noting)
    _asked(**_bearer(_signed_in()))
    assert asked == [("general",)]


def test_a_token_that_has_merely_expired_is_neither_counted_nor_refused_for_others_guesses(settings):
    expired = _expired(settings)
    assert _asked(QUOTA + 2, **expired) == [401] * (QUOTA + 2)
    assert _asked(QUOTA + 1, **WRONG_KEY) == [401] * QUOTA + [429]
    assert _asked(**expired) == [401]


def test_a_token_whose_sign_in_has_ended_is_no_guess():
    user = make_user("analyst")
    signed_in = credentials.sign_in(username=user.username, password=PASSWORD)
    credentials.sign_out(refresh_token=signed_in.refresh_token)
    assert _asked(QUOTA + 2, **_bearer(signed_in.access_token)) == [401] * (QUOTA + 2)


def test_who_sends_no_credential_is_not_counted():
    assert _asked(QUOTA + 2) == [401] * (QUOTA + 2)
    assert _asked(**WRONG_KEY) == [401]


@pytest.mark.parametrize("networks", [[], ["192.0.2.0/24"]], ids=["revoked", "of another place"])
def test_whoever_found_a_key_does_not_learn_from_the_count_that_it_is_one(networks):
    row, key = api_keys.create(name="k", role="viewer", expires_at=None, actor=ADMIN, networks=networks)
    if not networks:
        ApiKey.objects.filter(pk=row.pk).update(revoked_at=timezone.now())
    assert _asked(QUOTA + 1, HTTP_X_API_KEY=key) == [401] * QUOTA + [429]


def test_an_ipv6_address_counts_with_its_network_and_no_other():
    hosts = [f"2001:db8:0:1::{host}" for host in range(1, QUOTA + 2)]
    assert [_asked(address=host, **WRONG_KEY) for host in hosts] == [[401]] * QUOTA + [[429]]
    assert _asked(address="2001:db8:0:2::1", **WRONG_KEY) == [401]


def test_behind_a_trusted_proxy_each_caller_has_a_quota_of_its_own(settings):
    settings.TRUSTED_PROXIES = ["10.0.0.1"]
    one, other = ({"HTTP_X_FORWARDED_FOR": address} | WRONG_KEY for address in ("198.51.100.1", "198.51.100.2"))
    assert _asked(QUOTA + 1, "10.0.0.1", **one)[-1] == 429
    assert _asked(1, "10.0.0.1", **other) == [401]


def test_nobody_gets_around_it_by_naming_another_address():
    answers = [_asked(HTTP_X_FORWARDED_FOR=f"198.51.100.{host}", **WRONG_KEY) for host in range(QUOTA + 1)]
    assert answers[-1] == [429]


def test_without_redis_each_process_counts_guesses_by_itself(monkeypatch, settings):
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    monkeypatch.setattr(limits, "_limiter", None)
    assert _asked(QUOTA + 1, **GARBAGE) == [401] * QUOTA + [429]
