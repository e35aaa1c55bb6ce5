"""Who a console's session belongs to while PostgreSQL, where sessions and accounts are, is away: signed claims, minted while it was there.

They hold together with the session's own cookie only, open nothing for writing, and name an account that is never looked up in another store,
where its number would be somebody else's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.sessions.backends.base import SessionBase
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from aurora.actors import Actor
from aurora.identity import credentials, known_good
from aurora.resilience import availability
from aurora.resilience.availability import DatabaseUnavailable

COOKIE = "aurora_claims"
_SALT = "aurora.session_claims"
_RENEW_SECONDS = 60.0


class SessionClaimsMiddleware:
    """After Django's AuthenticationMiddleware: puts the claimed account in its place while PostgreSQL is away, and renews claims while it is there."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not availability.database.standing.is_up:
            request.session = NoSession()
            request.user = user_of(request.COOKIES)
            return self.get_response(request)
        response = self.get_response(request)
        if availability.database.standing.is_up and request.session.accessed and response.status_code < 500:
            _renew(request, response)
        return response


class NoSession(SessionBase):
    """The session of a request that cannot read its own: empty, and never written."""

    def is_empty(self) -> bool:
        return False  # or Django would have the browser throw its cookie away

    def load(self) -> dict[str, Any]:
        return {}

    def exists(self, session_key: str) -> bool:
        return False

    def create(self) -> None:
        raise DatabaseUnavailable("no session begins while PostgreSQL is away")

    def save(self, must_create: bool = False) -> None:
        raise DatabaseUnavailable("no session is kept while PostgreSQL is away")

    def delete(self, session_key: str | None = None) -> None:
        raise DatabaseUnavailable("no session is ended while PostgreSQL is away")


def user_of(cookies: Mapping[str, str]) -> User | AnonymousUser:
    """The account of a session's claims, complete without any store; nobody for claims that are missing, forged, old, of another session or revoked."""
    claims = _claims_of(cookies)
    if claims is None or known_good.is_revoked(user_id=int(claims["id"]), since=float(claims["at"])):
        return AnonymousUser()
    names = ("username", "first_name", "last_name", "is_staff", "is_superuser")
    user = User(pk=claims["id"], is_active=True, **{name: claims[name] for name in names})
    user.set_unusable_password()
    groups = [Group(name=claims["role"])] if claims["role"] else []
    user._prefetched_objects_cache = {"groups": groups}  # type: ignore[attr-defined]
    return user


def _claims_of(cookies: Mapping[str, str]) -> dict[str, Any] | None:
    session = cookies.get(settings.SESSION_COOKIE_NAME, "")
    try:
        claims: dict[str, Any] = signing.loads(cookies.get(COOKIE, ""), salt=_SALT, max_age=settings.SESSION_COOKIE_AGE)
    except signing.BadSignature:
        return None
    return claims if session and claims["session"] == _mark_of(session) else None


def _renew(request: HttpRequest, response: HttpResponseBase) -> None:
    user, key = request.user, request.session.session_key
    if isinstance(user, Actor):
        return  # a call to the API, which puts its caller there: the page that made it has claims of its own
    if not isinstance(user, User) or not user.is_authenticated or not key:
        if COOKIE in request.COOKIES:
            response.delete_cookie(COOKIE, samesite="Lax")
        return
    given = _claims_of(request.COOKIES)
    is_ours = given is not None and (given["id"], given["session"]) == (user.pk, _mark_of(key))
    if given is not None and is_ours and time.time() - float(given["at"]) < _RENEW_SECONDS:
        return
    claims = {
        "id": user.pk,
        "role": credentials.role_of(user),
        "at": time.time(),
        "session": _mark_of(key),
        **{name: getattr(user, name) for name in ("username", "first_name", "last_name", "is_staff", "is_superuser")},
    }
    response.set_cookie(
        COOKIE,
        signing.dumps(claims, salt=_SALT),
        max_age=settings.SESSION_COOKIE_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _mark_of(session_key: str) -> str:
    return hashlib.sha256(session_key.encode("utf-8", "replace")).hexdigest()[:32]
