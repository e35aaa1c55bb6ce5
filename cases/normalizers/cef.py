"""ArcSight's Common Event Format: one line an event, with or without a syslog header.

Source of the format: "ArcSight Common Event Format Implementation Standard", revision 26 (Micro Focus).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from aurora.errors import Invalid
from cases import attack, observables
from cases.normalizers import severities
from cases.normalizers.alert import Ignored, NormalizedAlert, RawRecord, compose
from cases.normalizers.entities import Entities, is_external, is_internal
from cases.normalizers.fields import clean, integer, moment

_HEADER_FIELDS = 7
_MAX_LINE = 65_536
_START = re.compile(r"CEF:\s*(?=\d)")
# Fields of the header end at a bar, unless a backslash stands before it.
_BAR = re.compile(r"(?<!\\)(?:\\\\)*\|")
# A key is a word that a space precedes and an equals sign follows; an equals sign inside a value is escaped.
_KEY = re.compile(r"(?:^|(?<=\s))([\w.\-\[\]]{1,64})=")
_ESCAPES = re.compile(r"\\([\\=|nr])")
_SYSLOG_HOST = re.compile(r"(\S+)\s*$")
_TIME_FORMATS = ("%b %d %Y %H:%M:%S.%f", "%b %d %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y")
_ZONE = re.compile(r"\s+(?:GMT|UTC)?([+-]\d\d):?(\d\d)$|\s+[A-Z]{3,5}$")
# A subtype or a number for a name (`spyware`, `file`, `7`) says nothing without its product.
_BARE_NAME = re.compile(r"[a-z0-9]{1,14}|[A-Z]{1,14}")
# Firewalls write their whole log as CEF. These are sessions and the device's own housekeeping.
_NO_ALERTS = {
    ("palo alto networks", name)
    for name in (
        "traffic",
        "decryption",
        "globalprotect",
        "hipmatch",
        "iptag",
        "userid",
        "auth",
        "sctp",
        "config",
        "system",
    )
}
_SESSIONS = ("traffic:", "event:vpn ")
_METADATA = {
    "src_ip": "src",
    "dest_ip": "dst",
    "proto": "proto",
    "app_proto": "app",
    "action": "act",
    "direction": "deviceDirection",
    "process_name": "sproc",
    "file_name": "fname",
    "file_path": "filePath",
    "url": "request",
    "user_agent": "requestClientApplication",
    "outcome": "outcome",
    "reason": "reason",
    "event_id": "externalId",
    "rule_category": "cat",
}
_COUNTS = {
    "src_port": "spt",
    "dest_port": "dpt",
    "bytes_toserver": "out",
    "bytes_toclient": "in",
    "count": "cnt",
}
_DIRECTIONS = {"0": "inbound", "1": "outbound"}
_TIMES = ("start", "rt", "end", "startTime", "FTNTFGTeventtime", "FortinetFortiGateeventtime", "endTime")


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One line. Sessions of known firewalls are ignored; raises `Invalid` for a line that is no CEF or has no name."""
    line = record.text[:_MAX_LINE]
    found = _START.search(line)
    if found is None:
        raise Invalid("`CEF:` is missing: not a line of Common Event Format")
    header, rest = _header(line[found.end() :])
    _, vendor, product, version, signature, name, severity = header
    title = _title(clean(name), clean(signature), f"{vendor} {product}")
    if (vendor.lower(), signature.lower()) in _NO_ALERTS or title.startswith(_SESSIONS):
        return Ignored(f"{vendor} {signature} {name}")
    fields = _extension(rest)
    entities = Entities()
    metadata = _gather(fields, entities, title)
    prefix = line[: found.start()]
    metadata.update(
        rule_id=signature,
        vendor=vendor,
        product=product,
        product_version=version,
        sensor=fields.get("dvchost") or fields.get("dvc") or _syslog_host(prefix),
    )
    if not (entities.assets or entities.observables):
        # An agent's event about its own machine names neither end.
        entities.host(fields.get("dvchost") or fields.get("dvc"))
    return compose(
        title=title,
        severity=severities.from_cef(clean(severity)),
        source="cef",
        raw=record.text,
        description=fields.get("msg", ""),
        category=_category(fields, product),
        entities=entities,
        techniques=attack.techniques_in([value for key, value in fields.items() if _is_about_attack(key, value)]),
        occurred_at=next((time for time in map(_time, (*map(fields.get, _TIMES), _syslog_time(prefix))) if time), None),
        metadata=metadata,
    )


def _title(name: str, signature: str, product: str) -> str:
    title = name or signature
    if not title:
        raise Invalid("the name, field 6 of the CEF header, is empty")
    return f"{product} {signature}: {name}" if _BARE_NAME.fullmatch(name) and name != signature else title


def _header(text: str) -> tuple[list[str], str]:
    """The header's seven fields, escapes undone, and the extension after them."""
    fields: list[str] = []
    position = 0
    while len(fields) < _HEADER_FIELDS:
        bar = _BAR.search(text, position)
        if bar is None:
            break
        fields.append(_unescaped(text[position : bar.end() - 1]).strip())
        position = bar.end()
    if len(fields) == _HEADER_FIELDS - 1:
        # Some senders leave out the last bar when there is no extension.
        return [*fields, _unescaped(text[position:]).strip()], ""
    if len(fields) < _HEADER_FIELDS:
        raise Invalid(f"the CEF header has {len(fields)} fields, {_HEADER_FIELDS} are needed")
    return fields, text[position:]


def _extension(text: str) -> dict[str, str]:
    """The extension's `key=value` pairs; custom fields (`cs1`, `cs1Label`) also under their label."""
    keys = list(_KEY.finditer(text))
    ends = [*(key.start() for key in keys[1:]), len(text)][: len(keys)]
    fields = {key.group(1): _unescaped(text[key.end() : end].strip()) for key, end in zip(keys, ends, strict=True)}
    for name in [name for name in fields if name.endswith("Label")]:
        value = fields.get(name.removesuffix("Label"))
        if value and fields[name]:
            fields.setdefault(fields[name], value)
    return fields


def _unescaped(value: str) -> str:
    return _ESCAPES.sub(lambda found: {"n": "\n", "r": "\r"}.get(found.group(1), found.group(1)), value)


def _syslog_host(prefix: str) -> str:
    """The host in `<134>Feb 1 10:00:00 host ` and in RFC 5424's `<134>1 time host app - - - `."""
    prefix = re.sub(r"^<\d{1,3}>", "", prefix.strip())
    words = prefix.split()
    if words and words[0] == "1" and len(words) > 2:
        return words[2]
    found = _SYSLOG_HOST.search(prefix)
    return found.group(1).rstrip(":") if found and not found.group(1)[0].isdigit() else ""


def _syslog_time(prefix: str) -> str | None:
    """The time in RFC 5424's `<134>1 time host …`; the older header has neither year nor zone."""
    words = prefix.split()
    return words[1] if len(words) > 2 and re.fullmatch(r"(?:<\d{1,3}>)?1", words[0]) else None


def _gather(fields: dict[str, str], entities: Entities, title: str) -> dict[str, Any]:
    # Translated addresses are the firewall's own, on whichever side.
    for key in ("src", "dst", "c6a2", "c6a3"):
        entities.address(fields.get(key))
    _names(fields, entities)
    for key in ("suser", "duser"):
        entities.user(fields.get(key))
    entities.domain(fields.get("destinationDnsDomain"))
    if not is_internal(fields.get("dst")) and not is_external(fields.get("src")):
        # What an outsider asks for is ours: a firewall for web applications stands before our own sites.
        _request(fields.get("request", ""), entities)
    entities.prose(fields.get("msg"))
    for key, value in fields.items():
        if key.lower() in ("filehash", "oldfilehash", "sha256", "sha1", "md5", "file hash"):
            entities.hash(value)
    entities.user_agent(fields.get("requestClientApplication"), title=title)
    metadata: dict[str, Any] = {name: fields.get(key) for name, key in _METADATA.items()}
    metadata.update({name: integer(fields.get(key)) for name, key in _COUNTS.items()})
    metadata["direction"] = _DIRECTIONS.get(fields.get("deviceDirection", ""), fields.get("deviceDirection"))
    return metadata


def _names(fields: dict[str, str], entities: Entities) -> None:
    for key in ("shost", "dhost"):
        name = fields.get(key, "")
        if name.count(".") > 1 and fields.get("dst" if key == "dhost" else "src") in entities.assets:
            entities.host(name)
        elif "." in name:
            entities.domain(name)
        else:
            entities.host(name)


def _request(request: str, entities: Entities) -> None:
    """A URL, or as web filters write it a host with or without a path; also a path or a file's name."""
    if "://" in request[:16]:
        entities.url(request)
        return
    host, slash, _ = request.partition("/")
    found = observables.classify(host)
    if found is not None and found.type == "domain":
        entities.domain(host)
        entities.url(f"http://{request}" if slash else None)


def _is_about_attack(key: str, value: str) -> bool:
    return len(value) < 500 and any(word in key.lower() for word in ("mitre", "technique", "attack"))


def _time(value: str | None) -> datetime | None:
    """Epoch milliseconds, or `MMM dd yyyy HH:mm:ss` with an optional fraction and zone (an offset, or a name, which
    is taken for UTC).
    """
    if not value:
        return None
    found = moment(value)
    if found is not None:
        return found
    zone = _ZONE.search(value)
    offset = f"{zone[1]}:{zone[2]}" if zone and zone[1] else "+00:00"
    for form in _TIME_FORMATS:
        try:
            written = datetime.strptime(f"{_ZONE.sub('', value)} {offset}", f"{form} %z")
        except ValueError:
            continue
        return moment(written.isoformat())
    return None


def _category(fields: dict[str, str], product: str) -> str:
    request = fields.get("request", "")
    if "://" in request[:16] or (request and "\\" not in request and "requestMethod" in fields):
        return "web"
    if "fileHash" in fields or "filePath" in fields or "sproc" in fields:
        return "endpoint"
    if "src" in fields or "dst" in fields:
        return "network"
    return "email" if "mail" in product.lower() else "other"
