"""Who is let into the console, what its sidebar offers, what its first page tells."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client

from aurora.console.site import Console
from aurora.models import DeadLetter
from tests.cast import PASSWORD, make_user
from tests.console_pages import signed_in, text_of

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
