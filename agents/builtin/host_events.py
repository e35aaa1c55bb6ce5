"""What sensors on hosts saw a process do, read from their own records: Sysmon and Windows through Wazuh, Elastic, CrowdStrike, OCSF, Splunk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.builtin.pivoting import Web
from cases.models import Alert
from cases.normalizers.fields import first_text, mapping, parsed

MAX_ALERTS = 150
_MAX_COMMAND = 4_000

_WIN = "data.win.eventdata"
_IMAGE = (
    f"{_WIN}.image", f"{_WIN}.newProcessName", f"{_WIN}.sourceImage", f"{_WIN}.processName", "data.audit.exe",
    "process.executable", "process.file.path", "actor.process.file.path", "event.FilePath", "process.name",
    "event.FileName", "result.Image", "result.process_path", "result.process_name", "Image", "NewProcessName",
)  # fmt: skip
_COMMAND = (
    f"{_WIN}.commandLine", "data.audit.command", "process.command_line", "process.cmd_line", "actor.process.cmd_line",
    "event.CommandLine", "result.CommandLine", "result.process", "CommandLine",
)  # fmt: skip
_GUID = (
    f"{_WIN}.processGuid",
    f"{_WIN}.sourceProcessGUID",
    "process.entity_id",
    "process.uid",
    "event.ProcessId",
    "event.TargetProcessId",
)
_PARENT_IMAGE = (
    f"{_WIN}.parentImage", f"{_WIN}.parentProcessName", "process.parent.executable", "process.parent.name",
    "process.parent_process.file.path", "process.parent_process.name", "event.ParentImageFileName", "result.parent_process_name", "ParentImage",
)  # fmt: skip
_PARENT_COMMAND = (
    f"{_WIN}.parentCommandLine",
    "process.parent.command_line",
    "process.parent_process.cmd_line",
    "event.ParentCommandLine",
)
_PARENT_GUID = (
    f"{_WIN}.parentProcessGuid",
    "process.parent.entity_id",
    "process.parent_process.uid",
    "event.ParentProcessId",
)
_ORIGINAL_NAME = (f"{_WIN}.originalFileName", "process.pe.original_file_name")
_TARGET = (
    f"{_WIN}.targetImage", f"{_WIN}.targetFilename", f"{_WIN}.imageLoaded", f"{_WIN}.targetObject", f"{_WIN}.imagePath",
    f"{_WIN}.serviceFileName", f"{_WIN}.taskContent", f"{_WIN}.destinationHostname", f"{_WIN}.destinationIp", "syscheck.path",
    "registry.path", "dll.path", "file.path", "destination.domain", "destination.ip",
)  # fmt: skip
_VALUE = (f"{_WIN}.details", f"{_WIN}.taskName", f"{_WIN}.serviceName", "registry.data.strings", "syscheck.event")
_EVENT_ID = ("data.win.system.eventID", "winlog.event_id", "event.code", "result.EventCode", "EventID")
_THREAT = (
    f"{_WIN}.threatName",
    "event.DetectName",
    "event.MalwareName",
    "malware.name",
    "threat.software.name",
    "threatName",
    "result.signature",
)
_GRANDPARENT = ("event.GrandParentImageFileName", "event.GrandparentImageFileName")

# Sysmon, Windows security and Windows system events by what they tell.
_KINDS = {
    **dict.fromkeys(("1", "4688"), "started"),
    "3": "connected", "7": "loaded", "8": "injected", "10": "opened", "11": "wrote",
    **dict.fromkeys(("12", "13", "14", "4657"), "registry"),
    **dict.fromkeys(("19", "20", "21"), "wmi"),
    **dict.fromkeys(("7045", "4697"), "service"),
    **dict.fromkeys(("4698", "4702"), "task"),
    "4720": "account",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostEvent:
    """One event. `kind` says what happened to `target`: `started` has none; `other` is all that is not told apart.

    Names and command lines are a sensor's text: hostile, on one line each.
    """

    alert: Alert
    at: datetime
    host: str
    kind: str
    image: str = ""
    command: str = ""
    guid: str = ""
    original_name: str = ""
    parent_image: str = ""
    parent_command: str = ""
    parent_guid: str = ""
    grandparent_image: str = ""
    target: str = ""
    value: str = ""
    is_unsigned: bool = False
    threat: str = ""

    @property
    def name(self) -> str:
        return basename(self.image)

    @property
    def parent_name(self) -> str:
        return basename(self.parent_image)


def read_event(web: Web, alert: Alert, raw: str) -> HostEvent | None:
    """The event in an alert's raw record; where that is no JSON, what the alert's metadata kept of it. None when it tells of neither."""
    data = mapping(parsed(raw)) or _from_metadata(alert.metadata)
    data = mapping(data.get("_source")) or data
    kind = _kind(data)
    image, parent = first_text(data, *_IMAGE), first_text(data, *_PARENT_IMAGE)
    target, threat = first_text(data, *_TARGET), first_text(data, *_THREAT)
    if not (image or threat or (target and kind != "other")):
        return None
    hosts = web.hosts(alert)
    return HostEvent(
        alert=alert,
        at=alert.first_seen,
        host=hosts[0] if hosts else "",
        kind=kind,
        image=_plain(image),
        command=_plain(first_text(data, *_COMMAND, limit=_MAX_COMMAND)),
        guid=first_text(data, *_GUID),
        original_name=first_text(data, *_ORIGINAL_NAME),
        parent_image=_plain(parent),
        parent_command=_plain(first_text(data, *_PARENT_COMMAND, limit=_MAX_COMMAND)),
        parent_guid=first_text(data, *_PARENT_GUID),
        grandparent_image=_plain(first_text(data, *_GRANDPARENT)),
        target=_plain(target),
        value=_plain(first_text(data, *_VALUE, limit=_MAX_COMMAND)),
        is_unsigned=first_text(
            data, f"{_WIN}.signed", "dll.code_signature.trusted", "file.code_signature.trusted"
        ).lower()
        == "false",
        threat=threat,
    )


def basename(path: str) -> str:
    """The file's own name: of `C:\\Windows\\System32\\cmd.exe` and of `/usr/bin/sh` what comes last."""
    return path.replace("\\", "/").rpartition("/")[2]


def _kind(data: dict[str, Any]) -> str:
    event_id = first_text(data, *_EVENT_ID)
    if event_id in _KINDS:
        return _KINDS[event_id]
    if first_text(data, "syscheck.path"):
        return "wrote"
    words = f"{first_text(data, 'event.action')} {first_text(data, 'event.category')} {first_text(data, 'event.type')}".lower()
    if "registry" in words:
        return "registry"
    return "started" if first_text(data, *_COMMAND) and first_text(data, *_PARENT_IMAGE) else "other"


def _from_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """What normalising kept, under the names that the paths above look for."""
    return {
        "Image": metadata.get("process_path") or metadata.get("process_name"),
        "CommandLine": metadata.get("process_command_line"),
        "ParentImage": metadata.get("parent_process_path") or metadata.get("parent_process"),
        "EventID": metadata.get("event_id"),
        "file": {"path": metadata.get("file_path")},
        "registry": {"path": metadata.get("registry_key")},
    }


def _plain(text: str) -> str:
    """Wazuh's decoder doubles every backslash."""
    return text.replace("\\\\", "\\")
