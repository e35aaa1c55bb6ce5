"""What in a process's start, command line or deed is unusual for honest software: each sign with its points. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agents.builtin.host_events import HostEvent, basename
from agents.builtin.reputation import Term
from agents.builtin.wording import line

OFFICE = frozenset(
    {
        "winword.exe",
        "excel.exe",
        "powerpnt.exe",
        "outlook.exe",
        "onenote.exe",
        "msaccess.exe",
        "mspub.exe",
        "acrord32.exe",
    }
)
SHELLS = frozenset(
    (
        *("powershell.exe", "pwsh.exe", "cmd.exe", "wscript.exe", "cscript.exe", "mshta.exe"),
        *("sh", "bash", "dash", "zsh", "python", "python3", "perl"),
    )
)
PROXIES = frozenset(
    {
        "rundll32.exe",
        "regsvr32.exe",
        "mshta.exe",
        "msiexec.exe",
        "installutil.exe",
        "regasm.exe",
        "odbcconf.exe",
        "certutil.exe",
    }
)
_REMOTE = {
    "wsmprovhost.exe": "WinRM",
    "wmiprvse.exe": "WMI",
    "services.exe": "the service control manager",
    "psexesvc.exe": "PsExec",
    "mmc.exe": "DCOM",
}
_WEB_SERVERS = frozenset(
    {"w3wp.exe", "httpd", "httpd.exe", "nginx", "nginx.exe", "apache2", "php-fpm", "tomcat9.exe", "php-cgi.exe"}
)
_WRITABLE = re.compile(
    r"\\users\\[^\\]+\\(?:appdata|downloads|desktop|documents)\\|\\users\\public\\|\\programdata\\[^\\]+\.(?:exe|dll|scr)\b"
    r"|\\windows\\temp\\|\\temp\\|/tmp/|/dev/shm/|/var/tmp/",
    re.IGNORECASE,
)
_IN_WINDOWS_ROOT = re.compile(r"(?:\\windows|admin\$)\\[^\\ \"]+\.(?:exe|dll)\b", re.IGNORECASE)
_OF_WINDOWS = frozenset(
    {
        "explorer.exe",
        "regedit.exe",
        "notepad.exe",
        "hh.exe",
        "winhlp32.exe",
        "splwow64.exe",
        "write.exe",
        "bfsvc.exe",
        "helppane.exe",
    }
)
_ENCODED = re.compile(r"\s[-/]e(?:nc|ncodedcommand|c)?\s+[A-Za-z0-9+/]{20,}", re.IGNORECASE)
_HIDDEN = re.compile(r"[-/]w(?:indowstyle)?\s+h(?:idden)?\b", re.IGNORECASE)
_FETCH = re.compile(
    r"downloadstring|downloadfile|invoke-webrequest|\biwr\s|\biex\b|bitsadmin|certutil.+urlcache|\bcurl\b.+\|\s*(?:ba)?sh",
    re.IGNORECASE,
)
_PACK = re.compile(r"\b(?:7z|7za|rar|winrar)(?:\.exe)?\"?\s+a\s.*\s-(?:h?p|mhe)", re.IGNORECASE)
_COPY_OUT = re.compile(r"\s(?:copy|sync|move)\s+\S+\s+[\w-]{2,}:\S*", re.IGNORECASE)
_WRECK = re.compile(
    r"vssadmin.+delete\s+shadows|wmic.+shadowcopy\s+delete|wbadmin\s+delete|bcdedit.+recoveryenabled\s+no|wevtutil\s+cl\b",
    re.IGNORECASE,
)
_LSASS_DUMP = re.compile(r"comsvcs(?:\.dll)?.+minidump|procdump.+lsass|sekurlsa", re.IGNORECASE)


def is_writable_place(path: str) -> bool:
    """Whether it names a place into which anybody's program may write: where installed software does not live."""
    return bool(_WRITABLE.search(path))


def is_out_of_place(path: str) -> bool:
    """As above, or a program straight in the Windows folder that is none of Windows' own."""
    found = _IN_WINDOWS_ROOT.search(path)
    return is_writable_place(path) or bool(found and basename(found[0]).lower() not in _OF_WINDOWS)


def signs(event: HostEvent) -> Iterator[Term]:
    """Every sign that one event shows."""
    yield from _of_parents(event)
    yield from _of_place(event)
    yield from _of_command(event)
    yield from _of_deed(event)


def _of_parents(event: HostEvent) -> Iterator[Term]:
    name, parent = event.name.lower(), event.parent_name.lower()
    if event.kind != "started" or not parent:
        return
    if parent in OFFICE and name in SHELLS:
        yield Term(35, f"{line(event.parent_name, 40)} started {line(event.name, 40)}: documents need no shell")
    if parent in _REMOTE and name in SHELLS:
        yield Term(25, f"{_REMOTE[parent]} started {line(event.name, 40)}: somebody else's command from another host")
    if parent in _WEB_SERVERS and name in SHELLS:
        yield Term(40, f"the web server {line(event.parent_name, 40)} started {line(event.name, 40)}")


def _of_place(event: HostEvent) -> Iterator[Term]:
    if event.kind != "started":
        return
    name = event.name.lower()
    if name in PROXIES and is_writable_place(event.command):
        yield Term(30, f"{line(event.name, 40)} runs what lies in a place that anybody may write to")
    elif is_out_of_place(event.image):
        yield Term(20, f"{line(event.name, 40)} runs from a place that anybody may write to")
    elif is_out_of_place(event.command) and event.parent_name.lower() in _REMOTE:
        yield Term(15, "it runs a program that lies out of place")
    original = event.original_name.lower()
    if original.endswith(".exe") and original != name and name.endswith(".exe"):
        yield Term(15, f"{line(event.name, 40)} was made as {line(event.original_name, 40)}: renamed")


def _of_command(event: HostEvent) -> Iterator[Term]:
    command = event.command
    if _ENCODED.search(command):
        yield Term(15, "its command is encoded")
    if _HIDDEN.search(command):
        yield Term(5, "its window is hidden")
    if _FETCH.search(command):
        yield Term(15, "its command fetches from elsewhere")
    if _PACK.search(command):
        yield Term(25, "it packs files under a password")
    if _COPY_OUT.search(command) and is_out_of_place(event.image):
        yield Term(20, "it copies to a remote target")
    if _WRECK.search(command):
        yield Term(45, "it destroys what recovery or an inquiry would need")
    if _LSASS_DUMP.search(command):
        yield Term(40, "its command reads credentials out of memory")


def _of_deed(event: HostEvent) -> Iterator[Term]:
    if event.kind == "opened" and basename(event.target).lower() == "lsass.exe":
        yield Term(40, "it read the memory of LSASS, where credentials lie")
    if event.kind == "injected":
        yield Term(25, f"it started a thread in {line(basename(event.target), 40)}")
    if event.kind == "loaded" and event.is_unsigned and is_writable_place(event.target):
        yield Term(
            20, f"it loaded the unsigned {line(basename(event.target), 60)} from a place that anybody may write to"
        )
    if event.kind == "connected" and event.name.lower() in SHELLS | PROXIES:
        yield Term(10, f"it connected to {line(event.target, 60)}")
    if (
        event.kind == "wrote"
        and event.name.lower() in SHELLS | PROXIES
        and event.target.lower().endswith((".dll", ".exe", ".dmp", ".scr"))
    ):
        yield Term(12, f"it wrote {line(basename(event.target), 60)}")
