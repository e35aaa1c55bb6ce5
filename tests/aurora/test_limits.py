"""Quotas at the API's edge."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import time_machine

from aurora.rest import limits
from tests.cast import PASSWORD, ApiClient, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def quota(settings, redis_client):
    """Sets a quota for the test; policies are cached by name."""

    def put(name: str, requests: int) -> None:
        settings.RATE_LIMITS = settings.RATE_LIMITS | {name: (requests, 60)}
        limits._policy.cache_clear()

    yield put
    limits._policy.cache_clear()


@pytest.fixture
def _within_one_window() -> Iterator[None]:
    """Names are counted in fixed windows, on this machine's clock: none ends in the middle of a test."""
    with time_machine.travel(time.time(), tick=False):
        yield


def test_a_limited_answer_tells_the_standing(quota):
    quota("general", 100)
    answer = ApiClient("viewer").call("GET", "/alerts")
    assert answer.headers["RateLimit-Policy"] == '"general";q=100;w=60'
    assert answer.headers["RateLimit"].startswith('"general";r=99;t=')


def test_over_the_limit_the_sentence_and_the_header_say_the_same(quota):
    quota("general", 2)
    viewer = ApiClient("viewer")
    answers = [viewer.call("GET", "/alerts") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    wait = answers[2].headers["Retry-After"]
    assert answers[2].json() == {"detail": f"Rate limit exceeded. Try again in {wait} seconds."}


def test_another_caller_has_a_quota_of_its_own(quota):
    quota("general", 1)
    ApiClient("viewer").call("GET", "/alerts")
    assert ApiClient("viewer").call("GET", "/alerts").status_code == 200


def test_a_refused_investigation_burns_no_general_quota(quota):
    quota("investigations", 1)
    quota("general", 3)
    analyst = ApiClient("analyst")
    for _ in range(4):
        analyst.call("POST", "/investigations", {})
    assert analyst.call("GET", "/alerts").status_code == 200


@pytest.mark.usefixtures("_within_one_window")
def test_guesses_under_one_name_are_limited_wherever_they_come_from(quota):
    quota("login", 1)
    body = {"username": "Somebody", "password": "guess"}
    answers = [ApiClient().call("POST", "/auth/token", body, REMOTE_ADDR=f"198.51.100.{host}") for host in range(1, 8)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429, 429]
    wait = answers[6].headers["Retry-After"]
    assert answers[6].json() == {"detail": f"Rate limit exceeded. Try again in {wait} seconds."}


def test_who_guesses_at_a_name_from_one_place_locks_nobody_else_out(quota):
    quota("login", 3)
    make_user("admin", "root")
    guess, right = {"username": "root", "password": "guess"}, {"username": "root", "password": PASSWORD}
    answers = [ApiClient().call("POST", "/auth/token", guess, REMOTE_ADDR="198.51.100.1") for _ in range(40)]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 37
    assert ApiClient().call("POST", "/auth/token", right, REMOTE_ADDR="192.0.2.1").status_code == 200


def test_guesses_at_the_console_and_at_the_api_share_one_quota(quota):
    quota("login", 3)
    make_user("admin", "root")
    guess, right = {"username": "root", "password": "guess"}, {"username": "root", "password": PASSWORD}
    assert ApiClient().call("POST", "/auth/token", guess).status_code == 401
    answers = [ApiClient().post("/admin/login/", form) for form in (guess, guess, right)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    wait = answers[2].headers["Retry-After"]
    assert f"Rate limit exceeded. Try again in {wait} seconds." in answers[2].content.decode()


@pytest.mark.usefixtures("_within_one_window")
def test_guesses_at_the_console_under_one_name_are_limited_wherever_they_come_from(quota):
    quota("login", 1)
    form = {"username": "Somebody", "password": "guess"}
    answers = [ApiClient().post("/admin/login/", form, REMOTE_ADDR=f"198.51.100.{host}") for host in range(1, 8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429, 429]


def test_overloaded_intake_says_503_so_that_senders_repeat(quota):
    quota("ingest", 1)
    sensor = ApiClient("api_service")
    body = {"title": "t", "source": "s", "severity": "low"}
    sensor.call("POST", "/ingest/generic", body)
    answer = sensor.call("POST", "/ingest/generic", body)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
