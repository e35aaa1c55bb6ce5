"""One observable: its type, and the one form in which its value is stored and compared."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import idna

from aurora.addresses import address_or_none
from aurora.errors import Invalid
from cases.observables.fang import refang
from cases.observables.lookalikes import is_file_name

IOC_TYPES: Final[tuple[str, ...]] = (
    "ip",
    "domain",
    "url",
    "hash_md5",
    "hash_sha1",
    "hash_sha256",
    "email",
    "cve",
    "file_path",
    "registry_key",
    "mutex",
    "user_agent",
)

MAX_VALUE_BYTES: Final = 2048
"""In UTF-8; also the width of the column. In a B-tree PostgreSQL refuses rows above a third of a page (2704 bytes)."""

HASH_OF_LENGTH: Final = {32: "hash_md5", 40: "hash_sha1", 64: "hash_sha256"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21, "ssh": 22, "ldap": 389}
_HIVES: Final = {
    "HKEY_LOCAL_MACHINE": "HKLM",
    "HKEY_CURRENT_USER": "HKCU",
    "HKEY_CLASSES_ROOT": "HKCR",
    "HKEY_USERS": "HKU",
    "HKEY_CURRENT_CONFIG": "HKCC",
}
_CACHE = 16_384
# Longer strings are no address, name or hash, and would fill the caches with a sender's megabytes.
_MAX_FIELD = 512

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?=.{{3,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z)[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
_HOST = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}")
_LOCAL_PART = re.compile(r"[^\s@\"(),:;<>\[\\\]\x00-\x20\x7f]{1,64}")
_AROUND_A_KEY = re.compile(r"\A[\s\\]+|[\s\\]+\Z")
_HEX = re.compile(r"[0-9a-f]+")
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,19}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PORT_OF_IPV4 = re.compile(r"((?:[0-9]{1,3}\.){3}[0-9]{1,3}):[0-9]{1,5}")
_HOST_AND_PORT = re.compile(r"([\w.()\[\]-]+|\[[0-9a-f:.]+\]):[0-9]{1,5}", re.IGNORECASE)
_WINDOWS_PATH = re.compile(r"(?:[a-z]:[\\/]|\\\\[^\\]|%[a-z_()0-9]+%\\)", re.IGNORECASE)
_LOOKS = {
    "registry_key": re.compile(r"(?:HKEY_[A-Z_]+|HKLM|HKCU|HKCR|HKU|HKCC)\\", re.IGNORECASE),
    "user_agent": re.compile(r"(?:Mozilla|curl|Wget|python-requests|Go-http-client|Opera|okhttp)/[0-9]"),
    "mutex": re.compile(r"(?:Global|Local)\\[^\\]+\Z"),
    "file_path": re.compile(rf"{_WINDOWS_PATH.pattern}|/[^/]", re.IGNORECASE),
    "url": re.compile(r"[a-z][a-z0-9+.-]{0,31}://", re.IGNORECASE),
    "email": re.compile(r"[^/\s]+@[^/\s]+\Z"),
}

_INTERNAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    )
)


class Observable(NamedTuple):
    """`type` is one of `IOC_TYPES`; `value` is canonical, so equal things are equal values."""

    type: str
    value: str


def canonical(ioc_type: str, value: str) -> Observable:
    """The observable in its one stored form, whatever spelling or defanging it came in.

    Raises `Invalid` with a sentence when the type is unknown or the value is not one of that type.
    """
    form = _FORMS.get(ioc_type)
    if form is None:
        raise Invalid(f"Unknown IOC type {ioc_type[:40]!r}; known are {', '.join(IOC_TYPES)}.")
    plain = value.strip()
    if not plain or _size(plain) > MAX_VALUE_BYTES or _UNPRINTABLE.search(plain):
        raise Invalid(f"An IOC's value is 1 to {MAX_VALUE_BYTES} bytes of printable text.")
    if ioc_type not in _VERBATIM:
        plain = _plain(plain)
    settled = form(plain)
    if settled is None or _size(settled) > MAX_VALUE_BYTES:
        raise Invalid(f"{plain[:200]!r} is not a valid {_NAMES.get(ioc_type, ioc_type)}.")
    return Observable(ioc_type, settled)


def classify(value: str) -> Observable | None:
    """The observable that a bare string of unknown type is, or None.

    A name such as `setup.py` or `invoice.zip`, whose ending is a file's as well as a top-level domain's,
    counts as a file unless it was defanged or has more labels; who means the domain says so by its type.
    """
    text = value.strip().strip("\"'<>`")
    if with_port := _HOST_AND_PORT.fullmatch(text):
        text = with_port[1]
    for ioc_type in _candidates(text):
        try:
            return canonical(ioc_type, text)
        except Invalid:
            continue
    return None


def host_of(url: str) -> str:
    """The host of a URL in its stored form. `urlsplit` is no way to it: it breaks at what may stand before an `@` (`http://a[b@evil.example/`)."""
    authority = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return authority[1:].partition("]")[0] if authority[:1] == "[" else authority.partition(":")[0]


def is_internal_ip(value: str) -> bool:
    """Whether the address is one's own or nobody's: private, loopback, link-local, shared, multicast, …

    The documentation ranges of RFC 5737 and RFC 3849 count as outside: samples and demonstrations use them
    as such. What is no address is not internal.
    """
    return len(value) <= _MAX_FIELD and _is_internal(value)


def ip(value: object) -> Observable | None:
    """A sensor's field as an address, or None. Never raises, like its four siblings below."""
    return _ip_field(value) if isinstance(value, str) and len(value) <= _MAX_FIELD else None


def domain(value: object) -> Observable | None:
    """A field as a domain of two labels or more, reserved endings (`.example`, `.local`) too; or None."""
    return _domain_field(value) if isinstance(value, str) and len(value) <= _MAX_FIELD else None


def url(value: object) -> Observable | None:
    """A field as a URL with its scheme, or None."""
    return _url_field(value) if isinstance(value, str) and len(value) <= MAX_VALUE_BYTES else None


def file_hash(value: object) -> Observable | None:
    """A field as MD5, SHA-1 or SHA-256, told apart by length; or None."""
    return _hash_field(value) if isinstance(value, str) and len(value) <= _MAX_FIELD else None


def email(value: object) -> Observable | None:
    """A field as an address of mail, or None."""
    return _email_field(value) if isinstance(value, str) and len(value) <= _MAX_FIELD else None


def _field(ioc_type: str, value: str) -> Observable | None:
    try:
        return canonical(ioc_type, value)
    except Invalid:
        return None


@lru_cache(_CACHE)
def _is_internal(value: str) -> bool:
    address = address_or_none(value)
    return address is not None and any(address in network for network in _INTERNAL)


@lru_cache(_CACHE)
def _ip_field(value: str) -> Observable | None:
    return _field("ip", value)


@lru_cache(_CACHE)
def _domain_field(value: str) -> Observable | None:
    return _field("domain", value)


@lru_cache(_CACHE // 4)
def _url_field(value: str) -> Observable | None:
    return _field("url", value) if ":" in value else None


@lru_cache(_CACHE)
def _hash_field(value: str) -> Observable | None:
    ioc_type = HASH_OF_LENGTH.get(len(value))
    return _field(ioc_type, value) if ioc_type else None


@lru_cache(_CACHE)
def _email_field(value: str) -> Observable | None:
    return _field("email", value)


def _candidates(text: str) -> Sequence[str]:
    """The types to try, most telling first."""
    plain = _plain(text) if len(text) <= MAX_VALUE_BYTES else ""
    for ioc_type, looks_like in _LOOKS.items():
        if looks_like.match(plain):
            return (ioc_type,)
    if is_file_name(plain, was_defanged=plain != text):
        return ("file_path",)
    return (HASH_OF_LENGTH.get(len(plain), "cve"), "ip", "domain", "url")


def _plain(text: str) -> str:
    """Every layer of defanging off, so that a canonical value cannot change when it comes in again."""
    while (thinner := refang(text).strip()) != text:
        text = thinner
    return text


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _ip_form(value: str) -> str | None:
    if with_port := _PORT_OF_IPV4.fullmatch(value):
        value = with_port[1]
    address = address_or_none(value.strip("[]"))
    return None if address is None else str(address)


def _host_ascii(value: str) -> str | None:
    """Lower case, A-labels, no trailing dot; None for what no resolver would take."""
    host = value.lower().removesuffix(".")
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower().removesuffix(".")
    except (idna.IDNAError, UnicodeError):
        return None


def _domain_form(value: str) -> str | None:
    host = _host_ascii(value)
    return host if host and _DOMAIN.fullmatch(host) else None


def _url_form(value: str) -> str | None:
    scheme, separator, rest = value.partition("://")
    if not separator:
        # `evil.example/payload` is a URL to everybody who writes it down; browsers read it as HTTP.
        scheme, rest = "http", value
        if "/" not in value or _domain_form(value.partition("/")[0]) is None:
            return None
    scheme = scheme.lower()
    if not _SCHEME.fullmatch(scheme) or any(map(str.isspace, rest)):
        return None
    return _joined(scheme, rest)


def _joined(scheme: str, rest: str) -> str | None:
    # Browsers read a backslash as a slash: `http://evil.example\@good.example` goes to the former.
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    if tail[:1] == "\\":
        tail = "/" + tail[1:]
    userinfo, at, host_and_port = authority.rpartition("@")
    host = _authority(host_and_port, _DEFAULT_PORTS.get(scheme))
    if host is None:
        return None
    if tail[:1] != "/":
        tail = "/" + tail
    return f"{scheme}://{userinfo}{at}{host}{tail}"


def _authority(text: str, default_port: int | None) -> str | None:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    address = address_or_none(host)
    if text.startswith("["):
        name = None if address is None else f"[{address}]" if address.version == 6 else str(address)
    else:
        name = str(address) if address else _host_ascii(host)
    if name is None or not (name[:1] == "[" or _HOST.fullmatch(name)):
        return None
    return name if port in (None, default_port) else f"{name}:{port}"


def _email_form(value: str) -> str | None:
    local, at, host = value.removeprefix("mailto:").lower().rpartition("@")
    name = _domain_form(host)
    return f"{local}@{name}" if at and name and _LOCAL_PART.fullmatch(local) else None


def _hex_form(length: int) -> Callable[[str], str | None]:
    def form(value: str) -> str | None:
        digest = value.lower()
        return digest if len(digest) == length and _HEX.fullmatch(digest) else None

    return form


def _cve_form(value: str) -> str | None:
    cve = value.upper()
    return cve if _CVE.fullmatch(cve) else None


def _path_form(value: str) -> str | None:
    """Windows compares paths without case; elsewhere case tells files apart."""
    if _WINDOWS_PATH.match(value):
        return value.replace("/", "\\").lower()
    return value


def _registry_form(value: str) -> str | None:
    hive, _, rest = _AROUND_A_KEY.sub("", value).partition("\\")
    hive = hive.upper()
    hive = _HIVES.get(hive, hive)
    return f"{hive}\\{rest.lower()}" if rest and hive in _HIVES.values() else None


def _verbatim(value: str) -> str | None:
    return value


_VERBATIM: Final = frozenset({"file_path", "registry_key", "mutex", "user_agent"})
_NAMES: Final = {"ip": "IP address", "url": "URL", "cve": "CVE id", "email": "e-mail address"}
_FORMS: Final[dict[str, Callable[[str], str | None]]] = {
    "ip": _ip_form,
    "domain": _domain_form,
    "url": _url_form,
    "hash_md5": _hex_form(32),
    "hash_sha1": _hex_form(40),
    "hash_sha256": _hex_form(64),
    "email": _email_form,
    "cve": _cve_form,
    "file_path": _path_form,
    "registry_key": _registry_form,
    "mutex": _verbatim,
    "user_agent": _verbatim,
}
