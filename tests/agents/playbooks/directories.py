"""A directory of its own for a test: OpenLDAP's slapd on loopback, over TLS by an authority of its own, with the password policy overlay."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import ldap3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.group import free_port
from tests.waiting import until

BASE = "dc=corp,dc=example"
PEOPLE = f"ou=people,{BASE}"
SOC, SOC_PASSWORD = f"cn=soc,{BASE}", "may-disable-accounts"
READER, READER_PASSWORD = f"cn=reader,{BASE}", "may-only-look"
ADMINISTRATOR, ADMINISTRATOR_PASSWORD = f"cn=root,{BASE}", "may-do-all"
PASSWORD = "a-persons-own"

_SLAPD = shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# What Active Directory has and OpenLDAP's own schema has not: by their OIDs ([MS-ADA1], [MS-ADA3]). A category is a DN there, and a word in filters.
_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl'
  EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.656 NAME 'userPrincipalName'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.782 NAME 'objectCategory'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.146 NAME 'objectSid'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE )
attributetype ( 2.16.840.1.113730.3.1.610 NAME 'nsAccountLock'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.9 NAME 'user' SUP top AUXILIARY
  MAY ( userAccountControl $ sAMAccountName $ userPrincipalName $ objectCategory $ objectSid $ nsAccountLock ) )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
moduleload retcode
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
pidfile {folder}/slapd.pid
sizelimit 100
database mdb
maxsize 16777216
dbnosync
suffix "{base}"
rootdn "{administrator}"
rootpw {password}
directory {folder}/data
access to attrs=pwdAccountLockedTime,userAccountControl,nsAccountLock by dn.exact="{soc}" write by * read
access to attrs=userPassword by anonymous auth
access to * by users read
overlay ppolicy
ppolicy_default "cn=policy,{base}"
overlay retcode
retcode-parent "ou=codes,{base}"
retcode-item "cn=busy" 0x33
retcode-item "cn=unavailable" 0x34
retcode-item "cn=unwilling" 0x35
"""
_ENTRIES = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: corp
o: Corp

dn: cn=policy,{BASE}
objectClass: device
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE

dn: {SOC}
objectClass: person
objectClass: simpleSecurityObject
cn: soc
sn: soc
userPassword: {SOC_PASSWORD}

dn: {READER}
objectClass: person
objectClass: simpleSecurityObject
cn: reader
sn: reader
userPassword: {READER_PASSWORD}

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people
"""


class Slapd:
    """A running server. Whatever is asked of `cn=busy,ou=codes` and its neighbours is answered so. `jo` and `kim` are ordinary people in it, whose accounts may be disabled."""

    def __init__(self, folder: Path, *, has_tls: bool = True) -> None:
        self.port, self.tls_port, self.has_tls = free_port(), free_port(), has_tls
        self.ca_pem = _make_certificates(folder)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir()
        self._configuration = folder / "slapd.conf"
        words = {
            "folder": str(folder),
            "base": BASE,
            "soc": SOC,
            "administrator": ADMINISTRATOR,
            "password": ADMINISTRATOR_PASSWORD,
        }
        text = "".join(line for line in _CONFIGURATION.splitlines(True) if has_tls or not line.startswith("TLS"))
        for name, word in words.items():
            text = text.replace(f"{{{name}}}", word)
        self._configuration.write_text(text)
        entries = _ENTRIES + person("jo") + person("kim")
        loading = [_slapd(), "-T", "add", "-f", str(self._configuration)]
        subprocess.run(loading, input=entries.encode(), check=True, capture_output=True)

    def start(self) -> None:
        urls = f"ldap://127.0.0.1:{self.port} ldap://[::1]:{self.port}" + (
            f" ldaps://127.0.0.1:{self.tls_port}" if self.has_tls else ""
        )
        # -d: it stays in the foreground, and says nothing.
        self._process = subprocess.Popen(
            [_slapd(), "-f", str(self._configuration), "-h", urls, "-d", "0"], start_new_session=True
        )
        until(self._is_ready, 30)

    def stop(self) -> None:
        """Whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """It neither answers nor goes away."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def settings(self) -> dict[str, Any]:
        """Of a connector that reaches it by StartTLS and locks accounts by the policy."""
        return {
            "url": f"ldap://127.0.0.1:{self.port}",
            "ca_pem": self.ca_pem,
            "bind_dn": SOC,
            "password": SOC_PASSWORD,
            "base_dn": BASE,
            "scheme": "openldap",
        }

    def add(self, ldif: str) -> None:
        """More entries, as an administrator."""
        for block in re.split("\n\n+", ldif.strip()):
            lines = [line.partition(": ") for line in block.splitlines()]
            attributes: dict[str, list[str]] = {}
            for name, _, value in lines[1:]:
                attributes.setdefault(name, []).append(value)
            with self._administrator() as connection:
                assert connection.add(lines[0][2], attributes=attributes), connection.result

    def change(self, uid: str, **values: str | bytes) -> None:
        """Sets attributes of a person, as an administrator; an empty value takes one away."""
        changes = {name: [(ldap3.MODIFY_REPLACE, [value] if value else [])] for name, value in values.items()}
        with self._administrator() as connection:
            assert connection.modify(f"uid={uid},{PEOPLE}", changes), connection.result

    def change_policy(self, **values: str) -> None:
        """Of passwords, for everybody."""
        with self._administrator() as connection:
            changes = {name: [(ldap3.MODIFY_REPLACE, [value])] for name, value in values.items()}
            assert connection.modify(f"cn=policy,{BASE}", changes), connection.result

    def remove(self, uid: str) -> None:
        with self._administrator() as connection:
            assert connection.delete(f"uid={uid},{PEOPLE}"), connection.result

    def values(self, uid: str, attribute: str) -> list[str]:
        """What the server itself shows of a person."""
        with self._administrator() as connection:
            connection.search(f"uid={uid},{PEOPLE}", "(objectClass=*)", attributes=[attribute])
            return [value.decode() for value in connection.response[0]["raw_attributes"].get(attribute, [])]

    def lets_in(self, uid: str) -> bool:
        """Whether a person can sign in."""
        with _connected(self.port, f"uid={uid},{PEOPLE}", PASSWORD) as connection:
            return bool(connection.bound)

    def lets_soc_in(self) -> bool:
        """Whether the account of our connectors can sign in."""
        with _connected(self.port, SOC, SOC_PASSWORD) as connection:
            return bool(connection.bound)

    def _administrator(self) -> Any:
        return _connected(self.port, ADMINISTRATOR, ADMINISTRATOR_PASSWORD)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "slapd has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        with _connected(self.port, SOC, SOC_PASSWORD) as connection:
            return bool(connection.bound)


def person(uid: str, *, under: str = PEOPLE) -> str:
    """An ordinary account, as LDIF."""
    lines = [
        f"dn: uid={uid},{under}",
        "objectClass: inetOrgPerson",
        "objectClass: user",
        f"uid: {uid}",
        f"cn: {uid}",
        f"sn: {uid}",
        f"userPassword: {PASSWORD}",
    ]
    return "\n" + "\n".join(lines) + "\n"


def _slapd() -> str:
    assert _SLAPD, "slapd is missing: Debian's package of that name has it"
    return _SLAPD


@contextmanager
def _connected(port: int, user: str, password: str) -> Iterator[Any]:
    """A session of the test's own, signed in if the server lets it."""
    connection = ldap3.Connection(
        ldap3.Server("127.0.0.1", port=port, get_info=ldap3.NONE), user, password, check_names=False
    )
    try:
        connection.bind()
        yield connection
    finally:
        connection.unbind()


def _make_certificates(folder: Path) -> str:
    """An authority, and under it the certificate of this machine's loopback with its key; the authority's certificate."""
    authority, ca_key = make_authority()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        _certificate(name, authority.subject, key)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(one)) for one in ("127.0.0.1", "::1")]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_pem = authority.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(ca_pem)
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ca_pem.decode()


def make_authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Corp authority")])
    usage = {
        name: name in ("key_cert_sign", "crl_sign")
        for name in (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        )
    }
    certificate = (
        _certificate(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
