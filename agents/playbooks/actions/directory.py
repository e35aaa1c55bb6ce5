"""A session with a directory (LDAPv3, RFC 4511): at one address, over TLS, within one time, and no referral is followed.

ldap3 encodes, decodes and matches messages. Address, TLS and limits are ours: its time limit is one of each single read, and its look at certificates is
not the standard library's.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket
from typing import Any
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPException, LDAPInvalidFilterError
from ldap3.utils.conv import escape_filter_chars

from agents.playbooks.actions import http
from aurora.errors import AuroraError, Invalid
from aurora.texts import storable

_START_TLS = "1.3.6.1.4.1.1466.20037"
_SUCCESS, _SIZE_LIMIT, _NO_SUCH_VALUE, _NO_SUCH_ENTRY = 0, 4, 16, 32
_LONGEST_DN = 600
_MAY_PASS = frozenset({3, 51, 52, 80})
"""timeLimitExceeded, busy, unavailable, other (RFC 4511, appendix A). The rest stays as it is until somebody changes something."""

escaped = escape_filter_chars
"""A text as the value of a filter (RFC 4515): whatever it holds, it is compared and never read as a filter."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory tells of something. Names of attributes are in small letters."""

    dn: str
    attributes: Mapping[str, Sequence[bytes]]

    def texts(self, name: str) -> list[str]:
        """The values of an attribute. Raises Invalid for what is no text, or more of it than an account's state takes."""
        values = self.attributes.get(name.lower(), ())
        try:
            found = [value.decode() for value in values]
        except UnicodeDecodeError:
            raise Invalid(f"{name} of {self.dn} is no text") from None
        if len(found) > 10 or any(len(value) > 1_000 or "\0" in value for value in found):
            raise Invalid(f"{name} of {self.dn} is more than can be kept and put back")
        return found


class Directory:
    """A signed-in caller. Its methods raise Invalid for what stays refused, OSError for what may pass."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def who(self) -> str:
        """Who it takes us for (RFC 4532); empty where it does not say."""
        with _understood():
            return storable(str(self._connection.extend.standard.who_am_i() or ""), 300)

    def read(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        """One entry by its name; None when there is none."""
        found, _ = self._search(dn, "(objectClass=*)", attributes, ldap3.BASE, 1)
        return found[0] if found else None

    def search(self, base: str, wanted: str, attributes: Sequence[str], *, most: int) -> list[Entry]:
        """At most `most` of the entries below `base` that match. Raises Invalid, too, when the directory cuts it off before that."""
        found, is_cut = self._search(base, wanted, attributes, ldap3.SUBTREE, most)
        if is_cut and len(found) < most:
            raise Invalid("The directory did not tell all that match: its size limit is too small")
        return found

    def replace(self, dn: str, attribute: str, values: Sequence[str]) -> None:
        """Gives an attribute these values, whatever it had; none takes it away."""
        self._modify(dn, {attribute: [(ldap3.MODIFY_REPLACE, list(values))]})

    def exchange(self, dn: str, attribute: str, old: Sequence[str], new: Sequence[str]) -> bool:
        """Gives an attribute new values if it has still the old ones, in one step; else False."""
        changes = [(ldap3.MODIFY_DELETE, list(old)), (ldap3.MODIFY_ADD, list(new))]
        return self._modify(dn, {attribute: changes}, _NO_SUCH_VALUE) == _SUCCESS

    def _modify(self, dn: str, changes: dict[str, Any], *also: int) -> int:
        with _understood():
            self._connection.modify(dn, changes)
        return _require(self._connection, f"change {dn}", *also)

    def _search(
        self, base: str, wanted: str, attributes: Sequence[str], scope: str, most: int
    ) -> tuple[list[Entry], bool]:
        with _understood():
            try:
                self._connection.search(
                    base,
                    wanted,
                    search_scope=scope,
                    dereference_aliases=ldap3.DEREF_NEVER,
                    attributes=list(attributes),
                    size_limit=most,
                )
            except LDAPInvalidFilterError:
                raise Invalid(f"{wanted[:500]} is no filter (RFC 4515)") from None
        also = (_SIZE_LIMIT, _NO_SUCH_ENTRY) if scope == ldap3.BASE else (_SIZE_LIMIT,)
        code = _require(self._connection, f"search {base}", *also)
        # References to other servers, which Active Directory adds to every search from its root, are passed over.
        entries = [one for one in self._connection.response or () if one["type"] == "searchResEntry"]
        return [_entry(one) for one in entries], code == _SIZE_LIMIT


@contextmanager
def session(settings: Any, timeout: float) -> Iterator[Directory]:
    """Connects and signs in. All of it, from here to the end, takes at most `timeout` seconds.

    Raises Invalid for an address that is not allowed, a certificate that nobody vouches for, refused credentials; OSError.
    """
    until = time.monotonic() + timeout
    parts = urlsplit(settings.url)
    is_tls = parts.scheme == "ldaps"
    host, port = parts.hostname or "", parts.port or (636 if is_tls else 389)
    address = http.allowed_address(host, port)
    connection = ldap3.Connection(
        ldap3.Server(str(address), port=port, get_info=ldap3.NONE, connect_timeout=timeout),
        user=settings.bind_dn,
        password=settings.password,
        auto_bind=ldap3.AUTO_BIND_NONE,
        auto_referrals=False,
        check_names=False,
    )
    try:
        with _understood():
            connection.open(read_server_info=False)
            wire = connection.socket = _Wire(connection.socket, until)
            if is_tls:
                wire.secure(settings.ca_pem, host)
            elif settings.security == "tls":
                connection.extended(_START_TLS)
                _require(connection, "begin TLS")
                wire.secure(settings.ca_pem, host)
            connection.bind(read_server_info=False)
            _require(connection, f"sign in as {settings.bind_dn}")
        yield Directory(connection)
    finally:
        if connection.socket is not None:
            connection.socket.close()


class _Wire:
    """A connected socket that is used until an instant and read up to a size, however slowly or long the other side answers."""

    def __init__(self, connected: socket, until: float) -> None:
        self._socket, self._until, self._taken = connected, until, 0

    def recv(self, size: int) -> bytes:
        data = self._timed().recv(size)
        self._taken += len(data)
        if self._taken > http.MOST_BYTES:
            raise Invalid("It answered more than anybody needs")
        return data

    def sendall(self, data: bytes) -> None:
        self._timed().sendall(data)

    def secure(self, ca_pem: str, host: str) -> None:
        """TLS from here on. Raises Invalid when the certificate is not the host's, or nobody vouches for it."""
        context = ssl.create_default_context(cadata=ca_pem or None)
        try:
            self._socket = context.wrap_socket(self._timed(), server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise Invalid(f"The certificate of {host} is not good: {error.verify_message}") from None

    def close(self) -> None:
        self._socket.close()

    def _timed(self) -> socket:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._socket


@contextmanager
def _understood() -> Iterator[None]:
    """Around each call of ldap3, which raises errors of its own, and any there is for answers that are no LDAP."""
    try:
        yield
    except (AuroraError, OSError):
        raise
    except LDAPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    except Exception as error:
        raise http.RefusedForNow(f"It does not answer in LDAP ({type(error).__name__}: {error})") from error


def _require(connection: Any, what: str, *also: int) -> int:
    """The code of the last answer, if it is success or one of `also`. Raises Invalid, OSError."""
    result = connection.result
    code = int(result["result"])
    if code in (_SUCCESS, *also):
        return code
    told = storable(f"The directory refuses to {what}: {result['description']} {result['message']}".strip(), 500)
    raise http.RefusedForNow(told) if code in _MAY_PASS else Invalid(told)


def _entry(found: Mapping[str, Any]) -> Entry:
    try:
        dn = found["raw_dn"].decode()
    except UnicodeDecodeError:
        dn = "\0"
    if "\0" in dn or len(dn) > _LONGEST_DN:
        raise Invalid("The directory answers with a name that is none")
    return Entry(dn, {name.partition(";")[0].lower(): list(values) for name, values in found["raw_attributes"].items()})
