"""Credentials: access and refresh tokens of people, API keys of programs. Minting, checking, ending them.

Access tokens are JWTs (RFC 7519), HS256, claims `sub, role, exp, iat, jti`; the role counts as the account has it now, and `jti` ends in a mark of
the password, so that a token dies with the password it was got by. So do refresh tokens, which are opaque, rotate at every use, and belong to a family: a used
one that comes again is theft or a copy, and ends the family (RFC 9700, section 4.14.2). Whoever locks an account and its tokens locks the account first.
API keys are 256 random bits, so a plain SHA-256 of them cannot be guessed back; the prefix finds the row.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import jwt
import structlog
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from aurora import audit, statements
from aurora.actors import Actor
from aurora.addresses import is_within, network_or_none
from aurora.bus import control
from aurora.errors import Denied, Invalid, Missing, Problem
from aurora.identity import known_good
from aurora.identity.known_good import Confirmed
from aurora.ids import new_id
from aurora.models import ApiKey, RefreshToken
from aurora.resilience import availability
from aurora.roles import ROLES

KEY_PREFIX = "aurora_key_"
_LAST_USED_EVERY = timedelta(minutes=1)
_BAD_CREDENTIALS = "Incorrect username or password"
_BAD_TOKEN = "Invalid or expired token"  # noqa: S105 - a sentence
_BAD_KEY = "Invalid API key"

# Every request asks one of these; composing it through the ORM takes three times as long as running it.
_ACCOUNT = f"""
    SELECT id, password, is_superuser, array(SELECT name FROM {Group._meta.db_table} AS held
                                   JOIN {User.groups.through._meta.db_table} ON group_id = held.id WHERE user_id = account.id)
    FROM {User._meta.db_table} AS account WHERE username = %s AND is_active
"""
_KEY = f"""
    SELECT id, name, role, key_hash, array(SELECT jsonb_array_elements_text(networks)), expires_at, revoked_at, last_used_at
    FROM {ApiKey._meta.db_table} WHERE prefix = %s
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a successful sign-in gives back."""

    access_token: str
    refresh_token: str
    expires_in: int
    role: str


def sign_in(*, username: str, password: str, address: str = "") -> SignIn:
    """Tokens for a name and a password. Raises Denied, the same and after the same work for an unknown name and a wrong password."""
    user = authenticate(username=username, password=password)
    if not isinstance(user, User) or not role_of(user):
        raise Denied(_BAD_CREDENTIALS, is_anonymous=True)
    with transaction.atomic():
        account = _locked_account(user.pk)
        # Checking a password takes its time; meanwhile it may have been changed, and what it had opened ended.
        if account is None or not account.is_active or account.password != user.password:
            raise Denied(_BAD_CREDENTIALS, is_anonymous=True)
        account.last_login = timezone.now()
        account.save(update_fields=["last_login"])
        audit.record(_actor(account.pk, account.username, role_of(account), address), "user.signed_in", account)
        return _issue(account, family=new_id())


def note_sign_in(actor: Actor) -> None:
    """Tells the audit trail that somebody has signed in to the console."""
    with transaction.atomic():
        audit.record(actor, "user.signed_in", User(pk=actor.user_id))


def refresh(*, refresh_token: str, address: str = "") -> SignIn:
    """A fresh pair for a refresh token, which is used up by it. Raises Denied; a token used before also ends its family."""
    with transaction.atomic():
        account, row = _locked_token(refresh_token)
        if (
            account is None
            or not account.is_active
            or row is None
            or row.revoked_at
            or row.expires_at <= timezone.now()
            or not hmac.compare_digest(row.password_mark.encode(), _mark_of(account.password))
        ):
            raise Denied(_BAD_TOKEN, is_anonymous=True)
        if row.used_at is None:
            row.used_at = timezone.now()
            row.save(update_fields=["used_at"])
            return _issue(account, family=row.family)
        RefreshToken.objects.filter(family=row.family).update(revoked_at=timezone.now())
        log.warning("refresh_token_reused", user=account.username, address=address)
        audit.record(
            Actor(name=account.username, role=role_of(account), address=address), "session.reused_token", account
        )
    raise Denied(_BAD_TOKEN, is_anonymous=True)


def sign_out(*, refresh_token: str) -> None:
    """Ends the token's family. An unknown token is no error: it is as dead as it can be."""
    with transaction.atomic():
        # Behind a refresh that is under way, whose new token would else outlive its family.
        _, row = _locked_token(refresh_token)
        if row is not None:
            RefreshToken.objects.filter(family=row.family, revoked_at=None).update(revoked_at=timezone.now())


def actor_from_token(token: str, *, address: str = "") -> Actor:
    """The user of an access token, with the role that the account has now. Raises Denied(is_anonymous=True)."""
    claims = _claims(token)
    ends_at = float(claims["exp"])
    return known_good.asked("token", token, address, lambda: Confirmed(_actor_of_claims(claims, address), ends_at))


def _actor_of_claims(claims: dict[str, Any], address: str) -> Actor:
    username = str(claims["sub"])
    with statements.cursor() as cursor:
        cursor.execute(_ACCOUNT, [username])
        found = cursor.fetchone()
    if found is None or not hmac.compare_digest(str(claims["jti"]).rpartition(".")[2].encode(), _mark_of(found[1])):
        raise Denied(_BAD_TOKEN, is_anonymous=True)
    user_id, _, is_superuser, groups = found
    return _actor(user_id, username, _widest_role(is_superuser, groups), address)


def expires_at(token: str) -> float:
    """When an access token ends, in seconds since the epoch. Raises Denied(is_anonymous=True)."""
    return float(_claims(token)["exp"])


def actor_from_user(user: AbstractBaseUser | AnonymousUser, *, address: str = "") -> Actor:
    """A signed-in account as an Actor. Raises Denied(is_anonymous=True) when it has no role or is switched off."""
    if not isinstance(user, User) or not user.is_active:
        raise Denied("Authentication required", is_anonymous=True)
    return _actor(user.pk, user.username, role_of(user), address)


def actor_from_api_key(key: str, *, address: str = "") -> Actor:
    """The program of an API key. Raises Denied(is_anonymous=True) for an unknown, revoked or expired one, and at an address that it is not for."""
    return known_good.asked("key", key, address, lambda: _confirmed_key(key, address))


def _confirmed_key(key: str, address: str) -> Confirmed:
    prefix, now = key.removeprefix(KEY_PREFIX)[:12], timezone.now()
    row = _key_of(prefix) if key.startswith(KEY_PREFIX) and key.isascii() else None
    is_right = hmac.compare_digest(_key_hash(key), row.key_hash if row else "")
    if row is None or not is_right or row.revoked_at or (row.expires_at and row.expires_at <= now):
        raise Denied(_BAD_KEY, is_anonymous=True)
    if row.networks and not is_within(address, row.networks):
        # The same answer: whoever found the key is not told that it is one.
        log.warning("api_key_elsewhere", key=row.name, prefix=prefix, address=address)
        raise Denied(_BAD_KEY, is_anonymous=True)
    actor = Actor(name=f"key:{row.name}", role=row.role, address=address, key_id=str(row.id))
    _note_use(row, now)
    return Confirmed(actor, row.expires_at.timestamp() if row.expires_at else None, row.networks)


def renewed(actor: Actor) -> Actor:
    """A caller that was let in before, with the role that its account or key has now. Raises Denied(is_anonymous=True) when that is no more."""
    if actor.key_id is not None:
        key = ApiKey.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now()), pk=actor.key_id, revoked_at=None
        )
        found = key.first()
        role = found.role if found and (not found.networks or is_within(actor.address, found.networks)) else ""
    elif actor.user_id is not None:
        user = User.objects.filter(pk=actor.user_id, is_active=True).first()
        role = role_of(user) if user else ""
    else:
        return actor  # the system itself
    if not role:
        raise Denied("Authentication required", is_anonymous=True)
    return replace(actor, role=role)


def create_api_key(
    *, name: str, role: str, expires_at: datetime | None, actor: Actor, networks: Sequence[str] = ()
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is shown this once; good in `networks`, or everywhere when there are none. Raises Denied, Invalid."""
    actor.require("users:manage")
    if role not in ROLES:
        raise Invalid(f"Unknown role: {role}")
    if expires_at is not None and expires_at <= timezone.now():
        fault: Problem = {
            "loc": ["body", "expires_at"],
            "msg": "Value error, the time has passed",
            "type": "value_error",
        }
        raise Invalid(problems=[fault])
    key = KEY_PREFIX + secrets.token_urlsafe(40)
    with transaction.atomic():
        row = ApiKey.objects.create(
            name=name,
            role=role,
            prefix=key.removeprefix(KEY_PREFIX)[:12],
            key_hash=_key_hash(key),
            networks=_checked(networks),
            expires_at=expires_at,
            created_by=actor.name,
        )
        after = {"name": name, "role": role, "networks": row.networks, "expires_at": _told(expires_at)}
        audit.record(actor, "api_key.created", row, after=after)
    return row, key


def confine_api_key(*, key_id: UUID, networks: Sequence[str], actor: Actor) -> ApiKey:
    """Says in which networks a key is good: everywhere when there are none. Raises Denied, Missing, Invalid."""
    actor.require("users:manage")
    with transaction.atomic():
        row = _living_key(key_id)
        before, row.networks = row.networks, _checked(networks)
        row.save(update_fields=["networks"])
        audit.record(actor, "api_key.confined", row, before={"networks": before}, after={"networks": row.networks})
        control.rights_changed(key_id=str(row.id))
    return row


def rotate_api_key(*, key_id: UUID, overlap: timedelta, actor: Actor) -> tuple[ApiKey, str]:
    """A successor that may what the key may, for as long a life, and its secret; the key itself ends after `overlap`, or earlier if it would anyway.

    Raises Denied, Missing for a key that has ended.
    """
    actor.require("users:manage")
    with transaction.atomic():
        old, now = _living_key(key_id), timezone.now()
        lifetime = old.expires_at - old.created_at if old.expires_at else None
        new, key = create_api_key(
            name=old.name,
            role=old.role,
            networks=old.networks,
            expires_at=now + lifetime if lifetime else None,
            actor=actor,
        )
        new.rotated_from = old.id
        new.save(update_fields=["rotated_from"])
        before, old.expires_at = old.expires_at, min(old.expires_at or now + overlap, now + overlap)
        old.save(update_fields=["expires_at"])
        after = {"expires_at": _told(old.expires_at), "successor": str(new.id)}
        audit.record(actor, "api_key.rotated", old, before={"expires_at": _told(before)}, after=after)
        control.rights_changed(key_id=str(old.id))
    return new, key


def revoke_api_key(*, key_id: UUID, actor: Actor) -> None:
    """Ends a key at once. Raises Denied, Missing."""
    actor.require("users:manage")
    with transaction.atomic():
        row = ApiKey.objects.select_for_update().filter(pk=key_id, revoked_at=None).first()
        if row is None:
            raise Missing
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        audit.record(actor, "api_key.revoked", row, before={"name": row.name, "role": row.role})
        control.rights_changed(key_id=str(row.id))


def role_of(user: User) -> str:
    """The widest role among an account's groups; superusers are admins, an account without a role may do nothing."""
    return _widest_role(user.is_superuser, [group.name for group in user.groups.all()])


def _widest_role(is_superuser: bool, groups: Sequence[str]) -> str:
    return "admin" if is_superuser else next((role for role in ROLES if role in groups), "")


def _actor(user_id: int, username: str, role: str, address: str) -> Actor:
    if not role:
        raise Denied("Authentication required", is_anonymous=True)
    return Actor(name=username, role=role, address=address, user_id=user_id)


def _locked_account(account_id: int) -> User | None:
    """The account, nobody else's to change until the transaction ends."""
    return User.objects.select_for_update(no_key=True).filter(pk=account_id).first()


def _locked_token(refresh_token: str) -> tuple[User | None, RefreshToken | None]:
    """A refresh token and its account, both locked; None for what there is not."""
    tokens = RefreshToken.objects.filter(pk=_token_id(refresh_token))
    owner = tokens.values_list("user_id", flat=True).first()
    if owner is None:
        return None, None
    # The order matters: a change of the account holds the account when it comes to the tokens.
    account = _locked_account(owner)
    return account, tokens.select_for_update(no_key=True).first()


def _mark_of(password_hash: str) -> bytes:
    """What tells a later password of an account from an earlier one, and nothing of either."""
    return salted_hmac("aurora.access_token", password_hash, algorithm="sha256").hexdigest()[:16].encode()


def _issue(user: User, *, family: UUID) -> SignIn:
    now, role = int(time.time()), role_of(user)
    claims: dict[str, Any] = {
        "sub": user.username,
        "role": role,
        "iat": now,
        "exp": now + settings.ACCESS_TOKEN_SECONDS,
        "jti": f"{new_id()}.{_mark_of(user.password).decode()}",
    }
    token = jwt.encode(claims, settings.SECRET_KEY, algorithm="HS256")
    actor = Actor(name=user.username, role=role, user_id=user.pk)
    known = Confirmed(actor, float(claims["exp"]))
    transaction.on_commit(partial(known_good.remember, "token", token, known))
    lifetime = timedelta(seconds=settings.REFRESH_TOKEN_SECONDS)
    secret = secrets.token_urlsafe(32)
    RefreshToken.objects.create(
        id=_token_id(secret),
        family=family,
        user=user,
        expires_at=timezone.now() + lifetime,
        password_mark=_mark_of(user.password).decode(),
    )
    return SignIn(
        access_token=token,
        refresh_token=secret,
        expires_in=settings.ACCESS_TOKEN_SECONDS,
        role=role,
    )


def _claims(token: str) -> dict[str, Any]:
    try:
        return jwt.decode(
            token, settings.SECRET_KEY, algorithms=["HS256"], options={"require": ["sub", "role", "exp", "iat", "jti"]}
        )
    except jwt.InvalidTokenError:
        raise Denied(_BAD_TOKEN, is_anonymous=True) from None


class _Key(NamedTuple):
    """What decides over an API key."""

    id: UUID
    name: str
    role: str
    key_hash: str
    networks: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def _key_of(prefix: str) -> _Key | None:
    with statements.cursor() as cursor:
        cursor.execute(_KEY, [prefix])
        found = cursor.fetchone()
    return _Key(*found) if found else None


def _living_key(key_id: UUID) -> ApiKey:
    """The key, nobody else's to change until the transaction ends. Raises Missing for one that has ended."""
    rows = ApiKey.objects.select_for_update().filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    row = rows.filter(pk=key_id, revoked_at=None).first()
    if row is None:
        raise Missing
    return row


def _note_use(key: _Key, now: datetime) -> None:
    """To the minute: a write at every request would cost more than all the rest of it. Of many at once one writes, and none while nothing can be."""
    is_recent = key.last_used_at is not None and now - key.last_used_at <= _LAST_USED_EVERY
    if is_recent or not availability.database.standing.is_writable:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - _LAST_USED_EVERY)
    ApiKey.objects.filter(stale, pk=key.id).update(last_used_at=now)


def _checked(networks: Sequence[str]) -> list[str]:
    """The networks as they are kept. Raises Invalid, naming each that is none."""
    faults: list[Problem] = [
        {
            "loc": ["body", "networks", place],
            "msg": "Value error, not an address or a network such as 10.0.0.0/8",
            "type": "value_error",
        }
        for place, text in enumerate(networks)
        if network_or_none(text) is None
    ]
    if faults:
        raise Invalid(problems=faults)
    return [str(network_or_none(text)) for text in networks]


def _told(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _token_id(refresh_token: str) -> UUID:
    """A refresh token's row: its key is half of the token's SHA-256, so the table holds nothing that signs anybody in."""
    return UUID(bytes=hashlib.sha256(refresh_token.encode("utf-8", "replace")).digest()[:16])


def _key_hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
