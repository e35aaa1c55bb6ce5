"""Access and refresh tokens, the credentials of people: minting, checking, ending them. Programs have keys (`aurora.identity.api_keys`).

Access tokens are JWTs (RFC 7519), HS256, claims `sub, role, exp, iat, jti`; the role counts as the account has it now, and `jti` ends in the family of
the sign-in and a mark of the password, so that a token dies with either. So do refresh tokens, which are opaque, rotate at every use, and belong to the family:
a used one that comes again is theft or a copy, and ends the family (RFC 9700, section 4.14.2), and so does signing out. Whoever locks an account and its tokens locks the account first.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

import jwt
import structlog
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, User
from django.contrib.auth.signals import user_login_failed
from django.db import transaction
from django.db.models import Q
from django.dispatch import receiver
from django.utils import timezone
from django.utils.crypto import salted_hmac

from aurora import audit, statements
from aurora.actors import Actor
from aurora.addresses import is_within
from aurora.bus import control
from aurora.errors import Denied
from aurora.identity import known_good
from aurora.identity.known_good import Confirmed
from aurora.ids import new_id
from aurora.models import ApiKey, RefreshToken
from aurora.roles import ROLES
from aurora.texts import require_storable

_BAD_CREDENTIALS = "Incorrect username or password"
_BAD_TOKEN = "Invalid or expired token"  # noqa: S105 - a sentence

# Every request with a token asks it; composing it through the ORM takes three times as long as running it.
_ACCOUNT = f"""
    SELECT id, password, is_superuser, array(SELECT name FROM {Group._meta.db_table} AS held
                                   JOIN {User.groups.through._meta.db_table} ON group_id = held.id WHERE user_id = account.id),
           EXISTS (SELECT FROM {RefreshToken._meta.db_table} WHERE family = %s AND user_id = account.id AND revoked_at IS NULL)
    FROM {User._meta.db_table} AS account WHERE username = %s AND is_active
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


@receiver(user_login_failed)
def _log_refusal(credentials: Mapping[str, Any], **_: Any) -> None:
    """A line for each wrong password and unknown name, of API and console. Of a name only that of an account: people type passwords there, too."""
    name = str(credentials.get("username", ""))
    is_known = "\0" not in name and User.objects.filter(username=name).exists()
    log.warning("sign_in_refused", account=name if is_known else None)


def note_sign_in(actor: Actor) -> None:
    """Tells the audit trail that somebody has signed in to the console."""
    with transaction.atomic():
        audit.record(actor, "user.signed_in", User(pk=actor.user_id))


def note_sign_out(user: User, *, address: str = "") -> None:
    """Tells the audit trail that somebody has signed out, be it without a role by now. In the transaction that ends the session."""
    actor = Actor(name=user.username, role=role_of(user), address=address, user_id=user.pk)
    audit.record(actor, "user.signed_out", user)


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
        _end_family(row)
        log.warning("refresh_token_reused", user=account.username, address=address)
        audit.record(
            Actor(name=account.username, role=role_of(account), address=address), "session.reused_token", account
        )
    raise Denied(_BAD_TOKEN, is_anonymous=True)


def sign_out(*, refresh_token: str, address: str = "") -> None:
    """Ends the token's family, its access tokens and the sockets opened by them. An unknown token is no error: it is as dead as it can be."""
    with transaction.atomic():
        # Behind a refresh that is under way, whose new token would else outlive its family.
        account, row = _locked_token(refresh_token)
        if account is not None and row is not None and _end_family(row):
            note_sign_out(account, address=address)


def actor_from_token(token: str, *, address: str = "") -> Actor:
    """The user of an access token, with the role that the account has now. Raises Denied(is_anonymous=True)."""
    claims = _claims(token)
    ends_at = float(claims["exp"])
    return known_good.asked("token", token, address, lambda: Confirmed(_actor_of_claims(claims, address), ends_at))


def _actor_of_claims(claims: dict[str, Any], address: str) -> Actor:
    username, (family, mark) = str(claims["sub"]), _sign_in_of(claims)
    with statements.cursor() as cursor:
        cursor.execute(_ACCOUNT, [family, username])
        found = cursor.fetchone()
    if found is None:
        raise Denied(_BAD_TOKEN, is_anonymous=True)
    user_id, password, is_superuser, groups, is_signed_in = found
    if not is_signed_in or not hmac.compare_digest(mark.encode(), _mark_of(password)):
        raise Denied(_BAD_TOKEN, is_anonymous=True)
    return _actor(user_id, username, _widest_role(is_superuser, groups), address)


def expires_at(token: str) -> float:
    """When an access token ends, in seconds since the epoch. Raises Denied(is_anonymous=True)."""
    return float(_claims(token)["exp"])


def actor_from_user(user: AbstractBaseUser | AnonymousUser, *, address: str = "") -> Actor:
    """A signed-in account as an Actor. Raises Denied(is_anonymous=True) when it has no role or is switched off."""
    if not isinstance(user, User) or not user.is_active:
        raise Denied("Authentication required", is_anonymous=True)
    return _actor(user.pk, user.username, role_of(user), address)


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


def _end_family(row: RefreshToken) -> bool:
    """Whether there was anything left of it to end."""
    ended = RefreshToken.objects.filter(family=row.family, revoked_at=None).update(revoked_at=timezone.now())
    control.rights_changed(user_id=row.user_id)
    return ended > 0


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
        "jti": f"{new_id()}.{family}.{_mark_of(user.password).decode()}",
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
        claims = _signed(token, settings.SECRET_KEY)
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        # Signed by us, so no guess: every client meets it, to ask for a fresh one.
        raise Denied(_BAD_TOKEN, is_anonymous=True) from None
    except (jwt.InvalidTokenError, ValueError):
        raise Denied(_BAD_TOKEN, is_anonymous=True, is_guess=True) from None
    if claims["exp"] <= time.time():
        raise Denied(_BAD_TOKEN, is_anonymous=True)
    return claims


def _sign_in_of(claims: dict[str, Any]) -> tuple[UUID, str]:
    """The family and the mark of the password. Raises Denied for what an older version of ours has signed."""
    try:
        _, family, mark = str(claims["jti"]).split(".")
        return UUID(family), mark
    except ValueError:
        raise Denied(_BAD_TOKEN, is_anonymous=True) from None


@lru_cache(maxsize=4096)
def _signed(token: str, key: str) -> dict[str, Any]:
    """What a token of ours says. A signature does not change, so a caller's is worked out once; the hour is for who asks to look at.

    Raises ValueError for claims that PostgreSQL could not be asked about: others may hold the key, and sign what we never would.
    """
    claims = jwt.decode(token, key, algorithms=["HS256"], options={"require": ["sub", "role", "exp", "iat", "jti"]})
    require_storable(claims)
    return claims


def _token_id(refresh_token: str) -> UUID:
    """A refresh token's row: its key is half of the token's SHA-256, so the table holds nothing that signs anybody in."""
    return UUID(bytes=hashlib.sha256(refresh_token.encode("utf-8", "replace")).digest()[:16])
