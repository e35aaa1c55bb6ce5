"""Observables in free text: titles, descriptions, log lines, comments.

One expression finds what has the form of an observable, in order of appearance and in linear time; the
values' own rules and ioc-finder's list of top-level domains then say what is one. ioc-finder's own scan of a
text was measured and not taken: nine times slower on a log line, seconds for 64 KiB of `a/b.`, no order.

Choices an analyst can rely on:

- the host of a URL is an observable too, the domain of an e-mail address is not (mostly it is a provider's);
- internal addresses and names (`.local`, `.lan`, …) are assets, not observables; a URL to one still is one;
- a network (`203.0.113.0/24`) is not an address, and neither is a version number;
- of IPv6 only global unicast is taken: `dead::beef` and `a::` are code far more often than addresses;
- of files only those that run are taken: by their ending, or on Unix by a directory for temporary files;
- mutexes and user agents have no form of their own in prose: they come only from structured fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Final

from aurora.errors import Invalid
from cases.observables.fang import refang
from cases.observables.lookalikes import is_code, is_file_name
from cases.observables.values import HASH_OF_LENGTH, Observable, canonical, host_of, is_internal_ip

MAX_TEXT: Final = 65_536
"""Characters looked at; what follows them is not searched."""

_RUNNABLE = (
    "exe|dll|sys|scr|com|cpl|ocx|bat|cmd|ps1|psm1|vbs|vbe|js|jse|wsf|hta|msi|lnk|jar|py|sh|pl|rb|php|jsp|aspx"
    "|elf|so|bin|ko|dylib|apk|iso|docm|xlsm"
)
# Every repetition is bounded and every alternative starts at a boundary: see the tests of hostile text.
_FORMS = re.compile(
    rf"""
    (?P<url> (?<![a-z0-9+.-]) [a-z][a-z0-9+.-]{{1,15}} :// [^\s<>"'`^{{}}|]{{1,2048}} )
  | (?P<email> (?<![\w.%+'/-]) [\w.%+'-]{{1,64}} @ (?:[\w-]{{1,63}}\.){{1,10}} [\w-]{{2,63}} (?![\w@]) )
  | (?P<registry_key> (?<![\w\\])
      (?:HKEY_(?:LOCAL_MACHINE|CURRENT_USER|CLASSES_ROOT|USERS|CURRENT_CONFIG)|HKLM|HKCU|HKCR|HKU|HKCC)
      \\ (?:(?:(?!\sHK)[^\\:"'<>|,;\r\n\t]){{1,100}}\\){{0,30}} [^\\\s:"'<>|,;]{{1,100}} )
  | (?P<file_path> (?<![\w\\])
      (?: [a-z]:\\ | \\\\[\w.$-]{{1,64}}\\ | %\w{{1,32}}%\\ )
      (?:[^\\/:*?"<>|,;%\r\n\t]{{1,80}}\\){{0,20}} [^\\/:*?"<>|\s,;]{{1,100}} \.(?:{_RUNNABLE}) (?![\w\\]) )
  | (?P<unix_path> (?<![\w.:/~=\\-])
      (?: /(?:tmp|var/tmp|dev/shm)(?:/[\w.+@~-]{{1,100}}){{1,12}}
        | /(?:[\w.+@~-]{{1,100}}/){{1,12}} [\w.+@~-]{{1,100}} \.(?:{_RUNNABLE}) ) (?![\w/]) )
  | (?P<ipv6> (?<![\w:.]) (?:[0-9a-f]{{0,4}}:){{2,8}} (?:(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}|[0-9a-f]{{0,4}})
      (?![\w:]|\.\d) )
  | (?P<ipv4> (?<![\w.]) [0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}} (?![\w]|\.\w|/[0-9]) )
  | (?P<hash> (?<![a-z0-9]) (?:[0-9a-f]{{64}}|[0-9a-f]{{40}}|[0-9a-f]{{32}}) (?![a-z0-9]) )
  | (?P<cve> (?<![a-z0-9]) CVE-[0-9]{{4}}-[0-9]{{4,19}} (?![0-9]) )
  | (?P<domain> (?<![\w.@/\\$-]) (?:\w(?:[\w-]{{0,61}}\w)?\.){{1,40}} [a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?
      (?![\w(-]|\.\w) (?P<path> /[\w%~+/=.?&#-]{{1,1024}} )? )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_TYPES = {"unix_path": "file_path"}  # every other group bears its type's name
# Most titles hold none of these, and then nothing to find.
_GATE = re.compile(r"\.\w|::|:[0-9a-f]|[@\\/]|[0-9a-f]{32}|CVE-", re.IGNORECASE)
_AFTER_URL = ".,;:!?'\")]}>*_"
_VERSION_BEFORE = re.compile(r"(?:\bv|\bver|version|release|build|firmware)[ .:=]{0,2}\Z|[a-z]/\Z", re.IGNORECASE)

_GLOBAL_UNICAST = re.compile(r"[23][0-9a-f]{3}:")  # 2000::/3, all that IANA has given out (RFC 4291)
# Endings outside the public DNS that reports, samples and malware use nevertheless.
_SPECIAL_ENDINGS: Final = frozenset({"example", "test", "invalid", "onion", "bit", "i2p"})


def extract(text: str, *, limit: int = 256) -> list[Observable]:
    """The distinct observables of a text in order of appearance, at most `limit`; never raises."""
    original = text[:MAX_TEXT].replace("\0", "")
    plain = refang(original)
    found: dict[Observable, None] = {}
    if not _GATE.search(plain):
        return []
    for match in _FORMS.finditer(plain):
        for observable in _observables(match, original):
            found[observable] = None
            if len(found) >= limit:
                return list(found)
    return list(found)


def _observables(match: re.Match[str], original: str) -> Iterator[Observable]:
    form = match.lastgroup or ""
    token = match[0]
    if form == "url":
        yield from _url(token)
    elif form in {"domain", "path"}:
        yield from _domain(match, was_defanged=match["domain"] not in original)
    elif form in {"ipv4", "ipv6"}:
        yield from _ip(match)
    elif form != "hash" or len(set(token)) > 1:  # a run of zeros stands for "no hash"
        ioc_type = HASH_OF_LENGTH[len(token)] if form == "hash" else _TYPES.get(form, form)
        yield from (found for found in _canonical(ioc_type, token.rstrip(".-'")) if not _is_own(found))


def _url(token: str) -> Iterator[Observable]:
    for observable in _canonical("url", _trimmed(token)):
        yield observable
        host = host_of(observable.value)
        for ioc_type in ("ip", "domain"):
            yield from (named for named in _canonical(ioc_type, host) if not _is_own(named))


def _trimmed(token: str) -> str:
    """A URL without the sentence's punctuation; a closing bracket stays when the URL opened it."""
    while token and token[-1] in _AFTER_URL:
        opening = {")": "(", "]": "[", "}": "{"}.get(token[-1])
        if opening and token.count(opening) >= token.count(token[-1]):
            break
        token = token[:-1]
    return token


def _domain(match: re.Match[str], *, was_defanged: bool) -> Iterator[Observable]:
    path = match["path"] or ""
    name = match["domain"].removesuffix(path)
    if not was_defanged and (is_file_name(name, was_defanged=False) or is_code(name)):
        return
    for observable in _canonical("domain", name):
        if not _is_public(observable.value):
            continue
        if len(path) > 1:
            yield from _canonical("url", _trimmed(observable.value + path))
        yield observable


def _is_public(name: str) -> bool:
    ending = name.rpartition(".")[2]
    return ending in _SPECIAL_ENDINGS or (ending != "arpa" and _is_top_level(ending))


@lru_cache(4096)
def _is_top_level(ending: str) -> bool:
    return bool(_ioc_finder().parse_domain_names(f"name.{ending}"))


@cache
def _ioc_finder() -> Any:
    # Half a second and 18 MB of grammars: paid by the process that reads text, not by every command.
    import ioc_finder

    return ioc_finder


def _ip(match: re.Match[str]) -> Iterator[Observable]:
    before = match.string[max(match.start() - 12, 0) : match.start()]
    if not _VERSION_BEFORE.search(before):
        for found in _canonical("ip", match[0]):
            if not _is_own(found) and (":" not in found.value or _GLOBAL_UNICAST.match(found.value)):
                yield found


def _is_own(observable: Observable) -> bool:
    """Whether it names one's own side: `getty@tty1.service` and `root@db.local` do, as `10.0.0.7` does."""
    if observable.type == "ip":
        return is_internal_ip(observable.value)
    return observable.type in {"domain", "email"} and not _is_public(observable.value)


def _canonical(ioc_type: str, token: str) -> Iterator[Observable]:
    try:
        yield canonical(ioc_type, token)
    except Invalid:
        return
