"""Two people who edit one thing in the console: whoever saves last is told first, and loses nothing of what was typed."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from agents.playbooks import authoring, automation, connectors
from agents.playbooks.models import AutomationRule, Connector, Playbook
from aurora.actors import Actor
from aurora.models import AuditEntry
from aurora.seen import Outdated
from tests.cast import ANALYST, OPERATOR
from tests.console_pages import signed_in, text_of

pytestmark = pytest.mark.django_db

BO = Actor(name="bo", role="analyst")
TEXT = "name: {}\nsteps:\n  - name: tell\n    action: notify\n"
ONCE_MORE = "save once more to put yours in its place"


def _typed(form) -> dict[str, object]:
    """What a browser sends of a form as it stands."""
    bound = {field.html_name: field.value() for field in form if field.value() not in (None, False)}
    return {name: str(value) if isinstance(value, int | float) else value for name, value in bound.items()}


def _mail() -> Connector:
    settings: dict[str, object] = {
        "host": "mail.corp.example",
        "sender": "soc@corp.example",
        "username": "soc",
        "password": "secret-word",
    }
    settings |= {"recipients": ["desk@corp.example"]}
    return connectors.configure(name="mail", kind="email", changes={"settings": settings}, actor=OPERATOR)


def _change(row: Connector, **settings: object) -> None:
    connectors.reconfigure(connector_id=row.pk, changes={"settings": settings}, actor=OPERATOR)


def _page(row: Connector) -> str:
    return f"/admin/agents/connector/{row.pk}/edit/"


def test_who_saves_a_connector_second_is_told_who_was_first_and_keeps_what_was_typed():
    row, client = _mail(), signed_in("operator")
    form = _typed(client.get(_page(row)).context["form"])
    _change(row, recipients=["night@corp.example"])
    shown = text_of(client.post(_page(row), form | {"settings.sender": "alerts@corp.example"}))
    assert re.search(r"olga changed this at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", shown)
    assert ONCE_MORE in shown
    assert 'value="alerts@corp.example"' in shown
    assert "It is now: night@corp.example" in shown
    row.refresh_from_db()
    assert (row.settings["recipients"], row.settings["sender"]) == (["night@corp.example"], "soc@corp.example")


def test_having_looked_again_one_saves_and_is_not_asked_twice():
    row, client = _mail(), signed_in("operator")
    form = _typed(client.get(_page(row)).context["form"])
    _change(row, recipients=["night@corp.example"])
    again = _typed(client.post(_page(row), form | {"settings.sender": "alerts@corp.example"}).context["form"])
    assert client.post(_page(row), again | {"settings.recipients": "night@corp.example"}).status_code == 302
    row.refresh_from_db()
    assert (row.settings["recipients"], row.settings["sender"]) == (["night@corp.example"], "alerts@corp.example")


def test_who_is_overtaken_again_meanwhile_is_told_again():
    row, client = _mail(), signed_in("operator")
    form = _typed(client.get(_page(row)).context["form"])
    _change(row, recipients=["night@corp.example"])
    again = _typed(client.post(_page(row), form).context["form"])
    _change(row, recipients=["day@corp.example"])
    assert "It is now: day@corp.example" in text_of(client.post(_page(row), again))


def test_another_secret_is_a_change_and_is_told_to_nobody():
    row, client = _mail(), signed_in("operator")
    form = _typed(client.get(_page(row)).context["form"])
    _change(row, password="another-word")
    shown = text_of(client.post(_page(row), form | {"settings.password": "third-word"}))
    assert ONCE_MORE in shown
    assert not re.search("secret-word|another-word|third-word", shown)
    assert connectors.wired(Connector.objects.get(pk=row.pk)).settings.password == "another-word"


def test_a_switch_and_a_test_are_in_nobodys_way():
    row, client = _mail(), signed_in("operator")
    form = _typed(client.get(_page(row)).context["form"])
    connectors.reconfigure(connector_id=row.pk, changes={"enabled": False}, actor=OPERATOR)
    connectors.test(connector_id=row.pk, actor=OPERATOR)
    assert client.post(_page(row), form | {"settings.sender": "alerts@corp.example"}).status_code == 302
    row.refresh_from_db()
    assert (row.enabled, row.settings["sender"]) == (False, "alerts@corp.example")


def test_of_two_who_save_at_once_the_lock_lets_one_through():
    row = _mail()
    seen = connectors.version_of(row)
    _change(row, recipients=["night@corp.example"])
    with pytest.raises(Outdated, match="olga"):
        connectors.reconfigure(connector_id=row.pk, changes={"priority": 3}, actor=OPERATOR, seen_as=seen)
    assert AuditEntry.objects.filter(action="connector.configured").count() == 1


def _book(name: str = "drill") -> Playbook:
    return authoring.import_playbook(text=TEXT.format(name), replaces=False, actor=ANALYST)


def _editor(book: Playbook) -> str:
    return f"/admin/agents/playbook/add/?from={book.pk}"


def test_who_saves_a_playbook_second_is_told_who_was_first_and_keeps_the_text():
    book, client = _book(), signed_in("analyst")
    form = _typed(client.get(_editor(book)).context["form"])
    authoring.edit_playbook(playbook_id=book.id, changes={"title": "Theirs"}, actor=ANALYST)
    mine = f"{form['text']}\n# mine\n"
    shown = text_of(client.post(_editor(book), form | {"text": mine}))
    assert "ana changed this at" in shown
    assert "# mine" in shown
    assert "version 2" in shown
    book.refresh_from_db()
    assert (book.version, book.title) == (2, "Theirs")


def test_a_playbook_that_was_looked_at_again_is_saved():
    book, client = _book(), signed_in("analyst")
    form = _typed(client.get(_editor(book)).context["form"])
    authoring.edit_playbook(playbook_id=book.id, changes={"title": "Theirs"}, actor=ANALYST)
    mine = str(form["text"]).replace("steps:", "title: Mine\nsteps:")
    again = _typed(client.post(_editor(book), form | {"text": mine}).context["form"])
    assert client.post(_editor(book), again).status_code == 302
    book.refresh_from_db()
    assert (book.version, book.title) == (3, "Mine")


def test_of_a_file_too_the_text_is_kept():
    book, client = _book(), signed_in("analyst")
    form = _typed(client.get(_editor(book)).context["form"])
    authoring.edit_playbook(playbook_id=book.id, changes={"title": "Theirs"}, actor=ANALYST)
    file = SimpleUploadedFile("mine.yaml", f"{form.pop('text')}# mine\n".encode())
    assert "# mine" in text_of(client.post(_editor(book), form | {"file": file}))


def test_another_name_in_the_text_is_another_playbook_and_no_conflict():
    book, other, client = _book(), _book("other"), signed_in("analyst")
    form = _typed(client.get(_editor(book)).context["form"])
    authoring.edit_playbook(playbook_id=book.id, changes={"title": "Theirs"}, actor=ANALYST)
    text = TEXT.format(other.name).replace("steps:", "title: Mine\nsteps:")
    assert client.post(_editor(book), form | {"text": text}).status_code == 302
    other.refresh_from_db()
    assert other.title == "Mine"


def _rule() -> AutomationRule:
    return automation.write_rule(
        name="loud", playbook_id=_book().id, condition='severity == "high"', changes={}, actor=ANALYST
    )


def test_who_saves_a_rule_second_is_told_who_was_first_and_keeps_what_was_typed():
    rule, client = _rule(), signed_in("analyst")
    page = f"/admin/agents/automationrule/{rule.pk}/edit/"
    form = _typed(client.get(page).context["form"])
    automation.edit_rule(rule_id=rule.id, changes={"condition": "is_it"}, actor=BO)
    shown = text_of(client.post(page, form | {"condition": "is_ot"}))
    assert "bo changed this at" in shown
    assert "is_ot</textarea>" in shown
    assert "It is now: is_it" in shown
    rule.refresh_from_db()
    assert rule.condition == "is_it"


def test_a_rule_that_was_switched_meanwhile_is_saved():
    rule, client = _rule(), signed_in("analyst")
    page = f"/admin/agents/automationrule/{rule.pk}/edit/"
    form = _typed(client.get(page).context["form"])
    automation.edit_rule(rule_id=rule.id, changes={"enabled": True}, actor=BO)
    assert client.post(page, form | {"condition": "is_ot"}).status_code == 302
    rule.refresh_from_db()
    assert (rule.condition, rule.enabled) == ("is_ot", True)
