"""What everybody has or uses: sharing it ties nobody to anybody, and blocking it cuts off more than an intruder."""

from __future__ import annotations

import re

# As their operators publish them: Google, Cloudflare, Quad9, OpenDNS, AdGuard.
_PUBLIC_RESOLVERS = frozenset(
    (
        *("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"),
        *("1.1.1.1", "1.0.0.1", "2606:4700:4700::1111", "2606:4700:4700::1001"),
        *("9.9.9.9", "149.112.112.112", "2620:fe::fe", "2620:fe::9"),
        *("208.67.222.222", "208.67.220.220", "94.140.14.14", "94.140.15.15"),
    )
)

_SYSTEM_PROGRAMS = frozenset(
    f"{name}.exe"
    for name in (
        *("powershell", "pwsh", "cmd", "rundll32", "regsvr32", "wscript", "cscript", "mshta", "msiexec", "certutil"),
        *("svchost", "services", "lsass", "wmic", "wmiprvse", "wsmprovhost", "schtasks", "reg", "net", "net1", "sc"),
        *("explorer", "taskhostw", "conhost", "bitsadmin", "winword", "excel", "outlook", "msedge"),
    )
)


def is_public_resolver(value: str) -> bool:
    """Whether the address is one of the DNS resolvers that are open to all."""
    return value in _PUBLIC_RESOLVERS


def is_system_program(path: object) -> bool:
    """Whether the file, by its name, is a program that comes with Windows or its usual office."""
    return re.split(r"[\\/]", str(path or ""))[-1].lower() in _SYSTEM_PROGRAMS
