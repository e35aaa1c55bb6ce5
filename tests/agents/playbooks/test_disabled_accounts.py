"""Accounts that playbooks disabled: read in the console, forgotten when no undo may need them any more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.playbooks import connectors, disabled_accounts
from agents.playbooks.models import Connector, DisabledAccount, Execution
from aurora.errors import Conflict
from aurora.models import AuditEntry
from tests.agents.playbooks.stage import begin, write
from tests.cast import ANALYST, OPERATOR, ApiClient
from tests.console_pages import signed_in, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

JO = "uid=jo,dc=corp"
DISABLE = {"name": "disable", "action": "disable_user", "parameters": {"users": ["jo"]}}
OLD = timezone.now() - disabled_accounts.KEPT - timedelta(days=1)


def _directory() -> Connector:
    settings = {"url": "ldaps://dc.corp.example", "bind_dn": "cn=a", "password": "x", "base_dn": "dc=corp"}
    changes = {"settings": settings | {"scheme": "openldap"}}
    return connectors.configure(name="directory", kind="ldap", changes=changes, actor=OPERATOR)


def _row(connector: Connector, key="gone", dn=JO, **more) -> DisabledAccount:
    values = {"attribute": "pwdAccountLockedTime", "before": [], "created_at": OLD, "disabled_at": OLD}
    return DisabledAccount.objects.create(connector=connector, key=key, dn=dn, **values | more)


def _run(connector: Connector, status: str, **more) -> DisabledAccount:
    """The row of a run that stands so."""
    execution = begin(write(DISABLE, name=f"book-{status}"), ANALYST)
    Execution.objects.filter(pk=execution.pk).update(status=status)
    return _row(connector, key=str(execution.steps.get().pk), **more)


def test_what_is_old_and_over_is_forgotten_and_nothing_else():
    directory = _directory()
    _row(directory, key="no-such-step"), _run(directory, "completed", dn="uid=kim,dc=corp")
    fresh = _row(directory, key="fresh", created_at=timezone.now())
    assert disabled_accounts.forget() == 2
    assert list(DisabledAccount.objects.all()) == [fresh]


def test_all_that_is_known_of_an_account_stays_while_a_run_may_undo():
    directory = _directory()
    under_way, other = _run(directory, "running"), _run(directory, "completed")
    assert disabled_accounts.forget() == 0
    Execution.objects.filter(steps__id=under_way.key).update(status="completed")
    assert disabled_accounts.forget() == 2
    assert not DisabledAccount.objects.filter(pk=other.pk).exists()


def test_the_console_shows_them_and_their_run():
    row = _run(_directory(), "completed", dn="cn=<b>jo</b>,dc=corp")
    client = signed_in("viewer")
    assert "cn=&lt;b&gt;jo&lt;/b&gt;" in text_of(client.get("/admin/agents/disabledaccount/", {"state": "disabled"}))
    assert "No accounts" in text_of(client.get("/admin/agents/disabledaccount/", {"state": "enabled"}))
    page = text_of(client.get(f"/admin/agents/disabledaccount/{row.pk}/change/"))
    assert f"/admin/agents/execution/{Execution.objects.get().pk}/change/" in page


def _remove(directory: Connector) -> int:
    return connectors.remove(connector_id=directory.pk, actor=OPERATOR)


def test_a_connector_stays_while_a_run_may_have_to_enable_what_it_disabled():
    directory = _directory()
    row = _run(directory, "running")
    with pytest.raises(
        Conflict, match=f"enable them again: {JO}. Wait until it has ended, or call it off with rollback"
    ):
        _remove(directory)
    answer = ApiClient("operator").call("DELETE", f"/connectors/{directory.pk}")
    assert (answer.status_code, JO in answer.json()["detail"]) == (409, True)
    shown = text_of(signed_in("operator").post(f"/admin/agents/connector/{directory.pk}/do/remove/", follow=True))
    assert JO in shown
    assert list(DisabledAccount.objects.filter(connector=directory)) == [row]


def test_of_many_accounts_the_refusal_names_a_few():
    directory = _directory()
    row = _run(directory, "running")
    for number in range(7):
        _row(directory, key=row.key, dn=f"uid=user-{number},dc=corp")
    with pytest.raises(Conflict) as refused:
        _remove(directory)
    assert refused.value.detail.count("uid=") == 5
    assert "…" in refused.value.detail


def test_what_was_enabled_again_keeps_no_connector():
    directory = _directory()
    _run(directory, "running", enabled_at=timezone.now())
    assert _remove(directory) == 0


def test_accounts_outlive_the_connector_that_disabled_them_and_say_which_it_was():
    directory = _directory()
    row = _run(directory, "completed")
    assert _remove(directory) == 1
    row.refresh_from_db()
    assert (row.connector_id, row.directory, row.before) == (None, "directory", [])
    entry = AuditEntry.objects.get(action="connector.removed")
    assert entry.after == {"accounts_left_disabled": 1}
    client = signed_in("viewer")
    assert "directory (connector removed)" in text_of(client.get("/admin/agents/disabledaccount/"))
    assert "directory (connector removed)" in text_of(client.get(f"/admin/agents/disabledaccount/{row.pk}/change/"))


def test_whoever_removes_a_connector_is_told_what_it_leaves_disabled():
    directory = _directory()
    _run(directory, "completed")
    shown = text_of(signed_in("operator").post(f"/admin/agents/connector/{directory.pk}/do/remove/", follow=True))
    assert "1 account that it disabled is still listed as disabled" in shown


def test_accounts_of_a_removed_connector_are_forgotten_in_time_as_well():
    directory = _directory()
    _run(directory, "completed")
    _remove(directory)
    assert disabled_accounts.forget() == 1
