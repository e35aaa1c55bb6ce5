"""The company that is attacked, and who plays which part in one round of the story.

Its own addresses are private (RFC 1918); every address and name outside comes from the documentation ranges
(RFC 5737) and the reserved top-level domain `.example` (RFC 2606), and attackers and noise never share one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

COMPANY_DOMAIN = "corp.example"
AD_DOMAIN = "CORP"

# Command and control and the exfiltration drop live in the first range, scanners of the attack in the second.
C2_RANGE = "203.0.113."
SCANNER_RANGE = "198.51.100."
NOISE_RANGE = "192.0.2."

_C2_WORDS = ("cdn", "edge", "telemetry", "static", "sync", "metrics", "assets", "update", "portal", "gateway")
_LURES = ("Remittance_Advice", "Payment_Schedule", "Salary_Review", "Vendor_Onboarding", "Travel_Policy")
_IMPLANTS = (
    "OneSyncHelper.dll",
    "msedge_prefetch.dll",
    "PrintSpoolAux.dll",
    "TeamsMeetingSvc.dll",
    "wlanprofile.dll",
)


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with a Wazuh agent; `agent_id` is its number there."""

    name: str
    ip: str
    agent_id: str

    @property
    def fqdn(self) -> str:
        return f"{self.name}.{COMPANY_DOMAIN}"


@dataclass(frozen=True, slots=True)
class Seat:
    """A workstation and the person who sits at it."""

    host: Host
    user: str

    @property
    def email(self) -> str:
        return f"{self.user}@{COMPANY_DOMAIN}"


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays in one round: the company's side, then the attacker's."""

    web: Host
    victim: Seat
    file_server: Host
    controller: Host
    service_account: str
    scanner: str
    c2_ip: str
    c2_domain: str
    drop_ip: str
    drop_domain: str
    lure: str
    implant: str
    token: str  # short hex word that makes names and hashes of this round its own


SEATS = (
    Seat(Host("ws-sales-03", "10.20.5.13", "041"), "m.okafor"),
    Seat(Host("ws-hr-02", "10.20.6.12", "046"), "l.brandt"),
    Seat(Host("ws-finance-04", "10.20.7.14", "052"), "a.novak"),
    Seat(Host("ws-legal-01", "10.20.8.11", "058"), "s.iversen"),
    Seat(Host("ws-eng-11", "10.20.9.21", "063"), "r.tanaka"),
    Seat(Host("ws-sales-09", "10.20.5.19", "044"), "c.moreau"),
    Seat(Host("ws-procure-05", "10.20.10.15", "069"), "p.lindqvist"),
    Seat(Host("ws-finance-07", "10.20.7.17", "055"), "j.doe"),
    Seat(Host("ws-hr-06", "10.20.6.16", "048"), "t.ramirez"),
    Seat(Host("ws-eng-14", "10.20.9.24", "064"), "k.achterberg"),
    Seat(Host("ws-legal-03", "10.20.8.13", "059"), "e.haddad"),
)
WEB_SERVERS = (
    Host("web-04", "10.10.1.14", "014"),
    Host("web-03", "10.10.1.13", "013"),
    Host("web-01", "10.10.1.11", "011"),
)
FILE_SERVERS = (Host("fs-02", "10.10.2.22", "022"), Host("fs-01", "10.10.2.21", "021"))
CONTROLLERS = (Host("dc-02", "10.10.0.12", "003"), Host("dc-01", "10.10.0.11", "002"))
SERVICE_ACCOUNTS = ("svc-deploy", "svc-backup", "svc-sqlagent")
LINUX_HOSTS = (*WEB_SERVERS, Host("db-02", "10.10.3.32", "032"), Host("jump-01", "10.10.4.41", "035"))
VULNERABILITY_SCANNER = Host("vulnscan-01", "10.10.9.90", "090")
RESOLVER = Host("dns-01", "10.10.0.53", "005")
FIREWALL = Host("fw-01", "10.10.0.1", "001")


def cast(*, seed: int, round_number: int = 0) -> Cast:
    """Who plays in this round. Neighbouring rounds share no workstation, user or outside address."""
    turn = seed + round_number
    pick = Random(f"cast:{seed}:{round_number}")  # noqa: S311 - a story, not a secret
    token = fingerprint("round", seed, round_number)[:6]
    first = 2 * (turn % 120)
    words = pick.sample(_C2_WORDS, 4)
    return Cast(
        web=_turn(WEB_SERVERS, turn),
        victim=_turn(SEATS, turn),
        file_server=_turn(FILE_SERVERS, turn),
        controller=_turn(CONTROLLERS, turn),
        service_account=_turn(SERVICE_ACCOUNTS, turn),
        scanner=f"{SCANNER_RANGE}{10 + turn % 200}",
        c2_ip=f"{C2_RANGE}{first + 10}",
        c2_domain=f"{words[0]}-{words[1]}-{token[:3]}.example",
        drop_ip=f"{C2_RANGE}{first + 11}",
        drop_domain=f"{words[2]}-{words[3]}-{token[3:]}.example",
        lure=f"{pick.choice(_LURES)}_{token}.docm",
        implant=pick.choice(_IMPLANTS),
        token=token,
    )


def fingerprint(*parts: object, algorithm: str = "sha256") -> str:
    """A made-up file hash in hex: the same parts give the same hash, and no file on earth has it."""
    return hashlib.new(algorithm, ":".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def _turn(things: tuple[T, ...], turn: int) -> T:
    return things[turn % len(things)]
