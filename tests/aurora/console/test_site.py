"""Who is let into the console, what its sidebar offers, what its first page tells."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.template.loader import get_template
from django.test import Client

from aurora.console.site import Console
from aurora.models import DeadLetter
from tests.cast import PASSWORD, make_user
from tests.console_pages import make_alert, signed_in, text_of

pytestmark = pytest.mark.django_db

PEOPLE = ("admin", "analyst", "operator", "viewer")


def test_the_site_of_every_page_is_ours():
    assert isinstance(admin.site, Console) or type(admin.site._wrapped) is Console  # type: ignore[attr-defined]


@pytest.mark.parametrize("role", PEOPLE)
def test_people_with_a_role_see_the_overview(role):
    assert "Alerts per hour" in text_of(signed_in(role).get("/admin/"))


def test_strangers_are_sent_to_sign_in():
    assert Client().get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"


def test_a_staff_flag_without_a_role_opens_nothing():
    client = Client()
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get("/admin/").status_code == 302


def test_a_role_without_the_staff_flag_opens_nothing():
    user = make_user("analyst")
    User.objects.filter(pk=user.pk).update(is_staff=False)
    client = Client()
    client.force_login(user)
    assert client.get("/admin/").status_code == 302


def test_signing_in_leads_to_the_page_that_was_asked_for():
    make_user("viewer", "vera")
    answer = Client().post("/admin/login/?next=/admin/cases/alert/", {"username": "vera", "password": PASSWORD})
    assert answer.headers["Location"] == "/admin/cases/alert/"


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_way_in_has_the_consoles_policy(method):
    assert "script-src 'self'" in getattr(Client(), method)("/admin/login/").headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "next_page", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_nowhere_else(next_page):
    make_user("viewer", "vera")
    form = {"username": "vera", "password": PASSWORD, "next": next_page}
    assert Client().post("/admin/login/", form).headers["Location"] == "/admin/"


def test_the_sidebar_offers_only_what_the_role_may_see():
    shown = text_of(signed_in("operator").get("/admin/"))
    assert "/admin/cases/alert/" in shown
    assert "/admin/cases/ioc/" not in shown
    assert "/admin/aurora/auditentry/" not in shown


def test_a_badge_counts_dead_letters_that_wait():
    DeadLetter.objects.create(stream="s", group="g", entry_id="1-0", error="x", deliveries=5)
    shown = text_of(signed_in("admin").get("/admin/aurora/outboxevent/"))
    assert "bg-orange-100" in shown


def test_nothing_comes_from_elsewhere():
    shown = text_of(signed_in("admin").get("/admin/"))
    assert 'src="http' not in shown
    assert 'href="http' not in shown


def test_the_overview_costs_the_same_whatever_it_shows(django_assert_max_num_queries):
    client = signed_in("admin")
    client.get("/admin/")
    with django_assert_max_num_queries(24):
        client.get("/admin/")


def test_the_root_leads_to_the_live_page():
    assert Client().get("/").headers["Location"] == "/dashboard/"


def test_no_inline_script_runs_on_any_page():
    client = signed_in("admin")
    for path in ("/admin/", "/admin/cases/alert/", "/admin/aurora/outboxevent/"):
        policy = client.get(path).headers["Content-Security-Policy"]
        (scripts,) = [part for part in policy.split("; ") if part.startswith("script-src")]
        assert scripts == "script-src 'self' 'unsafe-eval'"


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("cases/alert/", "Alerts"),
        ("aurora/auditentry/", "Audit trail"),
        ("auth/group/", "Roles"),
        ("cases/ingestreceipt/", "Deliveries"),
    ],
)
def test_a_list_is_called_as_the_sidebar_calls_it(path, title):
    shown = text_of(signed_in("admin").get(f"/admin/{path}"))
    assert re.search(rf"<title>\s*{title} \| AuroraSOC", shown)
    assert f">{title}</h1>" in shown


def test_a_row_says_which_list_it_belongs_to_and_its_own_name_as_it_is_written():
    user = make_user("viewer", "vera")
    shown = text_of(signed_in("admin").get(f"/admin/auth/user/{user.pk}/change/"))
    assert '<a href="/admin/auth/user/">Users</a>' in shown
    assert ">vera</h1>" in shown


def test_the_overview_tells_how_far_each_group_of_the_bus_is(redis_client):
    redis_client.xadd("aurora:alerts", {"id": "e", "type": "alert.created", "data": "{}"})
    redis_client.xgroup_create("aurora:alerts", "orchestrator", id="0")
    shown = text_of(signed_in("analyst").get("/admin/"))
    assert '<th scope="row">orchestrator</th>' in shown
    row = shown[shown.index("aurora:alerts") : shown.index("</tr>", shown.index("aurora:alerts"))]
    # Consumers, waiting, in hand, taken over, buried.
    assert re.findall(r">(\d+)</td>", row) == ["0", "1", "0", "0", "0"]


def test_the_sidebar_alone_has_what_a_reader_may_see():
    shown = text_of(signed_in("viewer").get("/admin/sidebar/"))
    assert 'href="/admin/cases/alert/"' in shown
    assert "/admin/auth/user/" not in shown
    assert "<html" not in shown


def test_the_overview_comes_without_redis(own_redis):
    own_redis.stop()
    assert "Redis does not answer." in text_of(signed_in("analyst").get("/admin/"))


def test_the_list_of_an_apps_models_is_the_overview():
    assert signed_in("viewer").get("/admin/cases/").headers["Location"] == "/admin/"


def test_what_is_pressed_can_be_reached_with_the_keyboard_and_has_a_name():
    shown = text_of(signed_in("analyst").get("/admin/cases/alert/"))
    assert 'aria-label="Search: Title, IOC, host, user, technique or id"' in shown
    assert '<button type="submit" aria-label="Search">' in shown
    assert 'aria-label="Open the menu"' in shown
    assert '<button type="button" class="au-button lg:ml-auto"' in shown  # the filters


@pytest.mark.parametrize(
    ("role", "path", "status", "heading"),
    [
        ("viewer", "/admin/cases/alert/nonsense/change/", 404, "There is nothing here"),
        ("viewer", "/nowhere", 404, "There is nothing here"),
        ("viewer", "/admin/auth/user/", 403, "Not for your role"),
    ],
)
def test_an_error_page_says_what_is_wrong_and_leads_on(role, path, status, heading):
    answer = signed_in(role).get(path)
    assert answer.status_code == status
    assert heading in answer.content.decode()
    assert 'href="/admin/"' in answer.content.decode()


def test_a_form_of_a_page_that_is_too_old_is_refused_in_words():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("analyst"))
    answer = client.post("/admin/cases/alert/", {"action": "resolve"})
    assert answer.status_code == 403
    assert "This page was too old" in answer.content.decode()


def test_a_failure_of_ours_asks_no_database_for_its_page():
    assert "Something broke on our side" in get_template("500.html").render()


def test_a_narrowed_list_says_how_many_match_and_leads_back():
    make_alert(title="needle")
    make_alert(title="straw")
    client = signed_in("viewer")
    assert '1 match (<a class="au-link" href="?">show all</a>)' in text_of(client.get("/admin/cases/alert/?q=needle"))
    assert "show all</a>" not in text_of(client.get("/admin/cases/alert/"))


@pytest.mark.parametrize("query", ["?source=%00", "?q=a%00b", "?%00=1"])
def test_nul_in_a_query_is_refused_and_breaks_nothing(query):
    answer = signed_in("viewer").get(f"/admin/cases/alert/{query}")
    assert answer.status_code == 400
    assert "made no sense" in answer.content.decode()


def test_nul_in_a_form_is_refused_and_breaks_nothing():
    alert = make_alert()
    answer = signed_in("analyst").post(f"/admin/cases/alert/{alert.pk}/do/assign/", {"choice": "a\0b"})
    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["cases/alert/", "auth/user/"])
def test_a_chosen_row_that_has_no_such_key_is_refused_in_words(path):
    form = {"action": "resolve" if "alert" in path else "deactivate", "_selected_action": ["nonsense"]}
    assert "Choose rows of the list" in text_of(signed_in("admin").post(f"/admin/{path}", form, follow=True))
