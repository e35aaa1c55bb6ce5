"""The system's own state and credentials over HTTP."""

from __future__ import annotations

import pytest

from aurora.models import DeadLetter
from tests.cast import PASSWORD, ApiClient, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> ApiClient:
    return ApiClient("admin")


def test_the_mode_says_what_works_and_where_reads_come_from():
    mode = ApiClient("viewer").call("GET", "/system/mode").json()
    assert mode.keys() >= {
        "mode",
        "is_database_available",
        "is_bus_available",
        "showcase_reads_allowed",
        "uses_showcase_data",
        "read_data_source",
        "is_mutations_allowed",
        "degraded_since",
        "snapshot_age_seconds",
        "spool_depth",
    }
    assert (mode["mode"], mode["is_database_available"], mode["read_data_source"]) == ("real", True, "database")


def test_dead_letters_are_listed_with_their_error_and_trace():
    told = {"stream": "aurora:alerts", "group": "g", "entry_id": "1-0", "type": "alert.created", "error": "too heavy"}
    told |= {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    letter = DeadLetter.objects.create(**told, deliveries=5)
    [item] = ApiClient("operator").call("GET", "/dead-letters").json()["items"]
    assert (item["id"], item["deliveries"]) == (str(letter.id), 5)
    assert {name: item[name] for name in told} == told


def test_a_list_of_dead_letters_bears_the_beginning_of_each_payload_and_its_page_the_whole():
    told = {"stream": "aurora:alerts", "group": "g", "type": "alert.created", "error": "too heavy", "deliveries": 5}
    payload = '{"raw_log": "' + "ä" * 1_000_000 + '"}'
    letter = DeadLetter.objects.create(**told, entry_id="1-0", data=payload)
    DeadLetter.objects.create(**told, entry_id="2-0")
    operator = ApiClient("operator")
    answer = operator.call("GET", "/dead-letters")
    short, long = answer.json()["items"]
    assert (short["data"], short["data_length"]) == ("", 0)
    assert (long["data"], long["data_length"]) == (payload[:2_000], len(payload))
    assert len(answer.content) < 10_000
    whole = operator.call("GET", f"/dead-letters/{letter.id}").json()
    assert whole == long | {"data": payload}


@pytest.mark.parametrize("name", ["01a21e64-d884-752c-bb85-0d8655f0172c", "nothing"])
def test_a_dead_letter_that_is_not_there_is_missing(name):
    assert ApiClient("operator").call("GET", f"/dead-letters/{name}").status_code == 404


def test_a_key_is_made_used_listed_without_its_secret_and_ended(admin):
    made = admin.call("POST", "/auth/api-keys", {"name": "sensor", "role": "api_service"})
    assert made.status_code == 201
    key = made.json()["key"]
    assert key.startswith("aurora_key_")
    sensor = ApiClient(HTTP_X_API_KEY=key)
    assert sensor.call("GET", "/users/me").json()["role"] == "api_service"
    listed = admin.call("GET", "/auth/api-keys").json()["items"]
    assert made.json()["id"] in {item["id"] for item in listed}
    assert not any("key" in item or key in item.values() for item in listed)
    assert admin.call("DELETE", f"/auth/api-keys/{made.json()['id']}").status_code == 204
    assert sensor.call("GET", "/users/me").status_code == 401


@pytest.mark.parametrize("body", [{"name": "x", "role": "root"}, {"name": " ", "role": "viewer"}, {"role": "viewer"}])
def test_a_key_without_a_name_or_with_an_unknown_role_is_refused(body, admin):
    assert admin.call("POST", "/auth/api-keys", body).status_code == 400


def test_only_an_admin_makes_keys():
    answer = ApiClient("analyst").call("POST", "/auth/api-keys", {"name": "x", "role": "admin"})
    assert (answer.status_code, "users:manage" in answer.json()["detail"]) == (403, True)


def test_a_pair_of_tokens_is_refreshed_over_http():
    make_user("analyst", "ana")
    signed_in = ApiClient().call("POST", "/auth/token", {"username": "ana", "password": PASSWORD}).json()
    assert signed_in.keys() == {"access_token", "refresh_token", "token_type", "expires_in", "role"}
    fresh = ApiClient().call("POST", "/auth/refresh", {"refresh_token": signed_in["refresh_token"]}).json()
    assert fresh.keys() == signed_in.keys()
    caller = ApiClient(HTTP_AUTHORIZATION=f"Bearer {fresh['access_token']}")
    assert caller.call("GET", "/users/me").json()["username"] == "ana"


def test_accounts_are_made_changed_listed_and_removed(admin):
    body = {"username": "nora", "password": "a-long-and-strange-one", "role": "viewer"}
    assert admin.call("POST", "/users", body).status_code == 201
    assert admin.call("PATCH", "/users/nora", {"role": "operator"}).json()["role"] == "operator"
    assert "nora" in {item["username"] for item in admin.call("GET", "/users").json()["items"]}
    assert admin.call("DELETE", "/users/nora").status_code == 204
    assert admin.call("PATCH", "/users/nora", {"role": "viewer"}).status_code == 404


def test_a_change_is_in_the_audit_with_who_and_what(admin):
    admin.call("POST", "/auth/api-keys", {"name": "sensor", "role": "api_service"})
    newest = admin.call("GET", "/audit").json()["items"][0]
    assert newest["actor"].startswith("key:admin")
    assert newest["action"] == "api_key.created"
    assert newest["request_id"]
