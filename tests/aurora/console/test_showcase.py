"""`AURORA_MODE=demo`: what is shown are fixtures, and behind them are rows that nobody may change unseen."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from agents.playbooks.models import BlocklistEntry
from tests.cast import PASSWORD
from tests.console_pages import make_alert, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _showcase(settings) -> None:
    settings.MODE = "demo"


def _refusal(answer) -> str:
    assert (answer.status_code, "Content-Security-Policy" in answer) == (403, True)
    text: str = answer.content.decode()
    return text


def test_a_button_pressed_on_an_older_page_changes_nothing_and_says_why():
    entry = BlocklistEntry.objects.create(type="ip", value="203.0.113.9", key="drill")
    pressed = signed_in("analyst").post(f"/admin/agents/blocklistentry/{entry.pk}/do/lift/", {"text": "ours"})
    assert "This is a showcase" in _refusal(pressed)
    entry.refresh_from_db()
    assert entry.lifted_at is None


def test_neither_rows_of_a_list_nor_ones_own_password_are_changed():
    browser, alert = signed_in("analyst"), make_alert(status="new")
    _refusal(browser.post("/admin/cases/alert/", {"action": "acknowledge", "_selected_action": [str(alert.id)]}))
    new = "another-long-pass-7"
    _refusal(
        browser.post("/admin/password_change/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    )
    alert.refresh_from_db()
    assert alert.acknowledged_at is None
    assert User.objects.get(pk=browser.session["_auth_user_id"]).check_password(PASSWORD)


def test_one_signs_out_of_it():
    browser = signed_in("analyst")
    assert browser.post("/admin/logout/").status_code != 403
    assert "_auth_user_id" not in browser.session
