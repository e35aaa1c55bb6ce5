"""Accounts that playbooks disabled: read in the console, forgotten when no undo may need them any more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.playbooks import connectors, disabled_accounts
from agents.playbooks.models import Connector, DisabledAccount, Execution
from tests.agents.playbooks.stage import begin, write
from tests.cast import ANALYST, OPERATOR
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
