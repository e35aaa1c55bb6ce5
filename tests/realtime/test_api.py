"""`POST /api/v1/ws/ticket`."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from aurora.identity import credentials
from realtime import tickets

pytestmark = pytest.mark.urls("realtime.urls")


@pytest.fixture
def ask(db, redis_client, client: Client):
    """Asks for a ticket as a new account of some role; returns the response and the access token used."""

    def post(role: str) -> tuple[Any, str]:
        user = User.objects.create_user("ana", password="a long enough passphrase")
        user.groups.add(Group.objects.get_or_create(name=role)[0])
        token = credentials.sign_in(username="ana", password="a long enough passphrase").access_token
        return client.post("/ws/ticket", headers={"Authorization": f"Bearer {token}"}), token

    return post


def test_a_ticket_is_for_its_caller_and_ends_with_the_token(ask):
    response, token = ask("viewer")
    assert (response.status_code, response.json()["expires_in"]) == (200, 30)
    caller = tickets.redeem(ticket=response.json()["ticket"])
    assert (caller.actor.name, caller.actor.role, caller.expires_at) == ("ana", "viewer", credentials.expires_at(token))


def test_a_role_without_any_channel_gets_no_ticket(ask):
    assert ask("api_service")[0].status_code == 403


def test_nobody_gets_a_ticket_without_signing_in(db, client: Client):
    assert client.post("/ws/ticket").status_code == 401
