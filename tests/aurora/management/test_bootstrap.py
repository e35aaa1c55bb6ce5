"""The first administrator of an installation."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from aurora.identity.credentials import role_of
from tests.cast import make_user

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-enough-passphrase"


@pytest.fixture(autouse=True)
def production(settings):
    settings.IS_PRODUCTION, settings.BOOTSTRAP_ADMIN, settings.BOOTSTRAP_PASSWORD = True, "root", PASSWORD


def bootstrap() -> str:
    call_command("bootstrap", stdout=(output := StringIO()))
    return output.getvalue()


def test_the_first_admin_can_sign_in_with_the_chosen_password():
    bootstrap()
    admin = User.objects.get()
    assert (admin.username, role_of(admin), admin.check_password(PASSWORD)) == ("root", "admin", True)


def test_the_chosen_password_is_not_printed():
    assert PASSWORD not in bootstrap()


def test_again_it_changes_nothing(settings):
    bootstrap()
    settings.BOOTSTRAP_ADMIN, settings.BOOTSTRAP_PASSWORD = "other", "another-long-passphrase"
    bootstrap()
    assert User.objects.get().check_password(PASSWORD)


def test_with_an_admin_there_no_password_is_needed(settings):
    make_user("admin", "somebody")
    settings.BOOTSTRAP_PASSWORD = ""
    bootstrap()
    assert User.objects.get().username == "somebody"


def test_production_refuses_to_make_up_a_password(settings):
    settings.BOOTSTRAP_PASSWORD = ""
    with pytest.raises(CommandError, match="AURORA_BOOTSTRAP_PASSWORD"):
        bootstrap()
    assert not User.objects.exists()


def test_a_weak_password_is_refused(settings):
    settings.BOOTSTRAP_PASSWORD = "password"
    with pytest.raises(CommandError, match="too common"):
        bootstrap()
    assert not User.objects.exists()


def test_a_local_installation_prints_the_password_it_made_up(settings):
    settings.IS_PRODUCTION, settings.BOOTSTRAP_PASSWORD = False, ""
    printed = bootstrap().split()[-1]
    assert User.objects.get().check_password(printed)
