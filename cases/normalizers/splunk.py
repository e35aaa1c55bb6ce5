"""Splunk's webhook alert action, rows of a search, and notable events of Enterprise Security.

Source of the format: https://docs.splunk.com/Documentation/Splunk/latest/Alert/Webhooks; field names are
those of Splunk's Common Information Model.
"""

from __future__ import annotations

import re
from typing import Any

from aurora.errors import Invalid
from cases import attack
from cases.normalizers import severities
from cases.normalizers.alert import NormalizedAlert, RawRecord, compose
from cases.normalizers.entities import Entities, is_address
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

_TITLES = ("rule_title", "rule_name", "search_name", "signature", "alert_name", "title", "name", "source")
_SEVERITIES = ("urgency", "severity", "rule_severity", "priority", "vendor_severity", "risk_level")
_HOSTS = (
    "dest_host",
    "dest_nt_host",
    "src_host",
    "src_nt_host",
    "dvc",
    "ComputerName",
    "Computer",
    "orig_host",
)
# `src` and `dest` hold an address or a name, whichever the log had.
_ENDS = ("src", "src_ip", "dest", "dest_ip", "clientip")
_USERS = ("user", "src_user", "Account_Name", "user_name", "orig_user")
_HASHES = ("file_hash", "process_hash", "Hashes", "sha256", "md5", "hash")
_TECHNIQUES = (
    "annotations.mitre_attack",
    "annotations.mitre_attack.mitre_technique_id",
    "mitre_technique_id",
    "mitre_attack",
)
_TIMES = ("_time", "orig_time", "event_time", "timestamp", "firstTime")
_METADATA: dict[str, tuple[str, ...]] = {
    "src_ip": ("src_ip", "src", "clientip"),
    "dest_ip": ("dest_ip", "dest"),
    "proto": ("transport", "protocol"),
    "app_proto": ("app",),
    "action": ("action",),
    "process_name": ("process_name", "Image"),
    "process_command_line": ("process", "CommandLine"),
    "parent_process": ("parent_process_name", "parent_process", "ParentImage"),
    "file_name": ("file_name",),
    "file_path": ("file_path",),
    "url": ("url",),
    "user_agent": ("http_user_agent",),
    "event_id": ("event_id", "EventCode", "signature_id"),
    "sensor": ("host",),
    "sourcetype": ("sourcetype", "orig_sourcetype"),
    "index": ("index",),
    "risk_score": ("risk_score",),
}
_COUNTS = {
    "src_port": "src_port",
    "dest_port": "dest_port",
    "bytes_toserver": "bytes_out",
    "bytes_toclient": "bytes_in",
}
_MAX_RAW = 20_000
_STASHED = re.compile(r'(?:^|[\s,])([A-Za-z_][\w.]{0,100})="((?:[^"\\]|\\.){0,4000})"')
_ESCAPED = re.compile(r"\\(.)")
_CATEGORIES = {
    "access": "identity",
    "identity": "identity",
    "endpoint": "endpoint",
    "network": "network",
    "threat": "other",
}


def normalize(record: RawRecord) -> NormalizedAlert:
    """One result of a search. Raises `Invalid` when neither the search nor the result has a name."""
    data = record.data or {}
    result = mapping(data.get("result")) or mapping(data.get("event"))
    if not result and not first_text(data, *_TITLES, "search_name"):
        raise Invalid("`result` is missing: not a Splunk alert")
    # The result's own fields count before those of the search; `search_name` is the search's alone.
    fields = {**data, **result}
    fields = {**_stashed(fields.get("_raw")), **fields}
    title = first_text(fields, *_TITLES, "_raw", limit=MAX_TITLE)
    if not title:
        raise Invalid("`search_name` is missing, and the result has no `rule_name`, `signature` or `title`")
    entities = Entities()
    metadata = _gather(fields, data, entities, title)
    return compose(
        title=title,
        severity=_severity(fields),
        source="splunk",
        raw=record.text,
        description=lines(
            first(fields, "rule_description", "description", "message", "savedsearch_description", "_raw")
        ),
        category=_CATEGORIES.get(first_text(fields, "security_domain", limit=32).lower(), "other"),
        entities=entities,
        techniques=attack.techniques_in(all_texts(fields, _TECHNIQUES)),
        occurred_at=first_moment(fields, *_TIMES),
        metadata=metadata,
    )


def _stashed(raw: Any) -> dict[str, Any]:
    """The fields of a notable event, which Splunk keeps as `name="value"` in its text and extracts only in searches."""
    if type(raw) is not str or 'search_name="' not in raw[:_MAX_RAW]:
        return {}
    return {name: _ESCAPED.sub(r"\1", value) for name, value in _STASHED.findall(raw[:_MAX_RAW])}


def _severity(fields: dict[str, Any]) -> str:
    for name in _SEVERITIES:
        found = severities.from_word(fields.get(name))
        if found:
            return found
    score = first(fields, "risk_score", "severity_id")
    return severities.from_anything(score) if score is not None else severities.DEFAULT


def _gather(fields: dict[str, Any], data: dict[str, Any], entities: Entities, title: str) -> dict[str, Any]:
    entities.host(all_texts(fields, _HOSTS))
    for end in all_texts(fields, _ENDS):
        if is_address(end):
            entities.address(end)
        else:
            entities.host(end)
    entities.user(all_texts(fields, _USERS))
    entities.hash(all_texts(fields, _HASHES))
    entities.domain(all_texts(fields, ("query", "dest_domain", "url_domain")))
    url = first_text(fields, "url", limit=4_096)
    entities.url(url if "://" in url else None)
    entities.email(all_texts(fields, ("src_user_email", "sender")))
    entities.user_agent(fields.get("http_user_agent"), title=title)
    metadata: dict[str, Any] = {name: first(fields, *paths) for name, paths in _METADATA.items()}
    metadata.update({name: integer(first(fields, path)) for name, path in _COUNTS.items()})
    metadata.update(
        rule_id=first_text(data, "search_name", "rule_name") or title,
        rule_groups=texts(fields.get("tag"), 64),
        search_id=first_text(data, "sid"),
        results_link=first_text(data, "results_link"),
    )
    return metadata
