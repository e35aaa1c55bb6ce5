"""Accounts: made, changed, removed; the last admin stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from aurora.errors import Conflict, Denied
from aurora.identity import accounts
from aurora.models import AuditEntry
from tests.cast import ADMIN, ANALYST, PASSWORD, ApiClient, make_user

pytestmark = pytest.mark.django_db


def _sign_in(username: str, password: str = PASSWORD):
    return ApiClient().call("POST", "/auth/token", {"username": username, "password": password})


def test_a_new_account_can_sign_in_and_leaves_an_audit_entry():
    admin = ApiClient("admin")
    body = {"username": "new.analyst", "password": "long-enough-7x", "role": "analyst"}
    assert admin.call("POST", "/users", body).status_code == 201
    assert _sign_in("new.analyst", "long-enough-7x").status_code == 200
    assert AuditEntry.objects.filter(action="user.created", target_type="user").exists()


def test_a_weak_password_is_refused_in_list_form():
    answer = ApiClient("admin").call("POST", "/users", {"username": "a", "password": "1234", "role": "viewer"})
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"] == ["body", "password"]


def test_a_taken_name_conflicts():
    user = make_user("viewer")
    body = {"username": user.username, "password": "long-enough-7x", "role": "viewer"}
    assert ApiClient("admin").call("POST", "/users", body).status_code == 409


@pytest.mark.parametrize("name", ["ANA", "\u0430na", "\uff41na", "ana\n"])
def test_a_name_that_reads_like_another_one_is_refused(name):
    make_user("admin", "ana")
    body = {"username": name, "password": "long-enough-7x", "role": "viewer"}
    assert ApiClient("admin").call("POST", "/users", body).status_code in (400, 409)


@pytest.mark.django_db(transaction=True)
def test_of_two_accounts_made_at_once_under_one_name_one_is_there():
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(_created, ["ana", "ANA"]))
    assert sorted(outcomes) == ["Conflict", "created"]


@pytest.mark.parametrize("path", ["/users", "/agents"])
def test_short_lists_have_pages_as_well(path):
    for _ in range(3):
        make_user("viewer")
    client = ApiClient("admin")
    page = client.call("GET", f"{path}?limit=2").json()
    names: list[str] = _names(page)
    while page["next_cursor"]:
        page = client.call("GET", f"{path}?limit=2&cursor={page['next_cursor']}").json()
        names += _names(page)
    assert names == sorted(set(names))
    assert len(names) == page["total"] > 2


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "skip=-1", "x=1", "cursor=AAA", "cursor=_w"])
@pytest.mark.parametrize("path", ["/users", "/agents"])
def test_short_lists_refuse_what_the_long_ones_do(path, query):
    assert ApiClient("admin").call("GET", f"{path}?{query}").status_code == 400


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"is_active": False}])
def test_the_last_admin_cannot_be_demoted(change):
    make_user("admin", "root")
    with pytest.raises(Conflict):
        accounts.edit_account(username="root", changes=change, actor=ADMIN)


def test_the_last_admin_cannot_be_removed():
    make_user("admin", "root")
    with pytest.raises(Conflict):
        accounts.delete_account(username="root", actor=ADMIN)
    assert User.objects.filter(username="root").exists()


def test_one_of_two_admins_can_be_removed():
    make_user("admin", "root")
    make_user("admin", "second")
    accounts.delete_account(username="second", actor=ADMIN)
    assert not User.objects.filter(username="second").exists()


def test_only_an_admin_manages_accounts():
    with pytest.raises(Denied):
        accounts.create_account(username="x", password="long-enough-7x", role="admin", actor=ANALYST)


@pytest.mark.django_db(transaction=True)
def test_two_admins_demoted_at_once_leave_one_without_a_deadlock():
    for number in range(4):
        names = [make_user("admin", f"adm-{number}-{place}").username for place in "ab"]
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(_demoted, names))
        assert sorted(outcomes) == ["Conflict", "demoted"]
        User.objects.all().delete()


def _demoted(username: str) -> str:
    try:
        accounts.edit_account(username=username, changes={"role": "viewer"}, actor=ADMIN)
    except Conflict:
        return "Conflict"
    finally:
        connection.close()
    return "demoted"


def _created(username: str) -> str:
    try:
        accounts.create_account(username=username, password="long-enough-7x", role="viewer", actor=ADMIN)
    except Conflict:
        return "Conflict"
    finally:
        connection.close()
    return "created"


def _names(page: dict[str, Any]) -> list[str]:
    assert len(page["items"]) <= 2
    return [item.get("username") or item["agent_type"] for item in page["items"]]
