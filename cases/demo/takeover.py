"""The second half of the attack: from one workstation's credentials to the company's files leaving it.

The implant reads LSASS, roasts and then guesses the service account, and tries the victim's own password at
single sign-on; with the service account it goes to the file server (SMB, a service) and from there to the
domain controller (WinRM, remote desktop); on the file server shares are read and packed, and the archive goes
to a second address outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from cases.demo.estate import AD_DOMAIN, COMPANY_DOMAIN, FIREWALL, Cast, Host
from cases.demo.events import Step
from cases.demo.intrusion import POWERSHELL, RUNDLL32, implant_process
from cases.demo.sensors import Act, Sensors
from cases.demo.suricata import Conversation, Rule, http, smb, tls
from cases.demo.wazuh import SYSTEM, Process, domain_user
from cases.demo.wazuh import Rule as HostRule
from cases.demo.webhooks import Place, alertmanager, identity_provider

OFFICE = Place("192.0.2.10", "Rotterdam", "NL")

ADMIN_SHARE = Rule(
    1700501,
    "LOCAL POLICY Executable written to administrative share by workstation",
    "Potentially Bad Traffic",
    rating="Major",
    techniques=("T1021.002", "T1570"),
    target="Server",
)
REMOTE_MANAGEMENT = Rule(
    1700506,
    "LOCAL POLICY WinRM session between servers outside of management network",
    "Potentially Bad Traffic",
    rating="Minor",
    techniques=("T1021.006",),
    target="Server",
)
REMOTE_DESKTOP = Rule(
    1700509,
    "LOCAL POLICY Remote desktop from user network to domain controller",
    "Misc activity",
    rating="Minor",
    techniques=("T1021.001",),
    target="Server",
)
LARGE_UPLOAD = Rule(
    1700603,
    "LOCAL EXFIL Server sends more than 1 GB to one external host over TLS",
    "Potential Corporate Privacy Violation",
    rating="Major",
    techniques=("T1048.002",),
    target="Server",
)

_PROCESS_GROUPS = ("sysmon", "sysmon_event1", "windows")
_FILE_GROUPS = ("sysmon", "sysmon_event_11", "windows")
_SECURITY_GROUPS = ("windows", "windows_security")

_LSASS_ACCESS = HostRule(
    "100401",
    14,
    "Process memory of LSASS read by rundll32",
    ("sysmon", "sysmon_event_10", "windows"),
    ("T1003.001",),
)
_DUMP_WRITTEN = HostRule("100403", 10, "Memory dump written to a temporary folder", _FILE_GROUPS, ("T1003.001",))
_WEAK_TICKET = HostRule("100407", 8, "Service ticket with RC4 requested", _SECURITY_GROUPS, ("T1558.003",))
_FAILED_LOGON = HostRule("100410", 5, "Log-in failed, wrong password", _SECURITY_GROUPS, ("T1110.001",))
_MANY_FAILED = HostRule("100411", 10, "Several failed log-ins of one account", _SECURITY_GROUPS, ("T1110.001",))
_SERVICE_LOGON = HostRule(
    "100502",
    8,
    "Service account logged on from an unusual workstation",
    _SECURITY_GROUPS,
    ("T1021.002", "T1078.002"),
)
_SERVICE_INSTALLED = HostRule(
    "100504",
    12,
    "New service runs a program from an administrative share",
    ("windows", "windows_system"),
    ("T1569.002", "T1543.003"),
)
_SERVICE_SHELL = HostRule(
    "100505", 10, "Service control manager started a command shell", _PROCESS_GROUPS, ("T1059.003",)
)
_REMOTE_SHELL = HostRule(
    "100507",
    12,
    "PowerShell started by the WinRM host process",
    _PROCESS_GROUPS,
    ("T1021.006", "T1059.001"),
)
_DESKTOP_LOGON = HostRule(
    "100510",
    10,
    "Service account logged on interactively by remote desktop",
    _SECURITY_GROUPS,
    ("T1021.001", "T1078.002"),
)
_BULK_READ = HostRule("100601", 6, "Unusual number of files read from one share", _SECURITY_GROUPS, ("T1039",))
_ARCHIVER = HostRule("100604", 10, "Archiver with password packs a file share", _PROCESS_GROUPS, ("T1560.001",))
_STAGED = HostRule("100605", 7, "Large archive written to ProgramData", _FILE_GROUPS, ("T1074.002",))
_SYNC_TOOL = HostRule(
    "100608", 12, "Renamed synchronisation tool copies to a remote target", _PROCESS_GROUPS, ("T1048.002",)
)


def takeover(*, cast: Cast, sensors: Sensors, pick: Random) -> Iterator[Step]:
    """Credential access, lateral movement, collection and exfiltration; phase by phase, not sorted."""
    yield from _credential_access(cast, sensors, pick)
    yield from _to_file_server(cast, sensors)
    yield from _to_controller(cast, sensors)
    yield from _collection(cast, sensors, pick)
    yield from _exfiltration(cast, sensors, pick)


def _credential_access(cast: Cast, sensors: Sensors, pick: Random) -> Iterator[Step]:
    act = Act("credential_access", sensors)
    workstation, implant = cast.victim.host, implant_process(cast)
    yield act.wazuh(
        121.0,
        sensors.hosts.sysmon,
        host=workstation,
        rule=_LSASS_ACCESS,
        event_id=10,
        message="Process accessed",
        process=implant,
        targetImage="C:\\Windows\\System32\\lsass.exe",
        grantedAccess="0x1010",
        sourceUser=domain_user(cast.victim),
        targetUser=SYSTEM,
    )
    yield act.wazuh(
        122.5,
        sensors.hosts.sysmon,
        host=workstation,
        rule=_DUMP_WRITTEN,
        event_id=11,
        message="File created",
        process=implant,
        targetFilename=f"C:\\Windows\\Temp\\{cast.token}.dmp",
        user=domain_user(cast.victim),
    )
    yield act.wazuh(
        131.0,
        sensors.hosts.security,
        host=cast.controller,
        rule=_WEAK_TICKET,
        event_id=4769,
        message="A Kerberos service ticket was requested.",
        targetUserName=f"{cast.victim.user}@{COMPANY_DOMAIN.upper()}",
        serviceName=cast.service_account,
        ticketEncryptionType="0x17",
        ipAddress=f"::ffff:{workstation.ip}",
    )
    yield from _guessing(cast, act, pick)
    yield from _single_sign_on(cast, act)


def _guessing(cast: Cast, act: Act, pick: Random) -> Iterator[Step]:
    minute = 138.0
    for number in range(7):
        yield act.wazuh(
            minute,
            act.sensors.hosts.logon,
            host=cast.file_server,
            rule=_MANY_FAILED if number == 6 else _FAILED_LOGON,
            user=cast.service_account,
            origin=cast.victim.host,
            logon_type=3,
            is_success=False,
        )
        minute += 0.4 + pick.random() / 4


def _single_sign_on(cast: Cast, act: Act) -> Iterator[Step]:
    user, abroad = cast.victim.user, Place(cast.drop_ip, "Singapore", "SG")
    yield act.hook(
        148.0,
        "generic",
        identity_provider,
        title=f"Repeated push prompts denied by {user}",
        severity="medium",
        description=(
            f"Nine push prompts in four minutes for {user}, all denied; "
            f"each followed a right password from {abroad.ip}."
        ),
        user=user,
        outcome="denied",
        places=(OFFICE, abroad),
        techniques=("T1621",),
        iocs=(abroad.ip,),
    )
    yield act.hook(
        154.0,
        "generic",
        identity_provider,
        title=f"Impossible travel: {user} signed in from {OFFICE.city} and {abroad.city}",
        severity="high",
        description=(
            f"{user} signed in from {abroad.ip} ({abroad.city}) 41 minutes after {OFFICE.ip} ({OFFICE.city}) "
            "with a session token that was issued to the first device."
        ),
        user=user,
        outcome="success",
        places=(OFFICE, abroad),
        techniques=("T1078.004",),
        iocs=(abroad.ip,),
    )


def _to_file_server(cast: Cast, sensors: Sensors) -> Iterator[Step]:
    act = Act("lateral_movement", sensors)
    server, origin = cast.file_server, cast.victim.host
    program = f"C:\\Windows\\{cast.token}.exe"
    yield act.wazuh(186.0, sensors.hosts.logon, rule=_SERVICE_LOGON, **_logon(cast, server, origin, 3))
    write = smb(
        command="SMB2_COMMAND_WRITE",
        share=f"\\\\{server.name}\\ADMIN$",
        filename=f"{cast.token}.exe",
        user=cast.service_account,
    )
    talk = Conversation(origin.ip, server.ip, 445, up=331_870, down=9_204)
    yield act.eve(186.4, rule=ADMIN_SHARE, talk=talk, app=write)
    yield act.wazuh(
        187.0,
        sensors.hosts.service_installed,
        host=server,
        rule=_SERVICE_INSTALLED,
        name=f"Sync{cast.token}",
        path=program,
        account="LocalSystem",
    )
    yield act.wazuh(
        187.6,
        sensors.hosts.process_started,
        host=server,
        rule=_SERVICE_SHELL,
        process=Process("C:\\Windows\\System32\\cmd.exe", f"cmd.exe /c start /b {program}", 3_912),
        parent=Process("C:\\Windows\\System32\\services.exe", "C:\\Windows\\system32\\services.exe", 716),
        user=SYSTEM,
    )


def _to_controller(cast: Cast, sensors: Sensors) -> Iterator[Step]:
    act = Act("lateral_movement", sensors)
    controller, origin = cast.controller, cast.file_server
    session = http(
        host=f"{controller.name}:5985",
        url="/wsman?PSVersion=5.1.20348.2849",
        agent="Microsoft WinRM Client",
        method="POST",
        length=2_114,
        kind="multipart/encrypted",
    )
    talk = Conversation(origin.ip, controller.ip, 5985, up=18_220, down=24_906)
    yield act.eve(204.0, rule=REMOTE_MANAGEMENT, talk=talk, app=session)
    yield act.wazuh(
        204.5,
        sensors.hosts.process_started,
        host=controller,
        rule=_REMOTE_SHELL,
        process=Process(POWERSHELL, 'powershell.exe -NoP -C "Get-ADComputer -Filter * | Select Name"', 9_240),
        parent=Process("C:\\Windows\\System32\\wsmprovhost.exe", "wsmprovhost.exe -Embedding", 8_816),
        user=domain_user(cast.service_account),
    )
    workstation = cast.victim.host
    talk = Conversation(workstation.ip, controller.ip, 3389, up=211_408, down=1_904_112)
    yield act.eve(212.0, rule=REMOTE_DESKTOP, talk=talk)
    yield act.wazuh(213.0, sensors.hosts.logon, rule=_DESKTOP_LOGON, **_logon(cast, controller, workstation, 10))


def _logon(cast: Cast, host: Host, origin: Host, logon_type: int) -> dict[str, object]:
    return {
        "host": host,
        "user": cast.service_account,
        "origin": origin,
        "logon_type": logon_type,
        "is_success": True,
    }


def _collection(cast: Cast, sensors: Sensors, pick: Random) -> Iterator[Step]:
    act = Act("collection", sensors)
    server, archive = cast.file_server, f"C:\\ProgramData\\{cast.token}.7z"
    for number, folder in enumerate(("Payroll", "Contracts", "Board", "Payroll")):
        yield act.wazuh(
            240.0 + number * 4 + pick.random(),
            sensors.hosts.security,
            host=server,
            rule=_BULK_READ,
            event_id=5145,
            message="A network share object was checked to see whether client can be granted desired access.",
            subjectUserName=cast.service_account,
            subjectDomainName=AD_DOMAIN,
            ipAddress=cast.victim.host.ip,
            shareName=f"\\\\*\\{folder}",
            relativeTargetName="2026",
            accessMask="0x120089",
        )
    packer = Process("C:\\ProgramData\\7z.exe", f"7z.exe a -mhe=on -p{cast.token} {archive} D:\\Shares", 4_480)
    shell = Process(RUNDLL32, f"rundll32.exe C:\\Windows\\{cast.token}.exe", 4_012)
    yield act.wazuh(
        262.0,
        sensors.hosts.process_started,
        host=server,
        rule=_ARCHIVER,
        process=packer,
        parent=shell,
        user=SYSTEM,
    )
    yield act.wazuh(
        266.0,
        sensors.hosts.sysmon,
        host=server,
        rule=_STAGED,
        event_id=11,
        message="File created",
        process=packer,
        targetFilename=archive,
        user=SYSTEM,
    )


def _exfiltration(cast: Cast, sensors: Sensors, pick: Random) -> Iterator[Step]:
    act = Act("exfiltration", sensors)
    server = cast.file_server
    yield act.wazuh(
        291.0,
        sensors.hosts.process_started,
        host=server,
        rule=_SYNC_TOOL,
        process=Process(
            "C:\\ProgramData\\dfsync.exe", f"dfsync.exe copy C:\\ProgramData\\{cast.token}.7z drop:in", 5_204
        ),
        parent=Process("C:\\Windows\\System32\\cmd.exe", "cmd.exe", 3_912),
        user=SYSTEM,
    )
    upload = tls(
        sni=cast.drop_domain,
        subject=f"CN={cast.drop_domain}",
        issuer="CN=Free DV CA,O=Free DV",
        client="dfsync",
    )
    total = 0
    for number in range(4):
        volume = pick.randint(1_600_000_000, 2_400_000_000)
        total += volume
        talk = Conversation(
            server.ip,
            cast.drop_ip,
            443,
            up=volume,
            down=volume // 61,
            src_port=pick.randint(49_152, 65_535),
            flow_id=pick.randrange(10**14, 2 * 10**15),
        )
        yield act.eve(296.0 + number * 9, rule=LARGE_UPLOAD, talk=talk, app=upload)
        yield act.eve_flow(297.5 + number * 9, talk=talk, app_proto="tls")
    yield act.hook(
        331.0,
        "alertmanager",
        alertmanager,
        name="EgressVolumeHigh",
        severity="critical",
        instance=f"{FIREWALL.name}:9100",
        summary=f"{server.name} sends far more than usual to the internet",
        description=(
            f"{server.fqdn} ({server.ip}) sent {total / 1e9:.1f} GB to {cast.drop_ip} in 40 minutes; "
            "usual is 0.1 GB a day."
        ),
        src_host=server.name,
        src_ip=server.ip,
        dest_ip=cast.drop_ip,
        team="network",
    )
