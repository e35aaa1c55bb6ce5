"""Typed readers of the environment that refuse to guess: a value that cannot be read stops the start with its name in the message."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import time
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    """The variable's text, stripped; unset and empty are the same."""
    return os.environ.get(name, "").strip() or default


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    """One of `allowed`."""
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name}={value!r}: expected one of {', '.join(allowed)}")
    return value


def integer(name: str, default: int, *, minimum: int = 1, maximum: int = 2**31 - 1) -> int:
    """A whole number from `minimum` to `maximum`."""
    value = text(name, str(default))
    if not re.fullmatch(r"-?\d{1,20}", value) or not minimum <= int(value) <= maximum:
        raise ImproperlyConfigured(f"{name}={value!r}: expected a whole number from {minimum} to {maximum}")
    return int(value)


def seconds(name: str, default: float) -> float:
    """A positive number of seconds, a year at most: clocks have an end, and no wait of ours is meant to reach it."""
    value = text(name, str(default))
    if not re.fullmatch(r"\d+(\.\d+)?", value) or not 0 < float(value) <= 31_536_000:
        raise ImproperlyConfigured(f"{name}={value!r}: expected a positive number of seconds, a year at most")
    return float(value)


def url(name: str, *, plain_http_hosts: Collection[str] = ()) -> str:
    """An address without user, query, fragment and trailing slash; empty when unset.

    HTTPS, or HTTP on this machine, at a private address, or at a host that is named.
    """
    value = text(name)
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        parts, port, host = urlsplit(""), 0, ""
    is_plain = parts.scheme == "http" and (_is_near(host) or host in plain_http_hosts)
    if (
        not (is_plain or parts.scheme == "https")
        or not host
        or port == 0
        or parts.username is not None
        or parts.query
        or parts.fragment
    ):
        raise ImproperlyConfigured(f"{name}: expected an https URL without user, query and fragment, or http nearby")
    return value.rstrip("/")


def _is_near(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or (address.is_private and not address.is_link_local and not address.is_unspecified)


def names(name: str, default: Sequence[str] = ()) -> list[str]:
    """A comma-separated list."""
    return [part.strip() for part in text(name).split(",") if part.strip()] or list(default)


def networks(name: str) -> list[str]:
    """A comma-separated list of addresses and networks."""
    values = names(name)
    for value in values:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name}={value!r}: expected an address or a network, such as 10.0.0.0/8"
            ) from None
    return values


def rate(name: str, default: str) -> tuple[int, int]:
    """Requests and seconds, written `100/60`."""
    value = text(name, default)
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", value)
    if not match or int(match[1]) > 1_000_000 or int(match[2]) > 86_400:
        raise ImproperlyConfigured(
            f"{name}={value!r}: expected REQUESTS/SECONDS (at most 1000000/86400), such as {default}"
        )
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True)
class Hours:
    """The hours of some days of the week (0: Monday), in a time zone."""

    days: range
    begins: time
    ends: time
    zone: ZoneInfo


def base_url(name: str, default: str) -> str:
    """An HTTP address without a slash at its end, a query or credentials."""
    value = text(name, default).rstrip("/")
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[\w./~-]*)?", value):
        raise ImproperlyConfigured(f"{name}={value!r}: expected an address such as https://soc.example.org")
    return value


def hours(name: str, default: str) -> Hours:
    """Days, hours and a time zone, written `Mon-Fri 08:00-18:00 Europe/Berlin`."""
    value = text(name, default)
    clock = r"([01]\d|2[0-3]):([0-5]\d)"
    match = re.fullmatch(rf"(\w{{3}})-(\w{{3}}) {clock}-{clock} (\S+)", value)
    try:
        if not match:
            raise ValueError(value)
        first, last = (_DAYS.index(day) for day in match.group(1, 2))
        begins, ends = time(int(match[3]), int(match[4])), time(int(match[5]), int(match[6]))
        if first > last or begins >= ends:
            raise ValueError(value)
        return Hours(range(first, last + 1), begins, ends, ZoneInfo(match[7]))
    except (ValueError, OSError, LookupError):
        raise ImproperlyConfigured(f"{name}={value!r}: expected days, hours and a zone, such as {default}") from None


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
