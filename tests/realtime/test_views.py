"""The live page's frame. What happens inside it is the browser tests' business."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client

from tests.console_pages import make_alert, signed_in, text_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("role", ["admin", "analyst", "operator", "viewer"])
def test_people_with_a_role_watch(role):
    assert "Agents at work" in text_of(signed_in(role).get("/dashboard/"))


@pytest.mark.parametrize("path", ["/dashboard/", "/dashboard/figures"])
def test_strangers_are_asked_to_sign_in(path):
    answer = Client().get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/admin/login/?next={path}"


def test_an_account_without_a_role_is_asked_to_sign_in():
    client = Client()
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get("/dashboard/").status_code == 302


def test_a_role_that_may_not_watch_is_refused():
    assert signed_in("api_service").get("/dashboard/").status_code == 403


def test_the_page_allows_no_inline_script_and_nothing_from_elsewhere():
    answer = signed_in("viewer").get("/dashboard/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    shown = text_of(answer)
    assert not re.search(r"<script(?![^>]*\bsrc=)", shown)
    assert "style=" not in shown
    assert "http://" not in shown
    assert "https://" not in shown


def test_the_page_is_never_cached():
    assert "no-store" in signed_in("viewer").get("/dashboard/").headers["Cache-Control"]


def test_the_page_begins_with_todays_figures():
    make_alert(severity="critical")
    assert '<b data-counter="critical">1</b>' in text_of(signed_in("viewer").get("/dashboard/"))


def test_the_figures_are_those_of_the_console():
    make_alert(severity="high")
    figures = signed_in("viewer").get("/dashboard/figures").json()
    assert (figures["alerts"], figures["by_severity"]["high"], figures["unacknowledged"]) == (1, 1, 1)
    assert sum(figures["per_minute"]) == 1


def test_the_page_is_read_only():
    assert signed_in("admin").post("/dashboard/").status_code == 405


@pytest.mark.parametrize("name", ["dashboard.js", "theme.js", "console.js"])
def test_scripts_never_make_markup_of_text(name):
    found = finders.find(f"aurora/{name}")
    assert isinstance(found, str)
    script = Path(found).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)
