"""Alerts as a Wazuh 4 manager writes them to alerts.json: Windows, Sysmon, sshd, web logs, file integrity.

Format: Wazuh documentation, "Alert management" and the decoders' field names. Windows values keep their
backslashes doubled, as the event channel's decoder leaves them. Rules are local ones (Wazuh keeps ids from
100000 on for its users).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from random import Random

from cases.demo.estate import AD_DOMAIN, Host, Seat, fingerprint
from cases.demo.events import Record
from cases.demo.techniques import TECHNIQUES

MANAGER = "wazuh-01"

SYSTEM = "NT AUTHORITY\\SYSTEM"

_SYSMON = (
    "Microsoft-Windows-Sysmon",
    "{5770385f-c22a-43e0-bf4c-06f5698ffbd9}",
    "Microsoft-Windows-Sysmon/Operational",
)
_SECURITY = ("Microsoft-Windows-Security-Auditing", "{54849625-5478-4994-a5ba-3e3b0328c30d}", "Security")
_SERVICES = ("Service Control Manager", "{555908d1-a6d7-4695-8e1e-26931d2012f4}", "System")


@dataclass(frozen=True, slots=True)
class Rule:
    """A local rule of the manager. `level` 0–15; the host ends each description, so hosts do not merge."""

    id: str
    level: int
    description: str
    groups: tuple[str, ...]
    techniques: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """One end of a process start."""

    image: str
    command_line: str
    pid: int

    @property
    def guid(self) -> str:
        digits = fingerprint("process", self.image, self.command_line, self.pid)
        return f"{{{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}}}"


class Wazuh:
    """The manager with its agents. It counts: alert ids, record numbers and `firedtimes` grow."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._offset = 812_340
        self._record_id = 1_204_477
        self._fired: Counter[str] = Counter()

    def process_started(
        self, at: datetime, *, host: Host, rule: Rule, process: Process, parent: Process, user: str
    ) -> Record:
        """Sysmon event 1."""
        name = process.image.rsplit("\\", 1)[-1]
        data = {
            "utcTime": _sysmon_time(at),
            "processGuid": process.guid,
            "processId": str(process.pid),
            "image": process.image,
            "originalFileName": name,
            "commandLine": process.command_line,
            "currentDirectory": "C:\\Windows\\system32\\",
            "user": user,
            "integrityLevel": "System" if user == SYSTEM else "Medium",
            "hashes": file_hashes(name.lower()),
            "parentProcessGuid": parent.guid,
            "parentProcessId": str(parent.pid),
            "parentImage": parent.image,
            "parentCommandLine": parent.command_line,
            "parentUser": user,
        }
        return self._windows(
            at, host=host, rule=rule, event_id=1, provider=_SYSMON, message="Process Create", data=data
        )

    def sysmon(
        self,
        at: datetime,
        *,
        host: Host,
        rule: Rule,
        event_id: int,
        message: str,
        process: Process,
        **data: str,
    ) -> Record:
        """Any other Sysmon event of one process: 3 connection, 7 library, 10 access, 11 file, 13 registry."""
        actor = {
            "utcTime": _sysmon_time(at),
            "processGuid": process.guid,
            "processId": str(process.pid),
            "image": process.image,
        }
        if event_id == 10:
            actor = {
                "utcTime": _sysmon_time(at),
                "sourceProcessGUID": process.guid,
                "sourceProcessId": str(process.pid),
                "sourceImage": process.image,
            }
        return self._windows(
            at, host=host, rule=rule, event_id=event_id, provider=_SYSMON, message=message, data=actor | data
        )

    def security(self, at: datetime, *, host: Host, rule: Rule, event_id: int, message: str, **data: str) -> Record:
        """An event of the Windows security log."""
        return self._windows(
            at, host=host, rule=rule, event_id=event_id, provider=_SECURITY, message=message, data=data
        )

    def logon(
        self,
        at: datetime,
        *,
        host: Host,
        rule: Rule,
        user: str,
        origin: Host,
        logon_type: int,
        is_success: bool,
    ) -> Record:
        """4624 or 4625: `user` from `origin` on `host`; type 2 console, 3 network, 10 remote desktop."""
        data = {
            "targetUserName": user,
            "targetDomainName": AD_DOMAIN,
            "logonType": str(logon_type),
            "logonProcessName": "NtLmSsp" if logon_type == 3 else "User32",
            "authenticationPackageName": "NTLM" if logon_type == 3 else "Negotiate",
            "workstationName": origin.name.upper(),
            "ipAddress": origin.ip,
            "ipPort": str(self._rng.randint(49_152, 65_535)),
        }
        if not is_success:
            data |= {"status": "0xc000006d", "subStatus": "0xc000006a", "failureReason": "%%2313"}
        message = "An account was successfully logged on." if is_success else "An account failed to log on."
        event_id = 4624 if is_success else 4625
        return self._windows(
            at, host=host, rule=rule, event_id=event_id, provider=_SECURITY, message=message, data=data
        )

    def service_installed(self, at: datetime, *, host: Host, rule: Rule, name: str, path: str, account: str) -> Record:
        """7045 of the service control manager."""
        data = {
            "serviceName": name,
            "imagePath": path,
            "serviceType": "user mode service",
            "startType": "demand start",
            "accountName": account,
        }
        message = "A service was installed in the system."
        return self._windows(at, host=host, rule=rule, event_id=7045, provider=_SERVICES, message=message, data=data)

    def sshd(self, at: datetime, *, host: Host, rule: Rule, line: str, **data: str) -> Record:
        """A line of /var/log/auth.log; `data` is what the decoder took from it (srcip, srcport, dstuser)."""
        program = f"{at:%b %d %H:%M:%S} {host.name} sshd[{self._rng.randint(2_000, 64_000)}]: {line}"
        header = {"program_name": "sshd", "timestamp": f"{at:%b %d %H:%M:%S}", "hostname": host.name}
        record = self._alert(at, host=host, rule=rule, decoder={"parent": "sshd", "name": "sshd"}, full_log=program)
        return record | {"predecoder": header, "data": data, "location": "/var/log/auth.log"}

    def web_log(
        self,
        at: datetime,
        *,
        host: Host,
        rule: Rule,
        client: str,
        url: str,
        status: int,
        agent: str,
        method: str = "GET",
    ) -> Record:
        """A line of the web server's access log."""
        request = f"{method} {url} HTTP/1.1"
        line = f'{client} - - [{at:%d/%b/%Y:%H:%M:%S} +0000] "{request}" {status} 196 "-" "{agent}"'
        record = self._alert(at, host=host, rule=rule, decoder={"name": "web-accesslog"}, full_log=line)
        data = {"protocol": method, "srcip": client, "id": str(status), "url": url}
        return record | {"data": data, "location": "/var/log/nginx/access.log"}

    def file_changed(
        self, at: datetime, *, host: Host, rule: Rule, path: str, event: str, owner: str, digest: str
    ) -> Record:
        """File integrity: `event` is `added` or `modified`, `digest` the new content's SHA-256."""
        line = f"File '{path}' {event}\nMode: realtime\n"
        record = self._alert(at, host=host, rule=rule, decoder={"name": f"syscheck_{event}"}, full_log=line)
        stamp = at.strftime("%Y-%m-%dT%H:%M:%S")
        record["syscheck"] = {
            "path": path,
            "mode": "realtime",
            "event": event,
            "size_after": str(1_024 + int(digest[:3], 16)),
            "perm_after": "rw-r--r--",
            "uname_after": owner,
            "gname_after": owner,
            "md5_after": fingerprint("md5", digest, algorithm="md5"),
            "sha1_after": fingerprint("sha1", digest, algorithm="sha1"),
            "sha256_after": digest,
            "mtime_after": stamp,
        }
        return record | {"location": "syscheck"}

    def syslog(self, at: datetime, *, host: Host, rule: Rule, program: str, line: str, **data: str) -> Record:
        """Any other program's line in the system log of a Linux host."""
        full = f"{at:%b %d %H:%M:%S} {host.name} {program}: {line}"
        record = self._alert(at, host=host, rule=rule, decoder={"name": program}, full_log=full)
        header = {"program_name": program, "timestamp": f"{at:%b %d %H:%M:%S}", "hostname": host.name}
        return record | {"predecoder": header, "data": data, "location": "/var/log/syslog"}

    def _windows(
        self,
        at: datetime,
        *,
        host: Host,
        rule: Rule,
        event_id: int,
        provider: tuple[str, str, str],
        message: str,
        data: dict[str, str],
    ) -> Record:
        name, guid, channel = provider
        self._record_id += self._rng.randint(1, 40)
        record = self._alert(at, host=host, rule=rule, decoder={"name": "windows_eventchannel"})
        is_failure = event_id == 4625
        system = {
            "providerName": name,
            "providerGuid": guid,
            "eventID": str(event_id),
            "version": "5",
            "level": "0" if provider is _SECURITY else "4",
            "keywords": "0x8010000000000000" if is_failure else "0x8000000000000000",
            "systemTime": at.strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
            "eventRecordID": str(self._record_id),
            "channel": channel,
            "computer": host.fqdn,
            "severityValue": "AUDIT_FAILURE" if is_failure else _severity_word(provider),
            "message": _message(message, data),
        }
        eventdata = {key: value.replace("\\", "\\\\") for key, value in data.items()}
        record["data"] = {"win": {"system": system, "eventdata": eventdata}}
        return record | {"location": "EventChannel"}

    def _alert(
        self, at: datetime, *, host: Host, rule: Rule, decoder: dict[str, str], full_log: str | None = None
    ) -> Record:
        self._offset += self._rng.randint(700, 2_600)
        self._fired[rule.id] += 1
        record: Record = {
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}+0000",
            "rule": self._rule_object(rule, host),
            "agent": {"id": host.agent_id, "name": host.name, "ip": host.ip},
            "manager": {"name": MANAGER},
            "id": f"{int(at.timestamp())}.{self._offset}",
        }
        if full_log is not None:
            record["full_log"] = full_log
        return record | {"decoder": decoder}

    def _rule_object(self, rule: Rule, host: Host) -> Record:
        description = f"{rule.description} on {host.name}"
        result: Record = {"level": rule.level, "description": description, "id": rule.id}
        if rule.techniques:
            names = [TECHNIQUES[technique] for technique in rule.techniques]
            result["mitre"] = {
                "id": list(rule.techniques),
                "tactic": list(dict.fromkeys(tactic for _, tactic in names)),
                "technique": [name for name, _ in names],
            }
        return result | {
            "firedtimes": self._fired[rule.id],
            "mail": rule.level >= 12,
            "groups": list(rule.groups),
        }


def domain_user(seat_or_name: Seat | str) -> str:
    """A user as Windows writes him: CORP\\j.doe."""
    name = seat_or_name.user if isinstance(seat_or_name, Seat) else seat_or_name
    return f"{AD_DOMAIN}\\{name}"


def file_hashes(*parts: object) -> str:
    """Sysmon's hash list of a made-up file; the same parts are the same file, on whatever host."""
    kinds = {"MD5": fingerprint(*parts, algorithm="md5"), "SHA256": fingerprint(*parts)}
    kinds["IMPHASH"] = fingerprint("imports", *parts, algorithm="md5")
    return ",".join(f"{kind}={digest.upper()}" for kind, digest in kinds.items())


def _message(headline: str, data: dict[str, str]) -> str:
    """The event's text: its headline, then a line for each field; Wazuh keeps it between quotes."""
    lines = (f"{name[0].upper()}{name[1:]}: {value}" for name, value in data.items())
    return '"' + "\r\n".join((headline, *lines)) + '"'


def _severity_word(provider: tuple[str, str, str]) -> str:
    return "AUDIT_SUCCESS" if provider is _SECURITY else "INFORMATION"


def _sysmon_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03d}"
