"""Giving alerts and cases away in the console: to whom, into which case, and by whom it may be done."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User

from aurora.actors import Actor
from aurora.models import AuditEntry
from cases import case_page
from cases.lifecycle import comment, open_case, promote_alert
from cases.models import Alert, Case
from tests.cast import ANALYST, make_user
from tests.console_pages import make_alert, signed_in, text_of

pytestmark = pytest.mark.django_db

LIST = "/admin/cases/alert/"


def _page(alert: Alert) -> str:
    return f"{LIST}{alert.pk}/change/"


def _do(alert: Alert, name: str, role: str = "analyst", **form: str) -> str:
    return text_of(signed_in(role).post(f"{LIST}{alert.pk}/do/{name}/", form, follow=True))


def test_an_alert_is_given_to_an_analyst_and_back_to_nobody():
    alert, anna = make_alert(), make_user("analyst", "anna")
    assert "Alert assigned." in _do(alert, "assign", choice="anna")
    assert Alert.objects.get(pk=alert.pk).assignee == anna
    assert '<option value="anna" selected>' in text_of(signed_in("analyst").get(_page(alert)))
    _do(alert, "assign", choice="")
    assert Alert.objects.get(pk=alert.pk).assignee is None


def test_alerts_are_offered_to_those_who_may_work_on_them():
    make_user("analyst", "anna")
    make_user("viewer", "vera")
    User.objects.filter(pk=make_user("analyst", "gone").pk).update(is_active=False)
    shown = text_of(signed_in("analyst").get(_page(make_alert())))
    offered = [name for name in ("anna", "vera", "gone") if f'<option value="{name}"' in shown]
    assert offered == ["anna"]


def test_a_name_that_nobody_has_is_refused_in_words():
    assert "no active user" in _do(make_alert(), "assign", choice="nobody-at-all")


def test_an_alert_joins_an_open_case_from_its_page():
    alert, case = make_alert(), open_case(title="Beaconing", severity="low", actor=ANALYST)
    assert f'<option value="{case.pk}">{case.reference} Beaconing' in text_of(signed_in("analyst").get(_page(alert)))
    assert "added to the case" in _do(alert, "link", choice=str(case.pk))
    assert Alert.objects.get(pk=alert.pk).case == case


@pytest.mark.parametrize(
    ("choice", "said"), [("nonsense", "Choose a case"), ("01890000-0000-7000-8000-000000000000", "Not Found")]
)
def test_a_case_that_is_none_is_refused_in_words(choice, said):
    assert said in _do(make_alert(), "link", choice=choice)


def test_an_alert_that_joined_a_case_meanwhile_is_refused_in_words():
    alert, case = make_alert(), open_case(title="Beaconing", severity="low", actor=ANALYST)
    promote_alert(alert_id=alert.pk, actor=ANALYST)
    assert "already belongs to case" in _do(alert, "link", choice=str(case.pk))


def test_an_alert_is_escalated_and_a_resolved_one_reopened():
    alert = make_alert()
    _do(alert, "escalate")
    assert Alert.objects.get(pk=alert.pk).status == "escalated"
    _do(alert, "resolve")
    _do(alert, "reopen")
    assert Alert.objects.get(pk=alert.pk).status == "investigating"


@pytest.mark.parametrize("name", ["assign", "link", "escalate", "reopen"])
@pytest.mark.parametrize("role", ["operator", "viewer"])
def test_those_who_read_alone_are_offered_nothing_and_refused(role, name):
    alert = make_alert(status="resolved")
    client = signed_in(role)
    assert f"/do/{name}/" not in text_of(client.get(_page(alert)))
    assert client.post(f"{LIST}{alert.pk}/do/{name}/").status_code == 403


def test_giving_it_again_to_whom_it_has_leaves_no_trace():
    anna = make_user("analyst", "anna")
    alert, case = make_alert(), open_case(title="Beaconing", severity="low", actor=ANALYST)
    client = signed_in("analyst")
    for _ in range(2):
        client.post(f"{LIST}{alert.pk}/do/assign/", {"choice": anna.username})
        client.post(f"/admin/cases/case/{case.pk}/do/assign/", {"choice": anna.username})
    assert AuditEntry.objects.filter(action__in=["alert.assigned", "case.edited"]).count() == 2
    assert case.timeline.filter(kind="assigned").count() == 1


def test_an_indicator_leads_only_those_on_who_may_see_it():
    alert = make_alert(iocs=["203.0.113.7"])
    assert "/admin/cases/ioc/" in text_of(signed_in("viewer").get(_page(alert)))
    shown = text_of(signed_in("operator").get(_page(alert)))
    assert "203[.]0[.]113[.]7" in shown
    assert "/admin/cases/ioc/" not in shown


def test_a_case_is_given_to_an_analyst():
    case, anna = open_case(title="Beaconing", severity="low", actor=ANALYST), make_user("analyst", "anna")
    signed_in("analyst").post(f"/admin/cases/case/{case.pk}/do/assign/", {"choice": "anna"})
    assert Case.objects.get(pk=case.pk).assignee == anna


def test_a_blank_comment_is_refused_in_words():
    case = open_case(title="Beaconing", severity="low", actor=ANALYST)
    client = signed_in("analyst")
    shown = text_of(client.post(f"/admin/cases/case/{case.pk}/do/comment/", {"text": "  "}, follow=True))
    assert "A comment needs text" in shown


def test_a_case_is_not_closed_by_a_press_without_thought():
    case = open_case(title="Beaconing", severity="low", actor=ANALYST)
    shown = text_of(signed_in("analyst").get(f"/admin/cases/case/{case.pk}/change/"))
    offered = re.findall(r'<option value="(in_progress|closed)"', shown)
    assert offered == ["in_progress", "closed"]


def test_a_persons_name_is_shown_as_it_is_written():
    case = open_case(title="Beaconing", severity="low", actor=Actor(name="j_doe", role="analyst"))
    shown = text_of(signed_in("viewer").get(f"/admin/cases/case/{case.pk}/change/"))
    assert "<span>j_doe</span>" in shown


def test_a_timeline_too_long_for_the_page_says_what_is_left_out(monkeypatch):
    monkeypatch.setattr(case_page, "TIMELINE_SHOWN", 2)
    case = open_case(title="Beaconing", severity="low", actor=ANALYST)
    for text in ("one", "two"):
        comment(case_id=case.pk, text=text, actor=ANALYST)
    assert "1 earlier entry is not shown" in text_of(signed_in("viewer").get(f"/admin/cases/case/{case.pk}/change/"))


def test_no_case_is_chosen_until_somebody_chooses():
    open_case(title="Beaconing", severity="low", actor=ANALYST)
    shown = text_of(signed_in("analyst").get(_page(make_alert())))
    assert '<option value="" selected>Choose a case</option>' in shown


def test_an_alert_that_has_ended_waits_for_nobody():
    assert "/do/acknowledge/" not in text_of(signed_in("analyst").get(_page(make_alert(status="resolved"))))


def test_of_a_long_story_the_newest_is_open_and_nothing_is_lost():
    case = open_case(title="Beaconing", severity="low", actor=ANALYST)
    for number in range(case_page.TIMELINE_OPEN + 5):
        comment(case_id=case.pk, text=f"note number {number}.", actor=ANALYST)
    shown = text_of(signed_in("viewer").get(f"/admin/cases/case/{case.pk}/change/"))
    newest, earlier = shown.split('class="au-earlier"')
    assert f"note number {case_page.TIMELINE_OPEN + 4}." in newest
    assert "note number 4." not in newest
    assert all(f"note number {number}." in earlier for number in range(5))
