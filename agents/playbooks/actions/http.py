"""HTTP to where an operator says, and nowhere else: no loopback, link-local or private address unless the environment allows it.

A name is resolved once and that address is connected to: a name that answers otherwise the second time (DNS rebinding) leads nowhere. No redirect is
followed, no proxy of the environment is used, and of an answer no more is read than anybody needs.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping

import httpx
from django.conf import settings

from aurora.errors import Invalid

MOST_BYTES = 1024 * 1024
_MAY_PASS = frozenset({408, 425, 429})
# Ways to write an IPv4 address as an IPv6 one, which a gateway may undo; and what was once a site's own.
_TRANSLATED = tuple(
    map(ipaddress.ip_network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10"))
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedForNow(OSError):
    """The receiver did not take it, and may later."""


def send(
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    content: bytes = b"",
    auth: tuple[str, str] | None = None,
    ca_pem: str = "",
) -> tuple[int, bytes]:
    """One request; the status and the body of what was answered, be it a refusal. Raises Invalid for an address that is not allowed, OSError."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Invalid(f"{url[:200]} is no HTTP address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo:
        raise Invalid(f"{url[:200]} is no HTTP address")
    address = allowed_address(parts.host, parts.port or (443 if parts.scheme == "https" else 80))
    request = {**(headers or {}), "Host": parts.netloc.decode()}
    verify: ssl.SSLContext | bool = ssl.create_default_context(cadata=ca_pem) if ca_pem else True
    try:
        with (
            httpx.Client(timeout=timeout, trust_env=False, follow_redirects=False, verify=verify) as client,
            client.stream(
                method,
                parts.copy_with(host=str(address)),
                headers=request,
                content=content,
                auth=auth,
                extensions={"sni_hostname": parts.host},
            ) as answer,
        ):
            return answer.status_code, _body_of(answer)
    except httpx.HTTPError as error:
        raise RefusedForNow(f"It was not reached: {error or type(error).__name__}") from error


def require_success(status: int, body: bytes) -> None:
    """Raises Invalid for what stays refused, OSError for what may pass."""
    if 200 <= status < 300:
        return
    told = body[:200].decode("utf-8", "replace")
    if 300 <= status < 400:
        raise Invalid(f"It answered {status}: redirects are not followed, set the address it leads to")
    if 400 <= status < 500 and status not in _MAY_PASS:
        raise Invalid(f"It refused with {status}: {told}")
    raise RefusedForNow(f"It answered {status}: {told}")


def allowed_address(host: str, port: int) -> Address:
    """The first address of a host that may be connected to. Raises Invalid when there is none, OSError when it cannot be resolved."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # `a..example`, or a label longer than any may be: nobody was asked
        raise Invalid(f"{host[:200]} is no name of a host") from None
    found = [ipaddress.ip_address(info[4][0]) for info in infos]
    for address in found:
        if is_allowed(address):
            return address
    raise Invalid(f"{host} is no public address; AURORA_CONNECTOR_NETWORKS may allow it")


def is_allowed(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in ipaddress.ip_network(network, strict=False) for network in settings.CONNECTOR_NETWORKS):
        return True
    is_translated = any(address in network for network in _TRANSLATED)
    return address.is_global and not address.is_multicast and not is_translated


def _body_of(answer: httpx.Response) -> bytes:
    body = b""
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Invalid("It answered more than anybody needs")
    return body
