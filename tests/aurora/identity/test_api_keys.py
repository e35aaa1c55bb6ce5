"""API keys: where they are good, their use, their successors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from structlog.testing import capture_logs

from aurora.errors import Denied
from aurora.identity import api_keys, credentials
from aurora.models import ApiKey, AuditEntry
from tests.cast import ADMIN, ApiClient
from tests.console_pages import signed_in, text_of

pytestmark = pytest.mark.django_db


def _made(**details) -> tuple[ApiKey, str]:
    return api_keys.create(**{"name": "sensor", "role": "api_service", "expires_at": None, "actor": ADMIN} | details)


def _me(key: str, address: str = "127.0.0.1"):
    return ApiClient(REMOTE_ADDR=address).call("GET", "/users/me", HTTP_X_API_KEY=key)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("192.0.2.7", 200),
        ("::ffff:192.0.2.7", 200),
        ("2001:db8::9", 200),
        ("192.0.3.7", 401),
        ("2001:db9::9", 401),
        ("", 401),
        ("nowhere", 401),
    ],
)
def test_a_key_is_good_in_its_networks_alone(address, status):
    _, key = _made(networks=["192.0.2.0/24", "2001:db8::/32"])
    answer = _me(key, address)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json() == {"detail": "Invalid API key"}


def test_a_key_used_elsewhere_is_told_to_the_operator():
    _, key = _made(networks=["192.0.2.0/24"])
    with capture_logs() as logs:
        _me(key, "203.0.113.9")
    told = next(line for line in logs if line["event"] == "api_key_elsewhere")
    assert (told["key"], told["address"]) == ("sensor", "203.0.113.9")
    assert key not in str(logs)


def test_what_a_caller_says_of_its_address_opens_nothing():
    _, key = _made(networks=["192.0.2.0/24"])
    answer = ApiClient().call("GET", "/users/me", HTTP_X_API_KEY=key, HTTP_X_FORWARDED_FOR="192.0.2.7")
    assert answer.status_code == 401


def test_behind_a_trusted_proxy_the_callers_address_counts(settings):
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    _, key = _made(networks=["192.0.2.0/24"])
    answer = ApiClient().call("GET", "/users/me", HTTP_X_API_KEY=key, HTTP_X_FORWARDED_FOR="192.0.2.7")
    assert answer.status_code == 200


def test_a_network_that_is_none_is_refused_by_its_place():
    answer = ApiClient("admin").call(
        "POST", "/auth/api-keys", {"name": "n", "role": "viewer", "networks": ["10.0.0.0/8", "10.0.0.1/8"]}
    )
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"] == ["body", "networks", 1]


def test_a_key_is_confined_later_and_that_is_in_the_audit_trail():
    row, key = _made()
    admin = ApiClient("admin")
    answer = admin.call("PATCH", f"/auth/api-keys/{row.id}", {"networks": ["192.0.2.0/24"]})
    assert (answer.status_code, answer.json()["networks"]) == (200, ["192.0.2.0/24"])
    assert _me(key).status_code == 401
    entry = AuditEntry.objects.get(action="api_key.confined")
    assert (entry.before, entry.after) == ({"networks": []}, {"networks": ["192.0.2.0/24"]})


def test_an_open_socket_of_a_key_confined_elsewhere_ends():
    row, key = _made()
    actor = api_keys.actor_of(key, address="203.0.113.9")
    api_keys.confine(key_id=row.id, networks=["192.0.2.0/24"], actor=ADMIN)
    with pytest.raises(Denied):
        credentials.renewed(actor)


def test_a_rotated_key_and_its_successor_are_both_good_until_the_overlap_ends():
    row, key = _made(networks=["127.0.0.0/8"])
    answer = ApiClient("admin").call("POST", f"/auth/api-keys/{row.id}/rotate", {"overlap_seconds": 600})
    assert answer.status_code == 201
    new = answer.json()
    assert (new["name"], new["role"], new["networks"], new["rotated_from"]) == (
        "sensor",
        "api_service",
        ["127.0.0.0/8"],
        str(row.id),
    )
    assert (_me(key).status_code, _me(new["key"]).status_code) == (200, 200)
    row.refresh_from_db()
    assert row.expires_at is not None
    assert timezone.now() < row.expires_at <= timezone.now() + timedelta(seconds=600)
    ApiKey.objects.filter(pk=row.id).update(expires_at=timezone.now())
    assert (_me(key).status_code, _me(new["key"]).status_code) == (401, 200)


def test_rotated_without_overlap_the_old_key_ends_at_once():
    row, key = _made()
    ApiClient("admin").call("POST", f"/auth/api-keys/{row.id}/rotate", {"overlap_seconds": 0})
    assert _me(key).status_code == 401


def test_the_successor_of_a_key_that_ends_with_the_calendar_ends_then_too():
    row, _ = _made(expires_at=datetime.max.replace(tzinfo=UTC))
    answer = ApiClient("admin").call("POST", f"/auth/api-keys/{row.id}/rotate", {})
    assert (answer.status_code, answer.json()["expires_at"]) == (201, "9999-12-31T23:59:59.999999Z")


def test_an_overlap_prolongs_no_keys_life_and_the_successor_lives_as_long():
    end = timezone.now() + timedelta(hours=1)
    row, _ = _made(expires_at=end)
    new, _ = api_keys.rotate(key_id=row.id, overlap=timedelta(days=7), actor=ADMIN)
    row.refresh_from_db()
    assert row.expires_at == end
    assert new.expires_at is not None
    assert timedelta(minutes=59) < new.expires_at - timezone.now() <= timedelta(hours=1)


@pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
def test_a_key_that_has_ended_is_neither_rotated_nor_confined(end):
    row, _ = _made()
    ApiKey.objects.filter(pk=row.id).update(**{end: timezone.now()})
    admin = ApiClient("admin")
    assert admin.call("POST", f"/auth/api-keys/{row.id}/rotate", {}).status_code == 404
    assert admin.call("PATCH", f"/auth/api-keys/{row.id}", {"networks": []}).status_code == 404


def test_a_keys_use_is_noted_once_a_minute_and_not_at_every_request(django_assert_num_queries):
    row, key = _made()
    with django_assert_num_queries(1):  # the statement that finds the key is not one of Django's
        api_keys.actor_of(key)
    with django_assert_num_queries(0):
        api_keys.actor_of(key)
    ApiKey.objects.filter(pk=row.id).update(last_used_at=timezone.now() - timedelta(minutes=2))
    api_keys.actor_of(key)
    row.refresh_from_db()
    assert row.last_used_at is not None
    assert timezone.now() - row.last_used_at < timedelta(minutes=1)


def test_the_console_makes_a_key_and_shows_it_once():
    client = signed_in("admin")
    made = client.post(
        "/admin/aurora/apikey/add/", {"name": "soar", "role": "analyst", "networks": "127.0.0.0/8, 192.0.2.1"}
    )
    assert "no-store" in made.headers["Cache-Control"]
    row = ApiKey.objects.get(name="soar")
    assert row.networks == ["127.0.0.0/8", "192.0.2.1/32"]
    key = next(word for word in text_of(made).replace("<", " ").replace(">", " ").split() if "aurora_key_" in word)
    assert _me(key).status_code == 200
    assert key not in text_of(client.get(f"/admin/aurora/apikey/{row.id}/change/"))


def test_the_console_rotates_a_key_and_shows_its_successor():
    row, _ = _made()
    client = signed_in("admin")
    assert "Rotate" in text_of(client.get(f"/admin/aurora/apikey/{row.id}/change/"))
    shown = text_of(client.post(f"/admin/aurora/apikey/{row.id}/rotate/", {"choice": "3600"}))
    assert "aurora_key_" in shown
    assert ApiKey.objects.get(rotated_from=row.id).name == "sensor"


def test_a_network_that_is_none_is_told_beside_the_consoles_form():
    shown = signed_in("admin").post("/admin/aurora/apikey/add/", {"name": "n", "role": "viewer", "networks": "lan"})
    assert "not an address or a network" in text_of(shown)
    assert not ApiKey.objects.filter(name="n").exists()


@pytest.mark.parametrize("role", ["analyst", "operator", "viewer"])
def test_only_an_admin_makes_or_rotates_a_key_in_the_console(role):
    row, _ = _made()
    client = signed_in(role)
    assert client.get("/admin/aurora/apikey/add/").status_code == 403
    client.post(f"/admin/aurora/apikey/{row.id}/rotate/", {"choice": "0"})
    assert not ApiKey.objects.filter(rotated_from=row.id).exists()
