"""Zeek's `notice.log`, written as JSON, with Zeek's dotted keys (`id.orig_h`) or Corelight's and ECS-like
nested ones.

Source of the format:
https://docs.zeek.org/en/master/scripts/base/frameworks/notice/main.zeek.html#type-Notice::Info
"""

from __future__ import annotations

from typing import Any

from aurora.errors import Invalid
from cases import attack
from cases.normalizers import severities
from cases.normalizers.alert import Ignored, NormalizedAlert, RawRecord, compose
from cases.normalizers.entities import Entities
from cases.normalizers.fields import (
    MAX_TITLE,
    all_texts,
    first,
    first_moment,
    first_text,
    integer,
    lines,
    mapping,
    texts,
)

# Zeek gives its notices no severity. These prefixes of Zeek's own notice types say more than the default,
# medium.
_SEVERITIES = (
    ("TeamCymruMalwareHashRegistry::", severities.HIGH),
    ("Intel::Notice", severities.HIGH),
    ("Heartbleed::", severities.HIGH),
    ("HTTP::SQL_Injection", severities.HIGH),
    ("ATTACK::Lateral_Movement", severities.HIGH),
    ("ATTACK::Credential_Access", severities.HIGH),
    ("Scan::", severities.LOW),
    ("Traceroute::", severities.LOW),
    ("SSL::", severities.LOW),
    ("Software::", severities.LOW),
    ("Weird::", severities.INFO),
    ("CaptureLoss::", severities.INFO),
    ("PacketFilter::", severities.INFO),
)
_RAISING_ACTIONS = {"Notice::ACTION_PAGE", "Notice::ACTION_ALARM"}
_SOURCES = ("id.orig_h", "src", "source.ip")
_DESTINATIONS = ("id.resp_h", "dst", "destination.ip")


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One notice. Records of other logs are ignored; raises `Invalid` for what is no Zeek record."""
    data = record.data or {}
    data = mapping(data.get("_source")) or data
    data = mapping(data.get("zeek")) or data
    note = first_text(data, "note", "notice.note", limit=MAX_TITLE)
    if not note:
        return _other(data)
    entities = Entities()
    entities.address(all_texts(data, _SOURCES))
    entities.address(all_texts(data, _DESTINATIONS))
    entities.hash(all_texts(data, ("file_hash", "sha256", "sha1", "md5")))
    message = lines(first(data, "msg", "notice.msg"))
    entities.prose([message, lines(first(data, "sub", "notice.sub"))])
    return compose(
        # The message counts hosts and seconds; the type of the notice is what stays the same.
        title=f"Zeek {note}",
        severity=_severity(note, texts(first(data, "actions", "notice.actions"), 64)),
        source="zeek",
        raw=record.text,
        description=message,
        category="web" if note.startswith("HTTP::") else "network",
        entities=entities,
        techniques=attack.techniques_in([note, message[:500]]),
        occurred_at=first_moment(data, "ts", "_write_ts", "@timestamp"),
        metadata=_metadata(data, note),
    )


def _other(data: dict[str, Any]) -> Ignored:
    log = first_text(data, "_path", "event.dataset", "log_type", limit=64)
    if log:
        return Ignored(f"log {log}")
    if "ts" in data and "uid" in data:
        return Ignored("a log other than notice")
    raise Invalid("`note` is missing: not a record of Zeek's notice.log")


def _severity(note: str, actions: list[str]) -> str:
    found = next((severity for prefix, severity in _SEVERITIES if note.startswith(prefix)), severities.DEFAULT)
    if found in (severities.LOW, severities.INFO, severities.MEDIUM) and _RAISING_ACTIONS & set(actions):
        return severities.HIGH
    return found


def _metadata(data: dict[str, Any], note: str) -> dict[str, Any]:
    return {
        "src_ip": first_text(data, *_SOURCES),
        "src_port": integer(first(data, "id.orig_p")),
        "dest_ip": first_text(data, *_DESTINATIONS),
        "dest_port": integer(first(data, "id.resp_p", "p")),
        "proto": first_text(data, "proto"),
        "rule_id": note,
        "action": first(data, "actions"),
        "sensor": first_text(data, "peer_descr", "_system_name", "peer_name"),
        "flow_id": first_text(data, "uid"),
        "file_id": first_text(data, "fuid"),
        "file_mime_type": first_text(data, "file_mime_type"),
        "detail": first_text(data, "sub"),
        "count": integer(first(data, "n")),
    }
