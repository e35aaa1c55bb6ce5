"""Noise that the network sensor reports: scanners, updates, policy, and records that are no alerts."""

from __future__ import annotations

from functools import partial
from random import Random

from cases.demo.estate import (
    COMPANY_DOMAIN,
    CONTROLLERS,
    FILE_SERVERS,
    LINUX_HOSTS,
    NOISE_RANGE,
    RESOLVER,
    SEATS,
    VULNERABILITY_SCANNER,
    WEB_SERVERS,
)
from cases.demo.events import Render
from cases.demo.sensors import Sensors
from cases.demo.suricata import Conversation, Rule, dns_query, http, tls

JUMP_HOST = LINUX_HOSTS[-1]
ENGINEERING_STATION = "10.30.0.20"

_UPDATE_MIRRORS = ("packages.example", "mirror.distro.example", "dl.browser-vendor.example")
_DYNAMIC_NAMES = (
    "nas-vdb.dyndns.example",
    "homecam42.ddns.example",
    "octopi.dyndns.example",
    "smarthome.ddns.example",
)
_WEB_CLIENTS = ("python-requests/2.32.3", "curl/8.5.0", "Go-http-client/2.0", "okhttp/4.12.0")
_PRINTERS = ("10.20.90.11", "10.20.90.14", "10.20.90.23")
_PARTNERS = ("api.parcel-tracker.example", "weather.api.example", "rates.bank-feed.example")

_SCAN = Rule(
    1710101,
    "LOCAL SCAN Probe of closed service port from internet",
    "Detection of a Network Scan",
    techniques=("T1595.001",),
    target="Server",
)
_SSH_SCAN = Rule(
    1710103, "LOCAL SCAN Repeated SSH sessions from one external host", "Attempted Information Leak", "Minor",
    ("T1110",), "Server",
)  # fmt: skip
_UPDATE = Rule(1710201, "LOCAL INFO Package manager fetches update over HTTP", "Not Suspicious Traffic")
_DYNAMIC_DNS = Rule(
    1710204, "LOCAL INFO DNS query for dynamic DNS provider", "Potentially Bad Traffic", techniques=("T1568",)
)
_INTERNAL_SCAN = Rule(
    1710301,
    "LOCAL SCAN Internal host connects to many ports of one server",
    "Detection of a Network Scan",
    techniques=("T1046",),
    target="Server",
)
_INTERNAL_WEB_SCAN = Rule(
    1710302,
    "LOCAL SCAN Web scanner user agent from internal network",
    "Attempted Information Leak",
    "Minor",
    techniques=("T1595.002",),
    target="Web_Server",
)
_OLD_TLS = Rule(1710401, "LOCAL POLICY TLS 1.0 session inside the company", "Misc activity")
_FILE_SHARING = Rule(1710404, "LOCAL P2P BitTorrent DHT ping to external peer", "Potential Corporate Privacy Violation")
_SCRIPTED = Rule(1710407, "LOCAL INFO Scripting library user agent to external API", "Misc activity")
_PING_SWEEP = Rule(1710410, "LOCAL SCAN ICMP echo to many hosts of one network", "Misc activity")
_WINRM = Rule(
    1710502,
    "LOCAL POLICY WinRM session from jump host",
    "Misc activity",
    techniques=("T1021.006",),
    target="Server",
)
_PLC_WRITE = Rule(
    1710601,
    "LOCAL SCADA Modbus write to controller from engineering station",
    "Potentially Bad Traffic",
    "Minor",
)


def internet_scan(sensors: Sensors, pick: Random) -> Render:
    port = pick.choice((23, 445, 1433, 3389, 5060, 5900, 6379, 8291))
    talk = Conversation(_stranger(pick), pick.choice(WEB_SERVERS).ip, port, up=60, down=54)
    return partial(sensors.network.alert, rule=_SCAN, talk=talk)


def ssh_scan(sensors: Sensors, pick: Random) -> Render:
    talk = Conversation(_stranger(pick), JUMP_HOST.ip, 22, up=2_104, down=2_711)
    return partial(sensors.network.alert, rule=_SSH_SCAN, talk=talk)


def package_update(sensors: Sensors, pick: Random) -> Render:
    mirror = pick.choice(_UPDATE_MIRRORS)
    name = pick.choice(("openssl_3.0.15-1", "curl_8.5.0-2", "tzdata_2026a-0", "nginx_1.26.2-1"))
    app = http(
        host=mirror,
        url=f"/debian/pool/main/{name[0]}/{name}_amd64.deb",
        agent="Debian APT-HTTP/1.3 (2.6.1)",
        length=1_204_224,
        kind="application/vnd.debian.binary-package",
    )
    talk = Conversation(pick.choice(LINUX_HOSTS).ip, _address_of(mirror), 80, up=812, down=1_290_114)
    return partial(sensors.network.alert, rule=_UPDATE, talk=talk, app=app)


def dynamic_dns(sensors: Sensors, pick: Random) -> Render:
    app = dns_query(name=pick.choice(_DYNAMIC_NAMES), query_id=pick.randrange(65_536))
    talk = Conversation(pick.choice(SEATS).host.ip, RESOLVER.ip, 53, proto="UDP", up=84)
    return partial(sensors.network.alert, rule=_DYNAMIC_DNS, talk=talk, app=app)


def vulnerability_scan(sensors: Sensors, pick: Random) -> Render:
    target = pick.choice((*WEB_SERVERS, *FILE_SERVERS, *CONTROLLERS))
    talk = Conversation(VULNERABILITY_SCANNER.ip, target.ip, pick.choice((21, 135, 445, 3306, 8080)), up=60, down=54)
    return partial(sensors.network.alert, rule=_INTERNAL_SCAN, talk=talk)


def vulnerability_scan_web(sensors: Sensors, pick: Random) -> Render:
    target = pick.choice(WEB_SERVERS)
    app = http(
        host=target.fqdn,
        url=pick.choice(("/cgi-bin/test.cgi", "/manager/html", "/.env", "/solr/admin/")),
        agent="VulnerabilityAssessment/9.1 (internal; security@corp.example)",
        status=404,
        length=196,
    )
    talk = Conversation(VULNERABILITY_SCANNER.ip, target.ip, 80, up=422, down=610)
    return partial(sensors.network.alert, rule=_INTERNAL_WEB_SCAN, talk=talk, app=app)


def old_tls(sensors: Sensors, pick: Random) -> Render:
    printer = pick.choice(_PRINTERS)
    name = f"printer-{printer.rsplit('.', 1)[1]}.{COMPANY_DOMAIN}"
    app = tls(sni=name, subject=f"CN={name}", issuer=f"CN={name}", client="spooler", version="TLSv1")
    talk = Conversation(pick.choice(SEATS).host.ip, printer, 443, up=3_120, down=5_840)
    return partial(sensors.network.alert, rule=_OLD_TLS, talk=talk, app=app)


def file_sharing(sensors: Sensors, pick: Random) -> Render:
    talk = Conversation(pick.choice(SEATS[:3]).host.ip, _stranger(pick), 6_881, proto="UDP", up=146)
    return partial(sensors.network.alert, rule=_FILE_SHARING, talk=talk)


def scripted_client(sensors: Sensors, pick: Random) -> Render:
    partner = pick.choice(_PARTNERS)
    app = http(host=partner, url="/v2/status", agent=pick.choice(_WEB_CLIENTS), length=2_204, kind="application/json")
    talk = Conversation(pick.choice(LINUX_HOSTS).ip, _address_of(partner), 80, up=540, down=2_890)
    return partial(sensors.network.alert, rule=_SCRIPTED, talk=talk, app=app)


def ping_sweep(sensors: Sensors, pick: Random) -> Render:
    talk = Conversation(VULNERABILITY_SCANNER.ip, pick.choice(SEATS).host.ip, 0, proto="ICMP", up=98, down=98)
    return partial(sensors.network.alert, rule=_PING_SWEEP, talk=talk)


def admin_winrm(sensors: Sensors, pick: Random) -> Render:
    target = pick.choice((*CONTROLLERS, *FILE_SERVERS))
    app = http(
        host=f"{target.name}:5985",
        url="/wsman",
        agent="Microsoft WinRM Client",
        method="POST",
        length=1_802,
        kind="application/soap+xml;charset=UTF-8",
    )
    talk = Conversation(JUMP_HOST.ip, target.ip, 5985, up=9_120, down=11_644)
    return partial(sensors.network.alert, rule=_WINRM, talk=talk, app=app)


def plc_write(sensors: Sensors, pick: Random) -> Render:
    talk = Conversation(ENGINEERING_STATION, f"10.30.1.{pick.choice((11, 12, 15))}", 502, up=78, down=66)
    return partial(sensors.network.alert, rule=_PLC_WRITE, talk=talk)


def flow_record(sensors: Sensors, pick: Random) -> Render:
    partner = pick.choice(_PARTNERS)
    up, down = pick.randint(900, 40_000), pick.randint(2_000, 900_000)
    talk = Conversation(pick.choice(SEATS).host.ip, _address_of(partner), 443, up=up, down=down)
    return partial(sensors.network.flow, talk=talk, app_proto="tls")


def dns_record(sensors: Sensors, pick: Random) -> Render:
    talk = Conversation(pick.choice(SEATS).host.ip, RESOLVER.ip, 53, proto="UDP", up=78)
    return partial(sensors.network.dns, talk=talk, name=pick.choice((*_PARTNERS, *_UPDATE_MIRRORS)))


def stats_record(sensors: Sensors, _pick: Random) -> Render:
    return sensors.network.stats


def _stranger(pick: Random) -> str:
    """Somebody on the internet who scans or is talked to; never an address of the attack."""
    return f"{NOISE_RANGE}{pick.randint(40, 79)}"


def _address_of(name: str) -> str:
    """A server outside, always at the same address."""
    return f"{NOISE_RANGE}{150 + sum(name.encode()) % 100}"
