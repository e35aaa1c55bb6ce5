"""One entry of an imported list, and how its fields are read whatever a list holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime

from aurora.errors import Invalid
from cases.observables import Observable, canonical, classify
from cases.states import Tlp

TLP_WORDS = {colour: colour for colour in Tlp.values} | {"white": Tlp.CLEAR.value}
# Words of lists for our types, lower-case, `-` and blanks as `_`. MISP's and OTX's among them.
TYPE_WORDS = {
    "ip": "ip", "ipv4": "ip", "ipv6": "ip", "ip_src": "ip", "ip_dst": "ip", "ipv4_addr": "ip", "ipv6_addr": "ip", "address": "ip",
    "domain": "domain", "hostname": "domain", "fqdn": "domain", "domain_name": "domain",
    "url": "url", "uri": "url", "link": "url",
    "md5": "hash_md5", "hash_md5": "hash_md5", "filehash_md5": "hash_md5",
    "sha1": "hash_sha1", "hash_sha1": "hash_sha1", "filehash_sha1": "hash_sha1",
    "sha256": "hash_sha256", "hash_sha256": "hash_sha256", "filehash_sha256": "hash_sha256",
    "email": "email", "email_addr": "email", "email_src": "email", "email_dst": "email",
    "cve": "cve", "vulnerability": "cve",
    "file_path": "file_path", "filepath": "file_path", "filename": "file_path",
    "registry_key": "registry_key", "regkey": "registry_key",
    "mutex": "mutex", "user_agent": "user_agent", "useragent": "user_agent",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """The `index`th element of a list: what it says, or why it says nothing (`error`, or `is_ignored` for what is no indicator)."""

    index: int
    observable: Observable | None = None
    description: str = ""
    confidence: float | None = None
    tlp: str | None = None
    expires_at: datetime | None = None
    error: str = ""
    is_ignored: bool = False


def rejected(index: int, reason: str) -> Entry:
    return Entry(index, error=reason)


def ignored(index: int) -> Entry:
    return Entry(index, is_ignored=True)


def observable_of(kind: str, value: object) -> Observable:
    """The observable a list means by `kind` (may be empty: the value's form decides) and `value`. Raises Invalid."""
    if not isinstance(value, str) or not value.strip():
        raise Invalid("the value is missing")
    word = kind.strip().lower().replace("-", "_").replace(" ", "_")
    if word in ("", "hash", "indicator"):
        found = classify(value)
        if found is None:
            raise Invalid(f"{value.strip()[:80]!r} is of no known type; name it")
        return found
    if word not in TYPE_WORDS:
        raise Invalid(f"unknown IOC type {kind[:40]!r}")
    return canonical(TYPE_WORDS[word], value)


def confidence_of(value: object) -> float | None:
    """0–1 from a fraction, or from a number of a hundred (above 1). None when there is none. Raises Invalid."""
    if value is None or value == "":
        return None
    try:
        number = float(str(value).strip().rstrip("%"))
    except ValueError:
        raise Invalid(f"{str(value)[:40]!r} is no confidence") from None
    number = number / 100 if number > 1 else number
    if not 0 <= number <= 1:
        raise Invalid("a confidence is 0 to 1, or 0 to 100")
    return number


def moment_of(value: object) -> datetime | None:
    """A time or day in ISO 8601; without a zone it is UTC. None when there is none. Raises Invalid."""
    if value is None or value == "":
        return None
    text = str(value).strip()
    try:
        moment = parse_datetime(text) or _midnight(text)
        in_utc = moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        in_utc = None
    if in_utc is None:
        raise Invalid(f"{text[:40]!r} is no time")
    return in_utc


def tlp_of(words: Iterable[object]) -> str | None:
    """The strictest Traffic Light colour among words such as `tlp:amber`, `TLP:WHITE` or `green`."""
    plain = (str(word).strip().lower().removeprefix("tlp:").removeprefix("tlp-") for word in words)
    found = {TLP_WORDS[word] for word in plain if word in TLP_WORDS}
    return next((colour for colour in Tlp.values if colour in found), None)


def text_of(source: Mapping[str, Any], *names: str) -> str:
    """The first of the fields that holds text, without NUL, cut to what a description may be."""
    for name in names:
        value = source.get(name)
        if isinstance(value, str) and value.strip():
            return value.replace("\0", "").strip()[:10_000]
    return ""


def _midnight(text: str) -> datetime | None:
    day = parse_date(text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None
