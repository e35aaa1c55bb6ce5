"""Who opens a socket.

Programs send `X-API-Key`, `Authorization: Bearer`, `?ticket=` or `?token=`; the console's pages have the session cookie. A browser sends that
cookie with sockets of any site's pages, and no CORS rule stops them, so the cookie counts only together with our own `Origin` (RFC 6455, 10.2).
A credential that was sent and is bad refuses the socket: nothing falls back to a weaker one.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from dataclasses import replace
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import DisallowedHost
from django.db import Error as DatabaseError
from django.http import HttpRequest, parse_cookie

from aurora.errors import Denied, Invalid, Unavailable
from aurora.identity import api_keys, credentials
from aurora.resilience.availability import is_outage
from aurora.rest import limits
from aurora.rest.auth import address_of
from aurora.standin import sessions
from realtime import tickets
from realtime.tickets import Pass

Scope = MutableMapping[str, Any]
Query = dict[str, str]

_HEADERS = {
    "authorization": "HTTP_AUTHORIZATION",
    "cookie": "HTTP_COOKIE",
    "host": "HTTP_HOST",
    "origin": "HTTP_ORIGIN",
    "x-api-key": "HTTP_X_API_KEY",
    "x-forwarded-for": "HTTP_X_FORWARDED_FOR",
    "x-forwarded-host": "HTTP_X_FORWARDED_HOST",
    "x-forwarded-proto": "HTTP_X_FORWARDED_PROTO",
}
_QUERY_FIELDS = 16
_DEFAULT_PORTS = {"http": 80, "https": 443}


def query_of(scope: Scope) -> Query:
    """The query string's fields; of a repeated one the last counts. Raises Invalid for one with absurdly many."""
    try:
        fields = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=_QUERY_FIELDS)
    except ValueError:
        raise Invalid("Too many query parameters") from None
    return {name: values[-1] for name, values in fields.items()}


async def authenticate(scope: Scope, query: Query, *, earlier: Pass | None = None) -> Pass:
    """The caller of a WebSocket's scope; `earlier` is what an earlier call gave for the same socket. Each first call counts against the quota of
    the caller's address, and one with a wrong token or key against that of guesses, as over HTTP. Raises Denied, Unavailable."""
    # Not Channels' one shared thread: a slow answer of the database must not queue up everyone who comes after.
    hop = database_sync_to_async(_pass_or_outage, thread_sensitive=False)
    caller: Pass = await hop(_request_of(scope), query, scope.get("scheme") == "wss", earlier)
    return caller


def _pass_or_outage(request: HttpRequest, query: Query, is_tls: bool, earlier: Pass | None) -> Pass:
    try:
        if earlier is None:
            _require_own_host(request)
            limits.require_room(limits.spend(request, (limits.SOCKETS,), None))
        return _pass_of(request, query, is_tls, earlier)
    except Denied as error:
        guess = limits.spend_if_guess(request, error) if earlier is None else None
        if guess is not None:
            limits.require_room(guess)
        raise
    except DatabaseError as error:
        if is_outage(error):
            raise Unavailable("Database unavailable") from None
        raise


def _pass_of(request: HttpRequest, query: Query, is_tls: bool, earlier: Pass | None) -> Pass:
    address = address_of(request)
    scheme, _, bearer = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if key := request.META.get("HTTP_X_API_KEY"):
        return Pass(api_keys.actor_of(key, address=address))
    if scheme.lower() == "bearer":
        return _pass_of_token(bearer.strip(), address)
    if ticket := query.get("ticket"):
        # Used up when the socket was opened; what counts from there is whose it was.
        return replace(earlier, actor=credentials.renewed(earlier.actor)) if earlier else tickets.redeem(ticket=ticket)
    if token := query.get("token"):
        return _pass_of_token(token, address)
    return _pass_of_session(request, address, is_tls)


def _pass_of_token(token: str, address: str) -> Pass:
    return Pass(credentials.actor_from_token(token, address=address), credentials.expires_at(token))


def _pass_of_session(request: HttpRequest, address: str, is_tls: bool) -> Pass:
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    # Django's keys are letters and digits; a NUL hidden in a quoted cookie would make the database driver raise.
    if not (key.isascii() and key.isalnum()):
        raise Denied("Authentication required", is_anonymous=True)
    _require_own_origin(request, is_tls)
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    try:
        user = get_user(request)
    except DatabaseError as error:
        if not is_outage(error):
            raise
        user = sessions.user_of(request.COOKIES)
        if user.is_anonymous:  # nobody can tell whose the session is
            raise
        return Pass(credentials.actor_from_user(user, address=address))
    actor = credentials.actor_from_user(user, address=address)
    return Pass(actor, time.time() + request.session.get_expiry_age())


def _require_own_host(request: HttpRequest) -> None:
    """Whatever the credential: names that are not ours open no socket, as they get no answer over HTTP."""
    try:
        request.get_host()
    except DisallowedHost:
        raise Denied("Host not allowed") from None


def _require_own_origin(request: HttpRequest, is_tls: bool) -> None:
    origin = request.META.get("HTTP_ORIGIN", "")
    try:
        if origin in settings.CSRF_TRUSTED_ORIGINS:
            return
        ours = _host_and_port("//" + request.get_host(), origin.partition(":")[0])
        # Behind a proxy that ends TLS we see ws from an https page; the opposite is a page without TLS on a socket with it.
        is_downgrade = origin.startswith("http:") and (is_tls or request.is_secure())
        if origin and not is_downgrade and _host_and_port(origin, "") == ours:
            return
    except (ValueError, DisallowedHost):
        pass
    raise Denied("Origin not allowed")


def _host_and_port(url: str, scheme: str) -> tuple[str | None, int]:
    """Raises ValueError for what is no address of an http or https page."""
    parts = urlsplit(url, scheme)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None or parts.path:
        raise ValueError(url)
    return parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]


def _request_of(scope: Scope) -> HttpRequest:
    """As much of Django's request as the checks of host, address and session read. A repeated header is joined by commas, as on HTTP."""
    request = HttpRequest()
    for raw_name, raw_value in scope.get("headers", []):
        name = _HEADERS.get(raw_name.decode("latin-1").lower())
        if name:
            value = raw_value.decode("latin-1")
            request.META[name] = f"{request.META[name]},{value}" if name in request.META else value
    request.META["REMOTE_ADDR"] = (scope.get("client") or ("",))[0] or ""
    server = scope.get("server") or ("localhost", 80)
    request.META |= {"SERVER_NAME": server[0] or "localhost", "SERVER_PORT": str(server[1] or 0)}
    request.COOKIES = parse_cookie(request.META.get("HTTP_COOKIE", ""))
    return request
