"""The ground floor's pages: read by those whom the table of roles names, changed by verbs alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from aurora.identity import api_keys
from aurora.models import ApiKey, AuditEntry, DeadLetter, OutboxEvent
from tests.cast import ADMIN, PASSWORD, ApiClient, make_user
from tests.console_pages import signed_in, text_of

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"


def _letter() -> DeadLetter:
    return DeadLetter.objects.create(
        stream="aurora:alerts",
        group="orchestrator",
        entry_id="1-0",
        type="alert.created",
        error=HOSTILE,
        data=HOSTILE,
        deliveries=5,
    )


@pytest.mark.parametrize("model", ["auditentry", "apikey"])
@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("analyst", 403), ("operator", 403), ("viewer", 403)])
def test_credentials_and_the_audit_trail_are_the_admins(model, role, status):
    assert signed_in(role).get(f"/admin/aurora/{model}/").status_code == status


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("analyst", 403), ("viewer", 403)])
def test_accounts_are_the_admins(role, status):
    assert signed_in(role).get("/admin/auth/user/").status_code == status


def test_a_dead_letter_shows_its_error_as_text():
    shown = text_of(signed_in("operator").get(f"/admin/aurora/deadletter/{_letter().pk}/change/"))
    assert HOSTILE not in shown
    assert "&lt;script&gt;" in shown


def test_a_list_of_dead_letters_shows_errors_as_text():
    _letter()
    assert HOSTILE not in text_of(signed_in("operator").get("/admin/aurora/deadletter/"))


def test_waiting_dead_letters_can_be_told_from_those_put_back():
    _letter()
    client = signed_in("operator")
    assert "1-0" in text_of(client.get("/admin/aurora/deadletter/?redriven=no"))
    assert "1-0" not in text_of(client.get("/admin/aurora/deadletter/?redriven=yes"))


def _readable_letter() -> DeadLetter:
    letter = _letter()
    DeadLetter.objects.filter(pk=letter.pk).update(event_id="01890000-0000-7000-8000-000000000001", data="{}")
    return letter


def test_an_operator_puts_a_dead_letter_back():
    letter = _readable_letter()
    signed_in("operator").post(f"/admin/aurora/deadletter/{letter.pk}/do/redrive/")
    assert DeadLetter.objects.get(pk=letter.pk).redriven_at
    assert OutboxEvent.objects.filter(addressee="orchestrator").exists()


def test_a_letter_too_broken_to_be_put_back_says_so():
    shown = text_of(signed_in("operator").post(f"/admin/aurora/deadletter/{_letter().pk}/do/redrive/", follow=True))
    assert "cannot be put back" in shown


def test_a_viewer_puts_nothing_back():
    letter = _readable_letter()
    assert signed_in("viewer").post(f"/admin/aurora/deadletter/{letter.pk}/do/redrive/").status_code == 403


def test_the_page_of_an_api_key_shows_no_hash():
    key, secret = api_keys.create(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    shown = text_of(signed_in("admin").get(f"/admin/aurora/apikey/{key.pk}/change/"))
    assert key.prefix in shown
    assert key.key_hash not in shown
    assert secret not in shown


def test_a_key_is_revoked_by_its_verb():
    key, _ = api_keys.create(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    answer = signed_in("admin").post(f"/admin/aurora/apikey/{key.pk}/do/revoke/")
    assert answer.status_code == 302
    assert ApiKey.objects.get(pk=key.pk).revoked_at
    assert AuditEntry.objects.filter(action="api_key.revoked").exists()


def test_an_event_that_waits_shows_its_payload_as_text():
    event = OutboxEvent.objects.create(stream="s", type="t", aggregate="a", data='{"title": "<script>"}')
    assert '"<script>"' not in text_of(signed_in("admin").get(f"/admin/aurora/outboxevent/{event.pk}/change/"))


def test_an_audit_entry_shows_before_and_after():
    entry = AuditEntry.objects.create(
        actor="ana", action="alert.assigned", target_type="alert", target_id="7", before={"a": 1}, after={"a": HOSTILE}
    )
    shown = text_of(signed_in("admin").get(f"/admin/aurora/auditentry/{entry.pk}/change/"))
    assert "alert.assigned" in shown
    assert HOSTILE not in shown


def test_the_page_of_an_account_shows_its_role_and_no_password():
    user = make_user("analyst", "anton")
    shown = text_of(signed_in("admin").get(f"/admin/auth/user/{user.pk}/change/"))
    assert "au-role-analyst" in shown
    assert User.objects.get(pk=user.pk).password not in shown


def test_a_role_shows_what_it_may():
    group = make_user("viewer").groups.get()
    assert "alerts:read" in text_of(signed_in("admin").get(f"/admin/auth/group/{group.pk}/change/"))


@pytest.mark.parametrize("path", ["aurora/outboxevent/add/", "aurora/auditentry/add/", "auth/group/add/"])
def test_nothing_is_added_by_hand(path):
    assert signed_in("admin").get(f"/admin/{path}").status_code == 403


def test_nothing_is_saved_through_a_page():
    letter = _letter()
    assert signed_in("admin").post(f"/admin/aurora/deadletter/{letter.pk}/change/", {"error": "x"}).status_code == 403


def test_nothing_is_deleted_by_hand():
    letter = _letter()
    assert signed_in("admin").post(f"/admin/aurora/deadletter/{letter.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_row_that_is_not_there_is_not_found():
    assert (
        signed_in("admin").get("/admin/aurora/deadletter/01890000-0000-7000-8000-000000000000/change/").status_code
        == 404
    )


def test_a_key_that_is_no_key_is_not_found():
    assert signed_in("admin").get("/admin/aurora/deadletter/nonsense/change/").status_code == 404


def _account(role: str) -> tuple[User, str]:
    user = make_user(role)
    return user, f"/admin/auth/user/{user.pk}/do"


def test_an_account_is_added_by_its_verb():
    form = {"username": "nina", "password": "a-long-enough-pass", "role": "operator"}
    signed_in("admin").post("/admin/auth/user/add/", form)
    assert User.objects.get(username="nina").groups.get().name == "operator"
    assert AuditEntry.objects.filter(action="user.created").exists()


@pytest.mark.parametrize("password", ["xq7~", "<i>q"])
def test_a_password_that_is_refused_is_refused_in_words(password):
    form = {"username": "nina", "password": password, "role": "operator"}
    shown = text_of(signed_in("admin").post("/admin/auth/user/add/", form))
    assert "too short" in shown
    assert password not in shown


def test_a_name_that_is_taken_is_refused_in_words():
    make_user("viewer", "nina")
    form = {"username": "nina", "password": "a-long-enough-pass", "role": "operator"}
    assert "exists" in text_of(signed_in("admin").post("/admin/auth/user/add/", form))


@pytest.mark.parametrize("role", ["analyst", "operator", "viewer"])
def test_only_the_admin_adds_accounts(role):
    assert signed_in(role).get("/admin/auth/user/add/").status_code == 403


def test_a_role_is_set_by_its_verb():
    user, url = _account("viewer")
    signed_in("admin").post(f"{url}/role/", {"choice": "analyst"})
    assert user.groups.get().name == "analyst"


def test_a_role_that_is_none_is_refused():
    user, url = _account("viewer")
    assert "Choose a role" in text_of(signed_in("admin").post(f"{url}/role/", {"choice": "king"}, follow=True))
    assert user.groups.get().name == "viewer"


def test_the_last_admin_stays():
    client = signed_in("admin")
    last = User.objects.get(pk=client.session["_auth_user_id"])
    shown = text_of(client.post(f"/admin/auth/user/{last.pk}/do/deactivate/", follow=True))
    assert "last admin" in shown
    assert User.objects.get(pk=last.pk).is_active


def test_an_account_is_deleted_by_its_verb():
    user, url = _account("viewer")
    signed_in("admin").post(f"{url}/delete/")
    assert not User.objects.filter(pk=user.pk).exists()


def test_a_lost_password_is_replaced_by_its_verb():
    user, url = _account("viewer")
    form = f"{url.removesuffix('/do')}/password/"
    theirs, admin = Client(), signed_in("admin")
    theirs.force_login(user)
    assert form in text_of(admin.get(f"{url.removesuffix('/do')}/change/"))
    assert "too short" in text_of(admin.post(form, {"password": "xq7~"}))
    shown = text_of(admin.post(form, {"password": "another-long-pass-7"}, follow=True))
    assert "signed out everywhere" in shown
    assert User.objects.get(pk=user.pk).check_password("another-long-pass-7")
    assert AuditEntry.objects.get(action="user.edited").after == {"password": "changed"}
    assert theirs.get("/admin/").status_code == 302


@pytest.mark.parametrize("role", ["analyst", "operator", "viewer"])
def test_only_the_admin_replaces_passwords(role):
    user, url = _account("viewer")
    form = {"password": "another-long-pass-7"}
    assert signed_in(role).post(f"{url.removesuffix('/do')}/password/", form).status_code == 403
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)


def _own_password(browser: Client, old: str = PASSWORD, new: str = "another-long-pass-7") -> Any:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return browser.post("/admin/password_change/", form, follow=True)


def test_whoever_changes_their_own_password_stays_signed_in_here_alone_and_the_trail_has_it():
    here, elsewhere = signed_in("viewer"), Client()
    user = User.objects.get(pk=here.session["_auth_user_id"])
    elsewhere.force_login(user)
    token = ApiClient().call("POST", "/auth/token", {"username": user.username, "password": PASSWORD}).json()
    assert "successful" in text_of(_own_password(here))
    entry = AuditEntry.objects.latest("at")
    told = (entry.action, entry.actor, entry.target_id, entry.after)
    assert told == ("user.edited", user.username, str(user.pk), {"password": "changed"})
    assert here.get("/admin/").status_code == 200
    assert elsewhere.get("/admin/").status_code == 302
    again = ApiClient().call("POST", "/auth/refresh", {"refresh_token": token["refresh_token"]})
    assert again.status_code == 401


@pytest.mark.parametrize(("old", "new"), [("not-it-at-all-9", "another-long-pass-7"), (PASSWORD, "xq7~")])
def test_a_password_is_not_changed_without_the_old_one_or_to_one_that_is_refused(old, new):
    browser = signed_in("viewer")
    assert "successful" not in text_of(_own_password(browser, old, new))
    assert User.objects.get(pk=browser.session["_auth_user_id"]).check_password(PASSWORD)
    assert not AuditEntry.objects.filter(action="user.edited").exists()


def test_the_role_that_an_account_has_is_the_chosen_one():
    _, url = _account("viewer")
    shown = text_of(signed_in("admin").get(url.removesuffix("/do") + "/change/"))
    assert '<option value="viewer" selected>' in shown
    assert shown.count(" selected>") == 1


def test_an_account_without_a_role_is_given_none_by_a_press_without_thought():
    user = User.objects.create_user("clerk", is_staff=True)
    client = signed_in("admin")
    assert '<option value="" selected>No role' in text_of(client.get(f"/admin/auth/user/{user.pk}/change/"))
    assert "Choose a role" in text_of(client.post(f"/admin/auth/user/{user.pk}/do/role/", {"choice": ""}, follow=True))


def test_what_cannot_be_undone_asks_again():
    _, url = _account("viewer")
    shown = text_of(signed_in("admin").get(url.removesuffix("/do") + "/change/"))
    (asking,) = re.findall(r'<details class="au-confirm">.*?</details>', shown, re.DOTALL)
    assert f'action="{url}/delete/"' in asking
    assert "Delete for good" in asking


def test_an_api_key_keeps_its_capitals_in_messages():
    key, _ = api_keys.create(name="sensor", role="api_service", expires_at=None, actor=ADMIN)
    assert "API key revoked." in text_of(
        signed_in("admin").post(f"/admin/aurora/apikey/{key.pk}/do/revoke/", follow=True)
    )
