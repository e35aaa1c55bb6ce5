"""Where agents may be: the check on an address before it is kept.

HTTPS anywhere, its certificate verified. Plain HTTP only where nobody can listen in: on this machine, at a private address, or at a host that
`AURORA_AGENT_PLAIN_HTTP_HOSTS` names, such as a container on the same network. Never a link-local address, where clouds hand out credentials.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from aurora.addresses import address_or_none
from aurora.errors import Invalid
from aurora.rest.problems import problem


def require_endpoint(endpoint: str) -> str:
    """The endpoint without its trailing slash. Raises Invalid, saying what is wrong with it."""
    try:
        url = urlsplit(endpoint.strip())
        port = url.port
    except ValueError:
        raise _wrong("is no URL") from None
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise _wrong("must be an http or https URL")
    if url.username is not None or url.query or url.fragment:
        raise _wrong("must have no user, query or fragment; a bearer has a field of its own")
    _require_reachable(url)
    return url.geturl().rstrip("/")


def _require_reachable(url: SplitResult) -> None:
    host = (url.hostname or "").lower()
    address = address_or_none(host)
    if address is not None and (address.is_link_local or address.is_multicast or address.is_unspecified):
        raise _wrong("must not be a link-local, multicast or unspecified address")
    if url.scheme == "https":
        return
    is_near = host == "localhost" or (address is not None and (address.is_loopback or address.is_private))
    if not is_near and host not in settings.AGENT_PLAIN_HTTP_HOSTS:
        raise _wrong(
            "must be https, unless it is on this machine, at a private address, or among AURORA_AGENT_PLAIN_HTTP_HOSTS"
        )


def _wrong(why: str) -> Invalid:
    return Invalid(problems=[problem(["body", "endpoint"], f"The endpoint {why}", "endpoint")])
