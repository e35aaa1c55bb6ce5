"""`manage.py bootstrap`: the first administrator of a migrated installation. Roles and agents come with `migrate`."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from aurora.identity import accounts


class Command(BaseCommand):
    help = "Makes the first admin from AURORA_BOOTSTRAP_ADMIN and AURORA_BOOTSTRAP_PASSWORD. With an admin there already it changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        if accounts.has_admin():
            self.stdout.write("There is an admin already; nothing to do")
            return
        name, chosen = settings.BOOTSTRAP_ADMIN, settings.BOOTSTRAP_PASSWORD
        _require_fit_password(name, chosen)
        password = chosen or secrets.token_urlsafe(12)
        if accounts.ensure_admin(username=name, password=password):
            shown = "the password of AURORA_BOOTSTRAP_PASSWORD" if chosen else f"the password {password}"
            self.stdout.write(f"Made the admin {name} with {shown}")


def _require_fit_password(name: str, password: str) -> None:
    """Only a local installation may do without one: it prints what it made up, and production's logs are no place for that."""
    if not password:
        if settings.IS_PRODUCTION:
            raise CommandError("There is no admin yet: set AURORA_BOOTSTRAP_PASSWORD")
        return
    try:
        validate_password(password, User(username=name))
    except ValidationError as error:
        raise CommandError(f"AURORA_BOOTSTRAP_PASSWORD: {' '.join(error.messages)}") from None
