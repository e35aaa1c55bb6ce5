"""`Idempotency-Key` belongs to one caller."""

from __future__ import annotations

import pytest

from aurora.identity import api_keys
from tests.cast import ADMIN, ApiClient

pytestmark = pytest.mark.django_db

ALERT = {"title": "t", "source": "s", "severity": "low"}


def _sensor() -> ApiClient:
    """A client whose key has the same name as every other's."""
    client = ApiClient()
    client.defaults["HTTP_X_API_KEY"] = api_keys.create(name="edge", role="api_service", expires_at=None, actor=ADMIN)[
        1
    ]
    return client


def test_the_same_request_again_is_answered_and_not_done_again():
    sensor = _sensor()
    first, second = (sensor.call("POST", "/alerts", ALERT, HTTP_IDEMPOTENCY_KEY="k") for _ in range(2))
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert second.headers["Idempotent-Replayed"] == "true"


def test_two_programs_of_one_name_do_not_share_keys():
    counts = [_sensor().call("POST", "/alerts", ALERT, HTTP_IDEMPOTENCY_KEY="k").json()["count"] for _ in range(2)]
    assert counts == [1, 2]


def test_another_request_under_the_same_key_is_a_conflict():
    sensor = _sensor()
    sensor.call("POST", "/alerts", ALERT, HTTP_IDEMPOTENCY_KEY="k")
    answer = sensor.call("POST", "/alerts", ALERT | {"title": "u"}, HTTP_IDEMPOTENCY_KEY="k")
    assert answer.status_code == 409
