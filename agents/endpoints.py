"""Where agents may be: the check on an address before it is kept.

HTTPS anywhere, its certificate verified. Plain HTTP only where nobody can listen in: on this machine, at a private address, or at a host that
`AURORA_AGENT_PLAIN_HTTP_HOSTS` names, such as a container on the same network. Never a link-local address, where clouds hand out credentials.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from aurora.addresses import address_or_none
from aurora.errors import Invalid
from aurora.rest.problems import problem

_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f]")
# One whose last part is a number is an IPv4 address in another spelling (`0xa9fea9fe`), to whoever connects; other scripts are written as `xn--`.
_NAME = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*(?!(?:\d+|0x[0-9a-f]*)\.?$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.?"
)


def require_endpoint(endpoint: str) -> str:
    """The endpoint without its trailing slash. Raises Invalid, saying what is wrong with it."""
    try:
        url = urlsplit(endpoint.strip())
        port = url.port
    except ValueError:
        raise _wrong("is no URL") from None
    if url.scheme not in ("http", "https") or not url.hostname or port == 0 or _NOT_IN_URLS.search(endpoint.strip()):
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
    if address is None and not _NAME.fullmatch(host):
        raise _wrong("must name a host, or give its address as it is usually written")
    if url.scheme == "https":
        return
    is_near = host == "localhost" or (address is not None and (address.is_loopback or address.is_private))
    if not is_near and host not in settings.AGENT_PLAIN_HTTP_HOSTS:
        raise _wrong(
            "must be https, unless it is on this machine, at a private address, or among AURORA_AGENT_PLAIN_HTTP_HOSTS"
        )


def _wrong(why: str) -> Invalid:
    return Invalid(problems=[problem(["body", "endpoint"], f"The endpoint {why}", "endpoint")])
