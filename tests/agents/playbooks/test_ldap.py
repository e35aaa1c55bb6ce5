"""The connector to directories against a real one: OpenLDAP's slapd on loopback, over TLS by an authority of its own.

Active Directory itself cannot run here: its scheme is held against slapd with a schema that has its attributes. What no slapd says, a listener does.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from agents.playbooks import approvals, connectors, executions
from agents.playbooks.actions import ldap
from agents.playbooks.actions.contract import Order
from agents.playbooks.actions.directory import Directory, Entry
from agents.playbooks.connectors import Outcome
from agents.playbooks.definition import Retry
from agents.playbooks.models import Approval, Connector, DisabledAccount
from aurora.errors import Invalid
from tests.agents.playbooks.directories import (
    BASE,
    PEOPLE,
    READER,
    READER_PASSWORD,
    SOC,
    SOC_PASSWORD,
    Slapd,
    make_authority,
    person,
)
from tests.agents.playbooks.stage import begin, now, statuses, work_off, write
from tests.agents.playbooks.stage import person as somebody
from tests.cast import OPERATOR, ApiClient
from tests.console_pages import signed_in, text_of

JO = f"uid=jo,{PEOPLE}"
LOCK = "pwdAccountLockedTime"
ACTIVE_DIRECTORY = {"scheme": "active_directory"}
NS_ACCOUNT_LOCK = {"scheme": "attribute", "attribute": "nsAccountLock", "disabled_value": "true"}


_REFUSAL = b"\x61\x0c"
"""The answer to a sign-in begins so (RFC 4511, 4.2.2); what follows says no, in words that no database holds."""


@pytest.fixture
def slapd(tmp_path: Path, settings, transactional_db, library) -> Iterator[Slapd]:
    settings.CONNECTOR_NETWORKS = ["127.0.0.0/8", "::1/128"]
    with _running(tmp_path) as found:
        yield found


@contextmanager
def _running(folder: Path, **more: bool) -> Iterator[Slapd]:
    found = Slapd(folder, **more)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def _connector(slapd: Slapd, name="directory", **changes: Any) -> Connector:
    given = {"settings": slapd.settings | changes}
    return connectors.configure(name=name, kind="ldap", changes=given, actor=OPERATOR)


def _act(connector: Connector, *users: str, key="key-1", attempts=1, timeout=20.0, undo=False) -> Outcome:
    order = Order(
        action="disable_user",
        key=f"{key}-undo" if undo else key,
        parameters={"users": list(users)},
        undo=undo,
        timeout=timeout,
    )
    return connectors.carry_out(connector=connector, order=order, retry=Retry(attempts=attempts, base_seconds=0))


def _states(outcome: Outcome) -> dict[str, str]:
    assert outcome.status == "completed", outcome.error
    return {one["dn"]: one["state"] for one in outcome.result["accounts"]}


def _failures(connector: Connector) -> int:
    """What its breaker holds against the directory."""
    return connectors.breaker_of(connector).snapshot().failure_count


@pytest.mark.parametrize("address", ["ldap://127.0.0.1:{port}", "ldaps://127.0.0.1:{tls_port}/", "ldap://[::1]:{port}"])
def test_an_account_is_disabled_and_its_undo_enables_it(slapd, address):
    url = address.format(port=slapd.port, tls_port=slapd.tls_port)
    connector = _connector(slapd, url=url)
    outcome = _act(connector, "jo")
    assert outcome.status == "completed", outcome.error
    assert outcome.result["accounts"] == [{"user": "jo", "dn": JO, "state": "disabled"}]
    assert outcome.result["sessions"].startswith("not ended")
    assert (slapd.lets_in("jo"), slapd.lets_in("kim")) == (False, True)
    assert _states(_act(connector, undo=True)) == {JO: "enabled"}
    assert slapd.lets_in("jo")
    slapd.change("jo", **{LOCK: ldap.LOCKED_FOR_EVER})
    assert _states(_act(connector, undo=True)) == {JO: "enabled"}
    assert not slapd.lets_in("jo"), "told again, it undoes nothing that somebody else did"


def test_what_somebody_enabled_meanwhile_is_no_failure_of_the_undo(slapd):
    connector = _connector(slapd)
    _act(connector, "jo")
    slapd.change("jo", **{LOCK: ""})
    assert _states(_act(connector, "jo")) == {JO: "disabled"}
    assert slapd.lets_in("jo"), "told again, it has no second effect"
    assert _states(_act(connector, undo=True)) == {JO: "was enabled before"}


def test_a_step_twice_disables_once_and_its_undo_still_enables(slapd):
    connector = _connector(slapd)
    assert _states(_act(connector, "jo")) == _states(_act(connector, "jo")) == {JO: "disabled"}
    assert _states(_act(connector, undo=True)) == {JO: "enabled"}
    assert slapd.lets_in("jo")


def test_a_worker_that_died_after_the_change_has_left_how_it_stood_before(slapd):
    connector = _connector(slapd)
    DisabledAccount.objects.create(connector=connector, key="key-1", dn=JO, attribute=LOCK, before=[])
    slapd.change("jo", **{LOCK: ldap.LOCKED_FOR_EVER})
    assert _states(_act(connector, "jo")) == {JO: "disabled"}
    assert _states(_act(connector, undo=True)) == {JO: "enabled"}
    assert slapd.lets_in("jo")


@pytest.mark.parametrize(
    ("scheme", "disabled"),
    [
        ({}, {LOCK: ldap.LOCKED_FOR_EVER}),
        (ACTIVE_DIRECTORY, {"userAccountControl": "514"}),
        (NS_ACCOUNT_LOCK, {"nsAccountLock": "TRUE"}),
    ],
)
def test_what_was_disabled_before_is_a_success_and_stays_disabled(slapd, scheme, disabled):
    _make_a_user_of_windows(slapd, "jo")
    slapd.change("jo", **disabled)
    connector = _connector(slapd, **scheme)
    assert _states(_act(connector, "jo")) == {JO: "was disabled before"}
    assert _states(_act(connector, undo=True)) == {JO: "left disabled: it was before the step"}
    [(name, value)] = disabled.items()
    assert slapd.values("jo", name) == [value]


def test_a_lock_that_would_have_ended_is_put_back(slapd):
    slapd.change("jo", **{LOCK: "20260101000000Z"})
    connector = _connector(slapd)
    assert _states(_act(connector, "jo")) == {JO: "disabled"}
    assert slapd.values("jo", LOCK) == [ldap.LOCKED_FOR_EVER]
    _act(connector, undo=True)
    assert slapd.values("jo", LOCK) == ["20260101000000Z"]


def test_an_account_that_two_steps_disabled_is_enabled_by_the_undo_of_both(slapd):
    connector = _connector(slapd)
    _act(connector, "jo", key="first")
    assert _states(_act(connector, "jo", key="second")) == {JO: "was disabled before"}
    assert _states(_act(connector, key="first", undo=True)) == {JO: "left disabled: another step disabled it since"}
    assert not slapd.lets_in("jo")
    assert "left disabled" in _states(_act(connector, key="first", undo=True))[JO]
    assert _states(_act(connector, key="second", undo=True)) == {JO: "enabled"}
    assert slapd.lets_in("jo")


def test_an_undo_at_whose_moment_another_step_disables_leaves_it_disabled(slapd, monkeypatch):
    connector = _connector(slapd)
    _act(connector, "jo", key="first")
    enable, calls = ldap._Accounts.enable, list[str]()

    def race(accounts, entry, before):
        if not calls:
            assert _states(_act(connector, "jo", key="second")) == {JO: "was disabled before"}
        calls.append(entry.dn)
        return enable(accounts, entry, before)

    monkeypatch.setattr(ldap._Accounts, "enable", race)
    assert _states(_act(connector, key="first", undo=True)) == {JO: "left disabled: another step disabled it since"}
    assert not slapd.lets_in("jo")
    assert _states(_act(connector, key="second", undo=True)) == {JO: "enabled"}
    assert slapd.lets_in("jo")


def test_an_undo_without_its_step_enables_nothing(slapd):
    slapd.change("jo", **{LOCK: ldap.LOCKED_FOR_EVER})
    assert "not known which accounts this step disabled" in _act(_connector(slapd), "jo", undo=True).error
    assert not slapd.lets_in("jo")


def test_an_undo_enables_the_others_of_one_that_has_gone(slapd):
    connector = _connector(slapd)
    _act(connector, "jo", "kim")
    slapd.remove("jo")
    outcome = _act(connector, undo=True)
    assert outcome.status == "failed"
    assert f"{JO} is no longer there" in outcome.error
    assert slapd.lets_in("kim")


def test_a_name_is_compared_whatever_it_holds(slapd):
    connector = _connector(slapd)
    for name in (
        *("nobody", "*", "*)(uid=*", "jo)(|(uid=*", "jo)(objectClass=*))(&(uid=jo"),
        *("jo*", "(uid=jo)", "\\6a\\6f", "jo\\00", "jo\\", "\u0458o", "ou=people"),
    ):
        assert _act(connector, name).error == f"No account is named {name}: nothing was changed"
    assert (slapd.lets_in("jo"), slapd.lets_in("kim")) == (True, True)


def test_of_several_accounts_of_a_name_none_is_disabled(slapd):
    slapd.add(
        f"dn: ou=branch,{BASE}\nobjectClass: organizationalUnit\nou: branch\n\n{person('jo', under=f'ou=branch,{BASE}')}"
    )
    connector = _connector(slapd)
    assert "Several accounts are named jo" in _act(connector, "kim", "jo").error
    assert (slapd.lets_in("jo"), slapd.lets_in("kim")) == (True, True)
    narrower = _connector(slapd, "people", base_dn=PEOPLE)
    assert _states(_act(narrower, "jo", "JO")) == {JO: "disabled"}


def test_of_several_users_none_is_disabled_unless_all_can_be(slapd):
    connector = _connector(slapd)
    assert "No account is named nobody" in _act(connector, "jo", "nobody").error
    assert "at most 20 are disabled at once" in _act(connector, *(f"user-{number}" for number in range(21))).error
    assert slapd.lets_in("jo")
    assert not DisabledAccount.objects.exists()
    assert _states(_act(connector, "jo", "kim")) == {JO: "disabled", f"uid=kim,{PEOPLE}": "disabled"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"password": "wrong"}, f"The directory refuses to sign in as {SOC}: invalidCredentials"),
        ({"bind_dn": READER, "password": READER_PASSWORD}, f"refuses to change {JO}: insufficientAccessRights"),
        ({"base_dn": "dc=elsewhere"}, "refuses to search dc=elsewhere: noSuchObject"),
        ({"base_dn": "no name"}, "refuses to search no name: invalidDNSyntax"),
        ({"user_filter": "(uid=jo"}, "is no filter"),
        ({**NS_ACCOUNT_LOCK, "attribute": "sn", "disabled_value": "x"}, "insufficientAccessRights"),
        ({**NS_ACCOUNT_LOCK, "attribute": "noSuchThing"}, "undefinedAttributeType"),
        (ACTIVE_DIRECTORY | {"user_filter": "(uid=*)", "user_attributes": ["uid"]}, "shows no userAccountControl"),
    ],
)
def test_what_stays_wrong_is_said_once_and_not_held_against_the_directory(slapd, changes, says):
    connector = _connector(slapd, **changes)
    outcome = _act(connector, "jo", attempts=3)
    assert says in outcome.error
    assert _failures(connector) == 0
    assert slapd.lets_in("jo")


def test_a_wrong_password_is_tried_once(slapd):
    slapd.change_policy(pwdMaxFailure="2")
    assert "invalidCredentials" in _act(_connector(slapd, password="wrong"), "jo", attempts=3).error
    assert _states(_act(_connector(slapd, "right"), "jo")) == {JO: "disabled"}


def test_a_directory_whose_certificate_nobody_vouches_for_is_told_nothing(slapd):
    other = make_authority()[0].public_bytes(serialization.Encoding.PEM).decode()
    for scheme, port in (("ldap", slapd.port), ("ldaps", slapd.tls_port)):
        connector = _connector(slapd, scheme, url=f"{scheme}://127.0.0.1:{port}", ca_pem=other)
        assert "The certificate of 127.0.0.1 is not good" in _act(connector, "jo", attempts=3).error
    by_system = _connector(slapd, "system", ca_pem="")
    assert "The certificate of 127.0.0.1 is not good" in _act(by_system, "jo").error
    by_name = _connector(slapd, "name", url=f"ldaps://localhost:{slapd.tls_port}")
    assert "The certificate of localhost is not good: Hostname mismatch" in _act(by_name, "jo").error
    assert slapd.lets_in("jo")


def test_without_tls_nothing_is_said_unless_the_operator_says_so(tmp_path, settings, transactional_db, library):
    settings.CONNECTOR_NETWORKS = ["127.0.0.0/8"]
    with _running(tmp_path, has_tls=False) as slapd:
        assert "The directory refuses to begin TLS" in _act(_connector(slapd), "jo").error
        assert slapd.lets_in("jo")
        assert _states(_act(_connector(slapd, "plain", security="none"), "jo")) == {JO: "disabled"}


def test_a_directory_inside_is_reached_when_it_is_allowed(slapd, settings):
    settings.CONNECTOR_NETWORKS = []
    assert "127.0.0.1 is no public address" in _act(_connector(slapd), "jo").error


def test_a_directory_that_is_away_is_tried_again_and_then_left_alone(slapd):
    connector = _connector(slapd)
    slapd.stop()
    assert "Connection refused" in _act(connector, "jo", attempts=3).error
    assert _failures(connector) == 3
    slapd.start()
    assert "unavailable: it failed again and again" in _act(connector, "jo").error
    assert slapd.lets_in("jo")


def test_a_directory_that_is_frozen_takes_no_longer_than_the_step_may(slapd):
    connector = _connector(slapd)
    slapd.freeze()
    outcome = _act(connector, "jo", timeout=0.5, attempts=2)
    assert outcome.status == "failed"
    assert "timed out" in outcome.error or "no answer within" in outcome.error
    assert _failures(connector) == 2
    slapd.thaw()
    assert slapd.lets_in("jo")


@pytest.mark.parametrize(
    ("entry", "says", "failures"),
    [
        ("cn=busy", "refuses to search cn=busy,ou=codes,dc=corp,dc=example: busy", 3),
        ("cn=unavailable", ": unavailable", 3),
        ("cn=unwilling", ": unwillingToPerform", 0),
    ],
)
def test_of_its_refusals_those_that_may_pass_are_tried_again(slapd, entry, says, failures):
    connector = _connector(slapd, base_dn=f"{entry},ou=codes,{BASE}")
    assert says in _act(connector, "jo", attempts=3).error
    assert _failures(connector) == failures


def test_no_referral_is_followed(slapd):
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        referral = f"ref: ldap://127.0.0.1:{elsewhere.getsockname()[1]}/{BASE}"
        slapd.add(f"dn: ou=away,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: away\n{referral}")
        assert _states(_act(_connector(slapd), "jo")) == {JO: "disabled"}
        there = _connector(slapd, "there", base_dn=f"ou=away,{BASE}")
        assert f"refuses to search ou=away,{BASE}: referral" in _act(there, "kim").error
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("krbtgt", {}),
        ("Administrator", {}),
        ("soc", {"user_attributes": ["cn"]}),
        ("soc", {"user_attributes": ["cn"], "bind_dn": f"CN = soc, {BASE.upper()}"}),
        ("jo", {"protected": ["j?"]}),
        ("jo", {"protected": [f"*, OU=People,{BASE}"]}),
        ("jo@corp.example", {"user_attributes": ["userPrincipalName"], "protected": ["JO"]}),
        ("old-root", {"user_attributes": ["uid"]}),
    ],
)
def test_what_is_protected_is_never_disabled(slapd, name, changes):
    slapd.change("jo", userPrincipalName="jo@corp.example")
    slapd.change("kim", userPrincipalName="kim")
    for uid in ("krbtgt", "administrator", "old-root"):
        slapd.add(person(uid))
    slapd.change("old-root", objectSid=bytes.fromhex("0105000000000005150000000102030405060708090a0b0cf4010000"))
    connector = _connector(slapd, **changes)
    outcome = _act(connector, name, "kim")
    assert outcome.status == "failed"
    assert "nothing was changed" in outcome.error
    assert "protected" in outcome.error or "signs in here" in outcome.error
    assert slapd.lets_in("kim")
    assert slapd.lets_soc_in()


@pytest.mark.parametrize("bind", ["CORP\\SVC-soc", "svc-soc@corp.example"])
def test_who_signs_in_by_a_name_of_active_directorys_is_protected_too(bind):
    given = {"url": "ldap://127.0.0.1", "bind_dn": bind, "password": "x", "base_dn": BASE} | ACTIVE_DIRECTORY
    accounts = ldap._Accounts(Directory(None), ldap.Settings.model_validate(given))
    accounts.require_unprotected("jo", Entry(JO, {"samaccountname": [b"jo"]}))
    with pytest.raises(Invalid, match="signs in here"):
        accounts.require_unprotected("soc", Entry(f"cn=SOC,{BASE}", {"samaccountname": [b"svc-SOC"]}))


def _make_a_user_of_windows(slapd: Slapd, uid: str, control: int = 512) -> None:
    slapd.change(
        uid,
        userAccountControl=str(control),
        sAMAccountName=uid,
        userPrincipalName=f"{uid}@corp.example",
        objectCategory="person",
    )


@pytest.mark.parametrize(
    ("name", "before", "disabled"),
    [("jo", 512, 514), ("JO@corp.example", 66048, 66050), ("jo", 0x1000200, 0x1000202)],
)
def test_of_active_directorys_bits_one_is_set_and_cleared(slapd, name, before, disabled):
    _make_a_user_of_windows(slapd, "jo", before)
    connector = _connector(slapd, **ACTIVE_DIRECTORY)
    assert _states(_act(connector, name)) == {JO: "disabled"}
    assert slapd.values("jo", "userAccountControl") == [str(disabled)]
    assert _states(_act(connector, undo=True)) == {JO: "enabled"}
    assert slapd.values("jo", "userAccountControl") == [str(before)]


def test_bits_that_somebody_else_changed_since_are_kept(slapd):
    _make_a_user_of_windows(slapd, "jo")
    connector = _connector(slapd, **ACTIVE_DIRECTORY)
    _act(connector, "jo")
    slapd.change("jo", userAccountControl=str(514 | 0x10000))
    _act(connector, undo=True)
    assert slapd.values("jo", "userAccountControl") == [str(512 | 0x10000)]


@pytest.mark.parametrize(
    ("meanwhile", "told", "afterwards"),
    [
        (512 | 0x10000, "disabled", "enabled"),
        (514, "was disabled before", "left disabled: it was before the step"),
    ],
)
def test_bits_that_somebody_else_changes_at_the_same_moment_are_kept(slapd, monkeypatch, meanwhile, told, afterwards):
    _make_a_user_of_windows(slapd, "jo")
    disable, calls = ldap._Accounts.disable, list[str]()

    def race(accounts, entry):
        if not calls:
            slapd.change("jo", userAccountControl=str(meanwhile))
        calls.append(entry.dn)
        return disable(accounts, entry)

    monkeypatch.setattr(ldap._Accounts, "disable", race)
    connector = _connector(slapd, **ACTIVE_DIRECTORY)
    assert _states(_act(connector, "jo")) == {JO: told}
    assert slapd.values("jo", "userAccountControl") == [str(meanwhile | 2)]
    assert _states(_act(connector, undo=True)) == {JO: afterwards}


def test_a_computer_is_no_account_of_active_directorys(slapd):
    _make_a_user_of_windows(slapd, "jo")
    slapd.change("jo", objectCategory="computer")
    assert "No account is named jo" in _act(_connector(slapd, **ACTIVE_DIRECTORY), "jo").error


@pytest.mark.parametrize(
    ("before", "own", "afterwards"),
    [("", "", []), ("false", "", ["false"]), ("", "false", ["false"])],
)
def test_an_attribute_of_the_operators_is_set_and_put_back(slapd, before, own, afterwards):
    slapd.change("jo", nsAccountLock=before)
    connector = _connector(slapd, **NS_ACCOUNT_LOCK, enabled_value=own)
    assert _states(_act(connector, "jo")) == {JO: "disabled"}
    assert slapd.values("jo", "nsAccountLock") == ["true"]
    assert _states(_act(connector, undo=True)) == {JO: "enabled"}
    assert slapd.values("jo", "nsAccountLock") == afterwards


def test_the_test_button_signs_in_looks_and_changes_nothing(slapd):
    connector = _connector(slapd)
    found = connectors.test(connector_id=connector.id, actor=OPERATOR)
    assert found == {"is_working": True, "detail": f"Signed in as dn:{SOC}; {BASE} is there and has accounts"}
    assert slapd.lets_in("jo")


def test_the_test_button_doubts_a_lock_that_no_policy_looks_at(slapd):
    connector = _connector(slapd)
    slapd.change_policy(pwdLockout="FALSE")
    assert _states(_act(connector, "jo")) == {JO: "disabled"}
    assert slapd.lets_in("jo")
    found = connectors.test(connector_id=connector.id, actor=OPERATOR)
    assert "without one a lock locks nobody out" in found["detail"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_dn": f"ou=none,{BASE}"}, f"there is no ou=none,{BASE}, or it may not be read"),
        ({"user_filter": "(uid=nobody)"}, "no account is to be seen"),
        ({"user_filter": "uid=nobody"}, "uid=nobody is no filter (RFC 4515)"),
        ({"password": "wrong"}, "invalidCredentials"),
    ],
)
def test_the_test_button_says_what_stands_in_the_way(slapd, changes, says):
    found = connectors.test(connector_id=_connector(slapd, **changes).id, actor=OPERATOR)
    assert not found["is_working"]
    assert says in found["detail"]


def test_a_run_disables_once_somebody_agrees_and_its_rollback_enables(slapd):
    _connector(slapd)
    disabling = {
        "name": "disable",
        "action": "disable_user",
        "parameters": {"users": "{{ alert.users }}"},
        "rollback": {"action": "disable_user"},
    }
    hold = {"name": "hold", "action": "isolate_host", "parameters": {"hosts": ["ws-12"]}}
    ada = somebody("ada")
    execution = begin(write(disabling, hold), ada)
    work_off()
    assert slapd.lets_in("jo")
    approvals.approve(approval_id=Approval.objects.get().id, reason="seen", actor=somebody("grace"))
    work_off()
    assert (slapd.lets_in("jo"), statuses(execution)["hold"]) == (False, "awaiting_approval")
    executions.cancel(execution_id=execution.id, actor=ada, rollback=True)
    work_off()
    assert now(execution).status == "rolled_back"
    assert slapd.lets_in("jo")


def test_a_password_goes_in_over_the_api_and_never_comes_out(slapd):
    operator = ApiClient("operator")
    body = {"name": "directory", "kind": "ldap", "settings": slapd.settings | {"protected": ["svc-*"]}}
    made = operator.call("POST", "/connectors", body)
    assert made.status_code == 201, made.content
    assert (made.json()["actions"], made.json()["secrets"]) == (["disable_user"], ["password"])
    connector = Connector.objects.get(name="directory")
    page = signed_in("operator").get(f"/admin/agents/connector/{connector.pk}/change/")
    shown = [made.content, operator.call("GET", f"/connectors/{connector.pk}").content, page.content]
    assert not any(SOC_PASSWORD.encode() in content for content in shown)
    assert slapd.settings["url"] in text_of(page)
    operator.call("PATCH", f"/connectors/{connector.pk}", {"settings": {"protected": ["svc-*", "root"]}})
    assert _states(_act(Connector.objects.get(pk=connector.pk), "jo")) == {JO: "disabled"}


def test_a_directory_is_added_from_the_consoles_form(slapd):
    client = signed_in("operator")
    assert 'name="settings.scheme"' in text_of(client.get("/admin/agents/connector/add/", {"kind": "ldap"}))
    lists = {"settings.protected": f"svc-*\n*,ou=admins,{BASE}", "settings.security": "tls"}
    given = {"name": "directory", "kind": "ldap"} | {
        f"settings.{name}": value for name, value in slapd.settings.items()
    }
    shown = text_of(client.post("/admin/agents/connector/add/", given | lists, follow=True))
    assert SOC_PASSWORD not in shown
    connector = Connector.objects.get(name="directory")
    assert connector.settings["protected"] == ["svc-*", f"*,ou=admins,{BASE}"]
    assert "is there and has accounts" in text_of(
        client.post(f"/admin/agents/connector/{connector.pk}/do/test/", follow=True)
    )
    assert _states(_act(connector, "jo")) == {JO: "disabled"}
    wrong = given | lists | {"name": "other", "settings.ca_pem": "nonsense"}
    shown = text_of(client.post("/admin/agents/connector/add/", wrong))
    assert "This is no certificate in PEM" in shown
    assert SOC_PASSWORD not in shown


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://127.0.0.1"},
        {"url": "ldap://jo:secret@127.0.0.1"},
        {"url": "ldap://127.0.0.1/dc=corp?uid?sub"},
        {"url": "ldap://127.0.0.1:99999"},
        {"url": "ldap://[::1"},
        {"url": "ldap://:389"},
        {"url": "ldaps://127.0.0.1", "security": "none"},
        {"security": "perhaps"},
        {"password": ""},
        {"bind_dn": ""},
        {"ca_pem": "not a certificate"},
        {"scheme": "nis"},
        {"scheme": "attribute"},
        {"scheme": "attribute", "attribute": "nsAccountLock"},
        {"attribute": "nsAccountLock"},
        {**NS_ACCOUNT_LOCK, "enabled_value": "TRUE"},
        {"user_attributes": ["uid)(uid=*"]},
        {"user_attributes": ["a", "b", "c", "d", "e", "f"]},
        {"protected": [""]},
    ],
)
def test_settings_that_cannot_work_are_refused(changes):
    usual = {"url": "ldap://127.0.0.1", "bind_dn": SOC, "password": "x", "base_dn": BASE, "scheme": "openldap"}
    assert ldap.Settings.model_validate(usual).scheme == "openldap"
    with pytest.raises(ValidationError):
        ldap.Settings.model_validate(usual | changes)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "OSError"),
        (b"\x30\x05\x30\x03\x02\x01\x01", "does not answer in LDAP"),
        (b"\x30\x84\x7f\xff\xff\xff" + bytes(1024), "more than anybody needs"),
        (_REFUSAL + b"\x0a\x01\x31\x04\x00\x04\x05a\x00\xff\x1b<", "refuses to sign in"),
    ],
)
def test_whatever_a_directory_answers_ends_in_a_sentence(settings, transactional_db, library, answer, says):
    settings.CONNECTOR_NETWORKS = ["127.0.0.0/8"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_for_ever, args=(listener, answer))
        thread.start()
        url = f"ldap://127.0.0.1:{listener.getsockname()[1]}"
        given = {"url": url, "security": "none", "bind_dn": SOC, "password": "x", "base_dn": BASE, "scheme": "openldap"}
        connector = connectors.configure(name="x", kind="ldap", changes={"settings": given}, actor=OPERATOR)
        outcome = _act(connector, "jo", timeout=20)
        thread.join()
    assert outcome.status == "failed"
    assert says in outcome.error
    assert "\0" not in outcome.error
    assert len(outcome.error) <= 2_000


def _answer_for_ever(listener: socket.socket, answer: bytes) -> None:
    """To one caller, until it hangs up: under the number of its message, and zeros without end where they were announced."""
    caller, _ = listener.accept()
    with caller:
        asked = caller.recv(4096)
        if answer.startswith(_REFUSAL):
            body = asked[2 : 4 + asked[3]] + answer
            answer = bytes([0x30, len(body)]) + body
        try:
            caller.sendall(answer)
            while answer.endswith(bytes(8)):
                caller.sendall(bytes(65_536))
            caller.shutdown(socket.SHUT_WR)
            while caller.recv(4096):
                pass
        except OSError:
            return


def test_a_directory_that_answers_a_byte_at_a_time_is_left_when_the_time_is_over(settings, transactional_db, library):
    settings.CONNECTOR_NETWORKS = ["127.0.0.0/8"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_drip, args=(listener,))
        thread.start()
        url = f"ldap://127.0.0.1:{listener.getsockname()[1]}"
        given = {"url": url, "security": "none", "bind_dn": SOC, "password": "x", "base_dn": BASE, "scheme": "openldap"}
        connector = connectors.configure(name="x", kind="ldap", changes={"settings": given}, actor=OPERATOR)
        outcome = _act(connector, "jo", timeout=0.5)
        thread.join()  # it ends when we have hung up
    assert "timed out" in outcome.error or "no answer within" in outcome.error


def _drip(listener: socket.socket) -> None:
    """The beginning of a long message, byte by byte, until its caller hangs up."""
    caller, _ = listener.accept()
    with caller:
        caller.recv(4096)
        try:
            caller.sendall(b"\x30\x84\x00\x0f\xff\xff")
            while True:
                caller.sendall(b"\0")
                time.sleep(0.01)
        except OSError:
            return
