"""Defanging: analysts write `hxxp://evil[.]example` so that nobody clicks or resolves it by accident.

There is no standard; the spellings read here are those of draft-grimminck-safe-ioc-sharing and of common
threat reports. Both functions are pure text: neither says whether the result is an observable.
"""

from __future__ import annotations

import re

# No run in these patterns is unbounded, and none starts inside another: hostile text costs linear time.
_DOT = re.compile(r" ?[\[({](?:\.| ?(?:dot|punkt|ponto) ?)[\])}] ?|(?<=\w)(?:\[\.|\.\])(?=\w)", re.IGNORECASE)
_AT = re.compile(r" ?[\[({](?:@| ?(?:at|arroba) ?)[\])}] ?", re.IGNORECASE)
_COLON = re.compile(r"[\[({](:(?://)?)[\])}]")
_SLASHES = re.compile(r"(?<=:)[\[({](//?)[\])}]|[\[({](/)[\])}]")
_SCHEME = re.compile(r"(?<![a-z0-9])(?:(h)(?:xx|tx|xt|\*\*|__)p(s?)|(f)xp(s?))(?=://)", re.IGNORECASE)
_UNREADABLE = {"http": "hxxp", "https": "hxxps", "ftp": "fxp", "ftps": "fxps"}
_MARKS = re.compile(r"[\[({]|xp|ht?\*|h__|htx", re.IGNORECASE)


def refang(text: str) -> str:
    """The text with one layer of defanging taken off: `hxxps[:]//a[.]example` → `https://a.example`."""
    if not _MARKS.search(text):
        return text
    text = _DOT.sub(".", text)
    text = _AT.sub("@", text)
    text = _COLON.sub(r"\1", text)
    text = _SLASHES.sub(_slashes, text)
    return _SCHEME.sub(_scheme, text)


def defang(value: str, ioc_type: str) -> str:
    """A canonical value for display: no browser, mail client or chat makes a link of it.

    Types that nothing turns into a link (hashes, paths, …) come back as they are.
    """
    if ioc_type == "domain":
        return value.replace(".", "[.]")
    if ioc_type == "ip":
        return _defang_host(value)
    if ioc_type == "email":
        local, _, host = value.rpartition("@")
        return f"{local}[at]{_defang_host(host)}"
    if ioc_type == "url":
        return _defang_url(value)
    return value


def _scheme(match: re.Match[str]) -> str:
    if match[1]:
        return f"http{match[2]}"
    return f"ftp{match[4]}"


def _slashes(match: re.Match[str]) -> str:
    return match[1] or match[2]


def _defang_host(host: str) -> str:
    return host.replace(".", "[.]").replace(":", "[:]")


def _defang_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    userinfo, at, host = rest[:end].rpartition("@")
    return f"{_UNREADABLE.get(scheme, scheme)}://{userinfo}{at}{_bare(host)}{rest[end:]}"


def _bare(host: str) -> str:
    """An IPv6 literal's own brackets stay, or `[::1]` could not be read back."""
    if host.startswith("["):
        literal, bracket, port = host[1:].partition("]")
        return f"[{_defang_host(literal)}{bracket}{port}"
    return host.replace(".", "[.]")
