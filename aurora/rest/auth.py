"""Who is asking: DRF's authentication classes, and the caller's address."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

import structlog
from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.request import Request

from aurora.actors import Actor
from aurora.addresses import address_or_none
from aurora.errors import Denied
from aurora.identity import api_keys, credentials

_FORWARDING = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT")


class CredentialAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access token>`, or `X-API-Key`; not both, for who then acts would be our guess (RFC 6750, section 2)."""

    def authenticate(self, request: Request) -> tuple[Actor, str] | None:
        key = request.META.get("HTTP_X_API_KEY")
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        if key and is_bearer:
            raise Denied("Send an access token or an API key, not both", is_anonymous=True)
        if key:
            return _bound(api_keys.actor_of(key, address=address_of(request._request))), "api_key"
        if not is_bearer:
            return None
        actor = credentials.actor_from_token(token.strip(), address=address_of(request._request))
        return _bound(actor), "token"

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class ConsoleSessionAuthentication(BaseAuthentication):
    """The console's session cookie, for the pages' own calls; anything but reading needs the CSRF token."""

    def authenticate(self, request: Request) -> tuple[Actor, str] | None:
        user = getattr(request._request, "user", None)
        if user is None or not user.is_authenticated:
            return None
        actor = credentials.actor_from_user(user, address=address_of(request._request))
        _require_csrf_token(request._request)
        return _bound(actor), "session"


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in account behind a console page's request. Raises Denied(is_anonymous=True)."""
    return credentials.actor_from_user(request.user, address=address_of(request))


def address_of(request: HttpRequest) -> str:
    """The caller's address: the peer's, or what a trusted proxy says of it (the last address in `X-Forwarded-For` that is no trusted proxy)."""
    peer: str = request.META.get("REMOTE_ADDR", "")
    if not settings.TRUSTED_PROXIES or not _is_trusted(peer):
        return peer
    for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        candidate = hop.strip()
        if candidate and not _is_trusted(candidate):
            found = address_or_none(candidate)
            return str(found) if found else peer  # without its zone, which may be a text of any length
    return peer


def forget_strange_forwarding(request: HttpRequest) -> None:
    """Drops what anybody but a trusted proxy says of the caller's way here: else whoever reaches the port could say that it came by HTTPS."""
    if not _is_trusted(request.META.get("REMOTE_ADDR", "")):
        for name in _FORWARDING:
            request.META.pop(name, None)


def _bound(actor: Actor) -> Actor:
    structlog.contextvars.bind_contextvars(user=actor.name)
    return actor


def _require_csrf_token(request: HttpRequest) -> None:
    # Read before the check looks for the token among a form's fields: it would leave nothing of a multipart body to be read.
    _ = request.body
    check = CSRFCheck(lambda _request: None)  # type: ignore[arg-type]
    check.process_request(request)
    if check.process_view(request, None, (), {}):  # type: ignore[arg-type]
        raise Denied("CSRF token missing or incorrect")


@lru_cache(maxsize=4)
def _trusted_networks(proxies: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(proxy, strict=False) for proxy in proxies)


def _is_trusted(address: str) -> bool:
    found = address_or_none(address)
    return found is not None and any(found in network for network in _trusted_networks(tuple(settings.TRUSTED_PROXIES)))
