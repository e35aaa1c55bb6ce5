"""Collects who and what an alert is about, so that the same detection always yields the same observables.

The observables of an alert are hashed into its `dedup_hash`: whatever changes between two firings of one rule
against one target must stay out of them. Hence these rules, for every format:

- An internal address or name (`.local`, `.corp`, …) is an asset and never an observable; a public address on
  the other end is an observable.
- What is known to be ours is no observable although its address is public or its name outside: a host of ours,
  the server whose own sensor speaks. Else it would end up on our own blocklist.
- No ports, flow ids, counters, times or process ids. The port of a URL stays: it is part of where the URL
  leads.
- The name, URL or server name by which an outsider calls one of our own servers is ours, however the attacker
  wrote it, and no observable: it would end up on our own blocklist. It stays in `metadata`.
- A URL that a sensor saw is kept without its query and fragment. A beacon that calls `/gate?id=7&t=1699…`
  with another query each time is one detection, not thousands; the whole URL stays in `metadata["url"]` and
  in the raw record. What is given up: two payloads told apart by nothing but the query (`/get?f=a`,
  `/get?f=b`) share an observable. Paths are kept, so malware that varies the path still opens an alert for
  each. A list of indicators that the sender drew up himself (`Entities.indicator`) is taken whole.
- A user agent is an observable only of an alert whose title is about user agents; else each browser behind
  one firewall would make an alert of its own.
- Certificate and JA3 fingerprints look like file hashes and are none: they go to `metadata`. A hash of nothing
  (zeros where a sensor computed none, the digest of an empty file) would tie together whatever lacks one.
- A vulnerability that the title names is an observable: it is what was attacked, or what is open.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

from aurora.errors import Invalid
from cases import observables
from cases.normalizers.fields import clean, sequence, text, texts
from cases.observables import Observable

MAX_OBSERVABLES = 256
MAX_NAMES = 64
_MAX_NAME = 255
_MAX_USER_AGENT = 500
_MAX_FREE_TEXT = 20_000

_NOBODY = {
    "",
    "-",
    "--",
    "n/a",
    "na",
    "none",
    "null",
    "(null)",
    "unknown",
    "(unknown)",
    "(no user)",
    "undefined",
    "localhost",
    "localhost.localdomain",
    "*",
    "?",
    "any",
    "0.0.0.0",  # noqa: S104 - compared with, not bound to
    "127.0.0.1",
    "::1",
}
# Accounts that every Windows host has: two alerts do not belong together because both name one of them.
_EVERYBODY = {
    "system",
    "local service",
    "network service",
    "localservice",
    "networkservice",
    "anonymous logon",
}
_ABOUT_USER_AGENTS = re.compile(r"user[\s_-]?agent", re.IGNORECASE)
# Endings of names that only one's own resolvers answer (RFC 6762, RFC 8375, ICANN's `.internal`, and habit).
_INTERNAL_ENDINGS = (".local", ".lan", ".internal", ".intranet", ".corp", ".home.arpa", ".localdomain")
# Where clouds answer their own machines: an address that every one of them talks to, and nobody's.
_METADATA_SERVICES = {"169.254.169.254", "fd00:ec2::254"}
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_EMPTY_FILE = {
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}
_CVE = re.compile(r"(?<![a-z0-9])CVE-[0-9]{4}-[0-9]{4,19}(?![0-9])", re.IGNORECASE)
_LOOPBACK_URL = re.compile(r"[a-z]+://(?:localhost|127\.[0-9.]+|\[::1\])(?:[:/]|\Z)", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)")
# What senders call AuroraSOC's types of observables (MISP, STIX, TheHive, plain English).
_KINDS = {
    **dict.fromkeys(("ipv4", "ipv6", "ipv4_addr", "ipv6_addr", "ip_address", "ip_src", "ip_dst", "address"), "ip"),
    **dict.fromkeys(("domain_name", "hostname", "fqdn", "host"), "domain"),
    **dict.fromkeys(("uri", "link"), "url"),
    **dict.fromkeys(("email_addr", "email_address", "email_src", "email_dst", "mail"), "email"),
    **dict.fromkeys(("file_name", "filename", "filepath", "path"), "file_path"),
    **dict.fromkeys(("registry", "regkey", "windows_registry_key"), "registry_key"),
    **dict.fromkeys(("vulnerability", "cve_id"), "cve"),
    **dict.fromkeys(("useragent", "ua"), "user_agent"),
}
_HEX_DIGITS = re.compile(r"[0-9A-Fa-f]{32,64}")


class Entities:
    """The distinct assets, users and observables of one alert, in the order in which they were met.

    Every method takes untrusted values of any type and passes over what is not of its kind.
    """

    __slots__ = ("_ours", "assets", "observables", "users")

    def __init__(self) -> None:
        self.assets: dict[str, None] = {}
        self.users: dict[str, None] = {}
        self.observables: dict[Observable, None] = {}
        self._ours: set[str] = set()

    def foreign(self) -> list[Observable]:
        """The observables without what turned out, at whatever point of the record, to be ours."""
        ours = self._ours.union(map(str.lower, self.assets))
        return [found for found in self.observables if found.type not in ("ip", "domain") or found.value not in ours]

    def ours(self, value: Any) -> None:
        """Addresses of ours that are not worth a mention: what a host has besides the one that is meant."""
        self._ours.update(spelled(item) for item in texts(value, 64)[:MAX_NAMES])

    def address(self, value: Any) -> None:
        """IP addresses (one or a list): an internal one is an asset, one from outside an observable."""
        for item in sequence(value):
            if type(item) is str and item:
                self._address(item)

    def host(self, value: Any) -> None:
        """Names or addresses of hosts of ours: assets, also under a public address."""
        for item in sequence(value):
            name = spelled(text(item, _MAX_NAME))
            if name.lower() not in _NOBODY and len(self.assets) < MAX_NAMES:
                self.assets[name] = None

    def user(self, value: Any) -> None:
        """Names of users, without the Windows domain in front, in which sensors do not agree. Placeholders,
        machine accounts (`WS01$`) and accounts that every host has are left out.
        """
        for item in sequence(value):
            name = text(item, _MAX_NAME).rpartition("\\")[2]
            plain = name.lower()
            if plain in _NOBODY or plain in _EVERYBODY or plain.endswith("$"):
                continue
            if len(self.users) < MAX_NAMES:
                self.users[name] = None

    def domain(self, value: Any) -> None:
        """Names that were looked up or called, such as a DNS query or a TLS server name; an address counts as
        one.
        """
        for item in sequence(value):
            if type(item) is str and item:
                name = item.rstrip(".")
                if _placed(name)[0]:
                    self._address(name)
                elif name.lower().endswith(_INTERNAL_ENDINGS):
                    self.host(name)
                else:
                    self._keep(observables.domain(name))

    def url(self, value: Any) -> None:
        """URLs that a sensor saw, without query and fragment, see above; and their hosts, which block lists take."""
        for item in sequence(value):
            if type(item) is str and item and not _LOOPBACK_URL.match(item):
                found = observables.url(without_query(item))
                self._keep(found)
                if found is not None:
                    self.domain(without_port(found.value.partition("://")[2].partition("/")[0].rpartition("@")[2]))

    def hash(self, value: Any) -> None:
        """Hashes of files, also as Sysmon writes them: `SHA256=…,IMPHASH=…`; an import hash names no file."""
        for item in sequence(value):
            if type(item) is str and item:
                for part in item.split(",", 16)[:16]:
                    kind, _, digest = part.rpartition("=")
                    if "imphash" not in kind.lower() and _HEX_DIGITS.fullmatch(digest.strip()):
                        self._keep(observables.file_hash(digest.strip()))

    def cve(self, value: Any) -> None:
        """Ids of vulnerabilities, wherever they stand in a text."""
        for item in sequence(value):
            if type(item) is str and "-" in item:
                for found in _CVE.findall(item[:_MAX_NAME]):
                    self._keep(_canonical("cve", found))

    def email(self, value: Any) -> None:
        """Addresses of senders, with or without `Name <…>`."""
        for item in sequence(value):
            if type(item) is str and item:
                self._keep(observables.email(bare_email(item)))

    def user_agent(self, value: Any, *, title: str) -> None:
        """A user agent, when `title` says that the rule is about user agents."""
        agent = text(value, _MAX_USER_AGENT)
        if agent and _ABOUT_USER_AGENTS.search(title):
            self._keep(_canonical("user_agent", agent))

    def prose(self, value: Any) -> None:
        """Everything that free text mentions; internal addresses become assets. Costs about half a
        millisecond.
        """
        for item in sequence(value):
            if type(item) is str and item:
                written = clean(item, _MAX_FREE_TEXT, keep_lines=True)
                for found in observables.extract(written):
                    self._found(found)
                # `extract` leaves our own addresses out; here they say which machines are concerned.
                for address in _IPV4.findall(written):
                    if is_internal(address):
                        self._address(address)

    def indicator(self, value: Any, kind: str = "") -> None:
        """An indicator that the sender listed as one: text, or with its type given by `kind`. Taken whole."""
        written = text(value, 4_096)
        found = _typed(kind, written) or (observables.classify(written) if written else None)
        if found is not None and found.type == "ip":
            self._address(found.value)
        else:
            self._keep(found)

    def _address(self, value: str) -> None:
        kind, address = _placed(value)
        if kind == "internal":
            if len(self.assets) < MAX_NAMES:
                self.assets[address] = None
        elif kind == "external":
            self._keep(observables.ip(address))

    def _found(self, found: Observable) -> None:
        if found.type == "ip":
            self._address(found.value)
        elif found.type == "url":
            self._keep(observables.url(without_query(found.value)))
        elif found.type != "user_agent":
            self._keep(found)

    def _keep(self, found: Observable | None) -> None:
        if found is None or len(self.observables) >= MAX_OBSERVABLES:
            return
        if found.type.startswith("hash_") and (found.value in _EMPTY_FILE or not found.value.strip("0")):
            return
        self.observables[found] = None


def is_address(value: str) -> bool:
    """Whether `value` is the address of one host."""
    return _placed(value)[0] != ""


def is_internal(value: Any) -> bool:
    """Whether `value` is an internal address."""
    return type(value) is str and _placed(value)[0] == "internal"


def is_external(value: Any) -> bool:
    """Whether `value` is a public address."""
    return type(value) is str and _placed(value)[0] == "external"


def spelled(value: Any) -> Any:
    """An address in its one spelling; anything else as it is."""
    return _placed(value)[1] if type(value) is str else value


def without_port(host: str) -> str:
    """`name` of `name:port`, `address` of `[address]:port`; a bare IPv6 address stays whole."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def without_query(url: str) -> str:
    """`url` up to its query or fragment."""
    return url.partition("?")[0].partition("#")[0]


def bare_email(value: str) -> str:
    """The address in `Name <address>`, or `value` itself."""
    _, bracket, rest = value.partition("<")
    return rest.partition(">")[0].strip() if bracket else value.strip()


def _typed(kind: str, value: str) -> Observable | None:
    """`value` as an observable of a type that the sender named in his own words, or None when it is no such
    thing.
    """
    if not kind or not value:
        return None
    kind = kind.lower().replace("-", "_").replace(" ", "_").replace(":", "_")
    if kind.startswith(("hash", "file_hash", "filehash", "md5", "sha1", "sha256")):
        return observables.file_hash(value)
    return _canonical(_KINDS.get(kind, kind), value)


def _canonical(kind: str, value: str) -> Observable | None:
    try:
        return observables.canonical(kind, value)
    except Invalid:
        return None


@lru_cache(maxsize=8192)
def _placed(value: str) -> tuple[str, str]:
    """Where an address is, `internal` or `external`, and its one spelling (Suricata writes IPv6 at full length).

    The place is empty for what is no address of one host: text, multicast, broadcast, 0.0.0.0, the loopback, and
    IPv6 that nobody was given (senders pad fields with `::ffff:0`).
    """
    if not value or len(value) > 45 or not (value[0].isdigit() or ":" in value):
        return "", value
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        return "", value
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped  # an IPv4 address as Windows writes it
    address = str(found)
    if found.is_multicast or found.is_unspecified or found.is_loopback or address == "255.255.255.255":
        return "", address
    if address in _METADATA_SERVICES:
        return "", address
    if observables.is_internal_ip(address):
        return "internal", address
    is_given_out = isinstance(found, ipaddress.IPv4Address) or found in _GLOBAL_UNICAST
    return "external" if is_given_out else "", address
