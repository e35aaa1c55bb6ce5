"""Accounts: made, changed, removed. An account's role is its one group; the last admin stays."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from aurora import audit
from aurora.actors import Actor, system
from aurora.bus import control
from aurora.errors import Conflict, Invalid, Missing, Problem
from aurora.identity.credentials import role_of
from aurora.models import RefreshToken
from aurora.roles import ROLES

CONSOLE_ROLES = frozenset(ROLES) - {"api_service"}
"""Roles whose accounts may sign in to the console; programs have no business there."""


_ACCOUNTS_LOCK = 0xAD0115


def account_data(user: User) -> dict[str, Any]:
    return {
        "username": user.username,
        "role": role_of(user),
        "is_active": user.is_active,
        "last_login": user.last_login,
        "date_joined": user.date_joined,
    }


def create_account(*, username: str, password: str, role: str, actor: Actor) -> User:
    """A new account. Raises Denied, Invalid (a password the validators refuse), Conflict (the name is taken, be it in capitals)."""
    actor.require("users:manage")
    user = User(username=username, is_staff=role in CONSOLE_ROLES)
    _check_password(password, user)
    user.set_password(password)
    with transaction.atomic():
        _lock_accounts()
        if User.objects.filter(username__iexact=username).exists():
            raise Conflict(f"The user {username!r} exists, if perhaps in other letters")
        user.save()
        user.groups.set([_group(role)])
        audit.record(actor, "user.created", user, after={"username": username, "role": role})
    return user


def edit_account(*, username: str, changes: dict[str, Any], actor: Actor) -> User:
    """Sets `password`, `role` or `is_active`. A new password, or being switched off, ends whatever the account has opened; a new role counts for it at once.

    Raises Denied, Missing, Invalid, Conflict.
    """
    actor.require("users:manage")
    with transaction.atomic():
        if "role" in changes or changes.get("is_active") is False:
            _lock_accounts()
        user = _locked(username)
        was = {"role": role_of(user), "is_active": user.is_active}
        if "password" in changes:
            _check_password(changes["password"], user)
            user.set_password(changes["password"])
        if "role" in changes or changes.get("is_active") is False:
            _keep_an_admin(user, changes.get("role", role_of(user)), changes.get("is_active", user.is_active))
        if "role" in changes:
            user.is_superuser, user.is_staff = False, changes["role"] in CONSOLE_ROLES
            user.groups.set([_group(changes["role"])])
        user.is_active = changes.get("is_active", user.is_active)
        user.save()
        if "password" in changes or not user.is_active:
            _sign_out_everywhere(user)
        control.rights_changed(user_id=user.pk)
        before = {name: value for name, value in was.items() if name in changes}
        told = {name: "changed" if name == "password" else value for name, value in changes.items()}
        audit.record(actor, "user.edited", user, before=before, after=told)
    return user


def change_own_password(*, password: str, actor: Actor) -> User:
    """A new password for the account of `actor` itself, who has just proved the old one; ends whatever the account has opened. Raises Missing, Invalid."""
    with transaction.atomic():
        user = _locked(actor.name)
        _check_password(password, user)
        user.set_password(password)
        user.save(update_fields=["password"])
        _sign_out_everywhere(user)
        control.rights_changed(user_id=user.pk)
        audit.record(actor, "user.edited", user, after={"password": "changed"})
    return user


def delete_account(*, username: str, actor: Actor) -> None:
    """Removes an account. Raises Denied, Missing, Conflict for the last admin."""
    actor.require("users:manage")
    with transaction.atomic():
        _lock_accounts()
        user = _locked(username)
        _keep_an_admin(user, "", is_active=False)
        audit.record(actor, "user.deleted", user, before={"username": username, "role": role_of(user)})
        control.rights_changed(user_id=user.pk)
        user.delete()


def ensure_roles() -> None:
    """The groups that roles are kept as. Runs after every migration."""
    for role in ROLES:
        Group.objects.get_or_create(name=role)


def ensure_admin(*, username: str, password: str) -> bool:
    """The first account of an installation; False when an admin is there already. For the start, not for requests."""
    with transaction.atomic():
        if has_admin():
            return False
        user = User.objects.create_user(username=username, password=password, is_staff=True)
        user.groups.set([_group("admin")])
        audit.record(system("bootstrap"), "user.created", user, after={"username": username, "role": "admin"})
    return True


def has_admin() -> bool:
    """Whether anybody could sign in as an admin."""
    return any(role_of(user) == "admin" for user in User.objects.filter(is_active=True).prefetch_related("groups"))


def add_demo_account(role: str) -> str:
    """An account named like its role, for trying the product out; returns its generated password, which is kept nowhere."""
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        user = User.objects.create_user(username=role, password=password, is_staff=True)
        user.groups.set([_group(role)])
        audit.record(system("demo"), "user.created", user, after={"username": role, "role": role})
    return password


def _keep_an_admin(user: User, role: str, is_active: bool) -> None:
    """Raises Conflict when the change would leave no active admin. Call it under `_lock_accounts`."""
    if role == "admin" and is_active:
        return
    admins = User.objects.filter(is_active=True).prefetch_related("groups")
    if role_of(user) == "admin" and not any(role_of(other) == "admin" for other in admins if other.pk != user.pk):
        raise Conflict("The last admin can neither be removed nor demoted")


def _lock_accounts() -> None:
    """Lets new accounts, and changes that may cost an admin, take turns before any of them holds an account: two that lock each other's would wait for ever."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ACCOUNTS_LOCK])


def _sign_out_everywhere(user: User) -> None:
    RefreshToken.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())


def _check_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        faults: list[Problem] = [
            {"loc": ["body", "password"], "msg": f"Value error, {text}", "type": "value_error"}
            for text in error.messages
        ]
        raise Invalid(problems=faults) from None


def _group(role: str) -> Group:
    return Group.objects.get_or_create(name=role)[0]


def _locked(username: str) -> User:
    user = User.objects.select_for_update().filter(username=username).first()
    if user is None:
        raise Missing
    return user
