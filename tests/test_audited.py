"""Every verb that changes something on somebody's behalf leaves an audit entry: held against the source, so that a new one cannot forget it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora.identity import credentials
from aurora.models import AuditEntry
from cases import iocs, triage
from cases.models import Ioc
from tests import factories
from tests.cast import ADMIN, ANALYST, PASSWORD, ApiClient, make_user

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("aurora", "cases", "agents", "realtime")
ON_BEHALF_OF_OTHER_VERBS = {"aurora/rest/idempotency.py: once"}
"""They change nothing themselves: the verb that they are given is audited."""


def _verbs() -> Iterator[tuple[str, str, ast.Module]]:
    """Public functions of modules that take an actor and begin a transaction."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            for node in tree.body:
                if (
                    isinstance(node, ast.FunctionDef)
                    and _takes_actor(node)
                    and "transaction.atomic" in ast.unparse(node)
                ):
                    yield str(path.relative_to(ROOT)), node.name, tree


def _takes_actor(function: ast.FunctionDef) -> bool:
    return any(argument.arg == "actor" for argument in (*function.args.args, *function.args.kwonlyargs))


def _is_audited(name: str, tree: ast.Module, seen: frozenset[str] = frozenset()) -> bool:
    """Whether the function, or one of its own module that it calls, writes an entry."""
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)
    if function is None or name in seen:
        return False
    if "audit.record(" in ast.unparse(function):
        return True
    called = [
        node.func.id for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return any(_is_audited(other, tree, seen | {name}) for other in called)


def test_every_verb_that_takes_an_actor_and_changes_rows_is_audited():
    verbs = list(_verbs())
    assert len(verbs) > 20
    silent = {f"{path}: {name}" for path, name, tree in verbs if not _is_audited(name, tree)}
    assert silent - ON_BEHALF_OF_OTHER_VERBS == set()


@pytest.mark.django_db
def test_an_entry_says_who_from_where_under_which_request_and_what_was_before():
    user, other = make_user("admin"), make_user("viewer")
    token = credentials.sign_in(username=user.username, password=PASSWORD).access_token
    ApiClient(REMOTE_ADDR="192.0.2.7").call(
        "PATCH",
        f"/users/{other.username}",
        {"role": "analyst", "password": "another-horse-battery"},
        HTTP_AUTHORIZATION=f"Bearer {token}",
        HTTP_X_REQUEST_ID="req-7",
    )
    entry = AuditEntry.objects.get(action="user.edited")
    assert (entry.actor, entry.address, entry.request_id) == (user.username, "192.0.2.7", "req-7")
    assert (entry.target_type, entry.target_id) == ("user", str(other.pk))
    assert entry.before == {"role": "viewer"}
    assert entry.after == {"role": "analyst", "password": "changed"}


@pytest.mark.django_db
def test_signing_in_is_in_the_trail_at_the_api_and_at_the_console():
    user = make_user("admin")
    form = {"username": user.username, "password": PASSWORD}
    ApiClient(REMOTE_ADDR="192.0.2.7").call("POST", "/auth/token", form)
    ApiClient(REMOTE_ADDR="192.0.2.8").post("/admin/login/", form)
    ApiClient(REMOTE_ADDR="192.0.2.9").post("/admin/login/", form | {"password": "wrong"})
    entries = AuditEntry.objects.filter(action="user.signed_in", target_id=str(user.pk)).order_by("id")
    assert [entry.address for entry in entries] == ["192.0.2.7", "192.0.2.8"]


@pytest.mark.django_db
def test_signing_out_is_in_the_trail_once_at_the_api_and_at_the_console():
    user = make_user("admin")
    token = credentials.sign_in(username=user.username, password=PASSWORD).refresh_token
    for _ in range(2):
        ApiClient(REMOTE_ADDR="192.0.2.7").call("POST", "/auth/logout", {"refresh_token": token})
    browser = ApiClient(REMOTE_ADDR="192.0.2.8")
    browser.post("/admin/login/", {"username": user.username, "password": PASSWORD})
    for _ in range(2):
        browser.post("/admin/logout/")
    entries = AuditEntry.objects.filter(action="user.signed_out", target_id=str(user.pk)).order_by("id")
    assert [(entry.actor, entry.address) for entry in entries] == [
        (user.username, "192.0.2.7"),
        (user.username, "192.0.2.8"),
    ]


@pytest.mark.django_db
def test_the_reuse_of_a_refresh_token_is_in_the_trail():
    user = make_user("analyst")
    token = credentials.sign_in(username=user.username, password=PASSWORD).refresh_token
    credentials.refresh(refresh_token=token)
    assert ApiClient(REMOTE_ADDR="192.0.2.7").call("POST", "/auth/refresh", {"refresh_token": token}).status_code == 401
    assert AuditEntry.objects.get(action="session.reused_token").address == "192.0.2.7"


@pytest.mark.django_db
def test_what_is_removed_is_kept_in_the_trail():
    ioc = iocs.add_ioc(ioc_type="ip", value="203.0.113.9", actor=ANALYST, details={"description": "beacon"})
    iocs.delete_ioc(ioc_id=ioc.pk, actor=ANALYST)
    assert not Ioc.objects.filter(pk=ioc.pk).exists()
    assert AuditEntry.objects.get(action="ioc.deleted").before["description"] == "beacon"


@pytest.mark.django_db
def test_taking_note_of_somebody_elses_alert_does_not_pass_for_taking_it():
    alert = factories.make_alert()
    triage.assign(alert_id=alert.pk, username=make_user("analyst", "ana-2").username, actor=ADMIN)
    triage.acknowledge(alert_id=alert.pk, actor=ANALYST)
    entry = AuditEntry.objects.get(action="alert.acknowledged")
    assert (entry.before["assignee"], entry.after["assignee"]) == ("ana-2", "ana-2")
    assert entry.before["acknowledged_at"] is None
