"""Noise that hosts, metrics, mail, identities and machines report."""

from __future__ import annotations

from functools import partial
from random import Random

from cases.demo.estate import (
    CONTROLLERS,
    FILE_SERVERS,
    LINUX_HOSTS,
    NOISE_RANGE,
    SEATS,
    SERVICE_ACCOUNTS,
    WEB_SERVERS,
    Host,
    fingerprint,
)
from cases.demo.events import Render
from cases.demo.sensors import Sensors
from cases.demo.wazuh import SYSTEM, Process, Rule
from cases.demo.webhooks import Place, alertmanager, identity_provider, mail_gateway, ot_monitor

BACKUP_SERVER = Host("bkp-01", "10.10.5.51", "037")

_WINDOWS_LOG = ("windows", "windows_security")
_POWERSHELL = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"

_MISTYPED = Rule("110101", 5, "Console log-in failed", _WINDOWS_LOG)
_SSH_INVALID = Rule("110110", 5, "SSH log-in with a name that does not exist", ("sshd", "syslog"), ("T1110.001",))
_NOT_FOUND = Rule("110120", 5, "Web server: page not found", ("web", "accesslog"))
_INSTALLED = Rule("110130", 4, "Package installed or upgraded", ("syslog", "dpkg"))
_CONFIG = Rule("110140", 7, "Configuration file changed", ("syscheck", "ossec"))
_SUDO = Rule("110150", 3, "Command run as root by sudo", ("syslog", "sudo"))
_BACKUP = Rule("110160", 3, "Network log-in of service account", _WINDOWS_LOG, ("T1078.002",))
_MANAGED = Rule(
    "110170",
    7,
    "PowerShell script started by the management agent",
    ("sysmon", "sysmon_event1", "windows"),
    ("T1059.001",),
)
_USB = Rule("110180", 7, "Removable disk connected", _WINDOWS_LOG)
_TEST_VIRUS = Rule("110190", 12, "Antivirus found and removed a file", ("windows", "windows_defender"))

# Name, severity, instance, summary, description.
_METRICS = (
    (
        "DiskWillFillIn4Hours",
        "warning",
        "db-02:9100",
        "/var/lib/postgresql fills up",
        "Predicted to be full in 3h 40m.",
    ),
    (
        "HostHighCpuLoad",
        "warning",
        "web-01:9100",
        "CPU above 90 %",
        "web-01 has been above 90 % for 15 minutes.",
    ),
    (
        "CertificateExpiresSoon",
        "warning",
        "web-04:9115",
        "Certificate expires in 12 days",
        "CN=web-04.corp.example",
    ),
    (
        "BackupJobSlow",
        "info",
        "bkp-01:9100",
        "Nightly backup runs long",
        "Job fs-daily runs for 5h 12m, usual is 3h.",
    ),
    (
        "SystemdUnitFailed",
        "warning",
        "jump-01:9100",
        "fwupd-refresh.service failed",
        "State failed since 20 minutes.",
    ),
    (
        "SwitchPortFlapping",
        "error",
        "sw-fl2-03:9116",
        "Port Gi1/0/14 flaps",
        "11 changes of state in ten minutes.",
    ),
)
_SUBJECTS = (
    "Your parcel could not be delivered",
    "Invoice overdue",
    "Your mailbox is full",
    "Final notice: domain renewal",
)
_SPAM_DOMAINS = ("parcel-notice.example", "billing-desk.example", "mailbox-quota.example")
# Device, kind, what, unit, usual range.
_PROCESS_VALUES = (
    ("temp-cold-04", "iot_sensor", "Cold store temperature above its band", "°C", (-15.5, -13.0)),
    ("plc-boiler-02", "cps_controller", "Boiler pressure leaves its band", "bar", (8.6, 9.3)),
    ("flow-cool-11", "iot_sensor", "Cooling flow sensor stuck at one value", "l/min", (41.0, 41.0)),
    ("plc-pack-01", "cps_controller", "Cycle time of packing line drifts", "s", (4.4, 4.9)),
)


def mistyped_password(sensors: Sensors, pick: Random) -> Render:
    seat = pick.choice(SEATS)
    return partial(
        sensors.hosts.logon,
        host=seat.host,
        rule=_MISTYPED,
        user=seat.user,
        origin=seat.host,
        logon_type=2,
        is_success=False,
    )


def ssh_invalid_user(sensors: Sensors, pick: Random) -> Render:
    address, port = f"{NOISE_RANGE}{pick.randint(40, 79)}", pick.randint(30_000, 60_000)
    name = pick.choice(("admin", "oracle", "test", "ubuntu", "pi", "git"))
    return partial(
        sensors.hosts.sshd,
        host=LINUX_HOSTS[-1],
        rule=_SSH_INVALID,
        line=f"Failed password for invalid user {name} from {address} port {port} ssh2",
        srcip=address,
        srcport=str(port),
        srcuser=name,
    )


def web_not_found(sensors: Sensors, pick: Random) -> Render:
    return partial(
        sensors.hosts.web_log,
        host=pick.choice(WEB_SERVERS),
        rule=_NOT_FOUND,
        client=f"{NOISE_RANGE}{pick.randint(80, 139)}",
        url=pick.choice(("/favicon.ico", "/apple-touch-icon.png", "/robots.txt", "/wp-login.php")),
        status=404,
        agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:134.0) Gecko/20100101 Firefox/134.0",
    )


def package_installed(sensors: Sensors, pick: Random) -> Render:
    package = pick.choice(("openssl 3.0.15-1", "curl 8.5.0-2", "tzdata 2026a-0", "nginx 1.26.2-1"))
    line = f"status installed {package}"
    host = pick.choice(LINUX_HOSTS)
    return partial(sensors.hosts.syslog, host=host, rule=_INSTALLED, program="dpkg", line=line, package=package)


def config_changed(sensors: Sensors, pick: Random) -> Render:
    path = pick.choice(("/etc/nginx/nginx.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/ssl/openssl.cnf"))
    host = pick.choice(LINUX_HOSTS)
    return partial(
        sensors.hosts.file_changed,
        host=host,
        rule=_CONFIG,
        path=path,
        event="modified",
        owner="root",
        digest=fingerprint("config", host.name, path),
    )


def sudo_used(sensors: Sensors, pick: Random) -> Render:
    user, command = (
        pick.choice(("r.tanaka", "k.achterberg")),
        pick.choice(("apt upgrade", "systemctl restart nginx")),
    )
    line = f"{user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/{command}"
    host = pick.choice(LINUX_HOSTS)
    return partial(sensors.hosts.syslog, host=host, rule=_SUDO, program="sudo", line=line, srcuser=user, dstuser="root")


def backup_logon(sensors: Sensors, pick: Random) -> Render:
    return partial(
        sensors.hosts.logon,
        host=pick.choice((*FILE_SERVERS, *CONTROLLERS)),
        rule=_BACKUP,
        user=SERVICE_ACCOUNTS[1],
        origin=BACKUP_SERVER,
        logon_type=3,
        is_success=True,
    )


def managed_powershell(sensors: Sensors, pick: Random) -> Render:
    script = pick.choice(("Get-Inventory", "Set-PowerPlan", "Test-Compliance"))
    agent = Process("C:\\Program Files\\Management Agent\\mgmtagent.exe", '"mgmtagent.exe" -service', 2_044)
    command = f'powershell.exe -NoP -ExecutionPolicy AllSigned -File "C:\\ProgramData\\Mgmt\\{script}.ps1"'
    return partial(
        sensors.hosts.process_started,
        host=pick.choice(SEATS).host,
        rule=_MANAGED,
        process=Process(_POWERSHELL, command, 10_112),
        parent=agent,
        user=SYSTEM,
    )


def usb_stick(sensors: Sensors, pick: Random) -> Render:
    seat = pick.choice(SEATS)
    return partial(
        sensors.hosts.security,
        host=seat.host,
        rule=_USB,
        event_id=6416,
        message="A new external device was recognized by the system.",
        subjectUserName=f"{seat.host.name.upper()}$",
        deviceDescription="USB Mass Storage Device",
        classId="{36fc9e60-c465-11cf-8056-444553540000}",
    )


def test_virus(sensors: Sensors, pick: Random) -> Render:
    """The one kind of noise that is high: adware or the antivirus vendors' test file, found and removed."""
    seat = pick.choice(SEATS)
    name = pick.choice(("Virus:DOS/EICAR_Test_File", "PUA:Win32/InstallCore", "Adware:Win32/Prepscram"))
    return partial(
        sensors.hosts.security,
        host=seat.host,
        rule=_TEST_VIRUS,
        event_id=1117,
        message="Antivirus has taken action to protect this machine from malware.",
        threatName=name,
        actionName="Quarantine",
        path=f"file:_C:\\Users\\{seat.user}\\Downloads\\setup_free_pdf.exe",
    )


def metric_alert(_sensors: Sensors, pick: Random) -> Render:
    return _metric(pick, is_resolved=False)


def resolved_alert(_sensors: Sensors, pick: Random) -> Render:
    return _metric(pick, is_resolved=True)


def spam_quarantined(_sensors: Sensors, pick: Random) -> Render:
    seat, subject = pick.choice(SEATS), pick.choice(_SUBJECTS)
    sender = f"no-reply@{pick.choice(_SPAM_DOMAINS)}"
    return partial(
        mail_gateway,
        title=f"Bulk phishing quarantined: {subject}",
        severity="low",
        description=f"Mail from {sender} to {seat.email} matched a known campaign and was held back.",
        sender=sender,
        recipient=seat.email,
        subject=subject,
        verdict="quarantined",
        iocs=(sender,),
    )


def new_device(_sensors: Sensors, pick: Random) -> Render:
    seat = pick.choice(SEATS)
    home = Place(f"{NOISE_RANGE}{pick.randint(11, 39)}", pick.choice(("Utrecht", "Ghent", "Leiden")), "NL")
    return partial(
        identity_provider,
        title=f"New device registered by {seat.user}",
        severity="low",
        description=f"{seat.user} passed the second factor on a new phone, from {home.city}.",
        user=seat.user,
        outcome="success",
        places=(home,),
        iocs=(home.ip,),
    )


def process_value(_sensors: Sensors, pick: Random) -> Render:
    device, kind, title, unit, (low, high) = pick.choice(_PROCESS_VALUES)
    reading = round(pick.uniform(low, high), 1)
    return partial(
        ot_monitor,
        title=f"{title}: {device}",
        severity="medium" if kind == "cps_controller" else "low",
        description=f"{device} reads {reading} {unit}. No operator ordered a change in the last hour.",
        device=device,
        kind=kind,
        reading=reading,
        unit=unit,
    )


def _metric(pick: Random, *, is_resolved: bool) -> Render:
    name, severity, instance, summary, description = pick.choice(_METRICS)
    return partial(
        alertmanager,
        name=name,
        severity=severity,
        instance=instance,
        summary=summary,
        description=description,
        is_resolved=is_resolved,
        team="platform",
    )
