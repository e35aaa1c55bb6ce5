"""Findings of the Open Cybersecurity Schema Framework (category 2), and activity that its sender marks as an
alert.

Source of the format: https://schema.ocsf.io/ (classes 2001 to 2007, object `finding_info`, object
`observable`)
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
    mappings,
    parsed,
    text,
)

_TITLES = ("finding_info.title", "finding.title", "message", "finding_info.desc", "type_name", "class_name")
# A finding comes again whenever its sender updates it; that its first sign is a year old is no reason to show it a
# year back.
_TIMES = ("finding_info.last_seen_time", "finding_info.last_seen_time_dt", "time", "time_dt", "start_time")
_FINDINGS = 2
_STATUSES = {3: "suppressed", 4: "resolved", 5: "archived", 6: "deleted"}
_PASSED = 1
_CLOSED = 3
# Types of OCSF's observable object that AuroraSOC has a place for.
_HOST, _IP, _USER, _EMAIL, _URL, _HASH = 1, 2, 4, 5, 6, 8
_DOMAIN_LIKE = {1}
_CATEGORIES = {1: "endpoint", 3: "identity", 4: "network", 6: "web"}


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One event. Activity that is no alert and closed findings are ignored; raises `Invalid` for what is no
    OCSF.
    """
    data = record.data or {}
    class_uid = integer(data.get("class_uid"))
    category = integer(data.get("category_uid")) or (class_uid // 1000 if class_uid else None)
    if category is None:
        raise Invalid("`class_uid` is missing: not an OCSF event")
    if category != _FINDINGS and data.get("is_alert") is not True:
        return Ignored(f"class_uid {class_uid or category}")
    ended = _ended(data, category)
    if ended:
        return Ignored(f"finding {ended}")
    title = first_text(data, *_TITLES, limit=MAX_TITLE)
    if not title:
        raise Invalid("`finding_info.title` is missing")
    entities = Entities()
    metadata = _gather(data, entities)
    return compose(
        title=title,
        severity=severities.from_ocsf(data.get("severity_id"), data.get("severity")),
        source="ocsf",
        raw=record.text,
        description=lines(first(data, "finding_info.desc", "finding.desc", "message")),
        category=_category(data, category),
        entities=entities,
        techniques=attack.techniques_in(_techniques(data)),
        occurred_at=first_moment(data, *_TIMES),
        metadata=metadata,
    )


def _ended(data: dict[str, Any], category: int) -> str:
    """Why there is nothing (any more) in a finding for anyone to see; scanners of posture report passes, too."""
    if category != _FINDINGS:
        return ""
    if integer(data.get("activity_id")) == _CLOSED:
        return "closed"
    is_passed = integer(first(data, "compliance.status_id")) == _PASSED
    if is_passed or first_text(data, "status_code", "compliance.status", limit=32).lower() in ("pass", "passed"):
        return "passed"
    return _STATUSES.get(integer(data.get("status_id")) or 0, "")


def _gather(data: dict[str, Any], entities: Entities) -> dict[str, Any]:
    evidences = [data, *list(mappings(data.get("evidences")))[:32]]
    for evidence in evidences:
        _evidence(evidence, entities)
    for resource in list(mappings(first(data, "resources", "resource")))[:64]:
        entities.host(first_text(resource, "hostname", "name", "uid"))
        entities.user(_principal(parsed(resource.get("data"))))
    for vulnerability in list(mappings(data.get("vulnerabilities")))[:64]:
        entities.cve(first_text(vulnerability, "cve.uid"))
    for observable in list(mappings(data.get("observables")))[:256]:
        _observable(observable, entities)
    merged = {**evidences[-1], **data}
    return {
        "src_ip": first_text(merged, "src_endpoint.ip"),
        "src_port": integer(first(merged, "src_endpoint.port")),
        "dest_ip": first_text(merged, "dst_endpoint.ip"),
        "dest_port": integer(first(merged, "dst_endpoint.port")),
        "proto": first_text(merged, "connection_info.protocol_name"),
        "direction": first_text(merged, "connection_info.direction"),
        "bytes_toserver": integer(first(merged, "traffic.bytes_out")),
        "bytes_toclient": integer(first(merged, "traffic.bytes_in")),
        "process_name": first_text(merged, "process.name", "actor.process.name"),
        "process_command_line": first_text(merged, "process.cmd_line", "actor.process.cmd_line"),
        "parent_process": first_text(merged, "process.parent_process.name", "actor.process.parent_process.name"),
        "file_name": first_text(merged, "file.name"),
        "file_path": first_text(merged, "file.path"),
        "url": first_text(merged, "url.url_string", "http_request.url.url_string"),
        "action": first_text(data, "disposition", "action"),
        "rule_id": first_text(data, "finding_info.analytic.uid", "finding_info.analytic.name", "rule.uid"),
        "event_id": first_text(data, "finding_info.uid", "finding.uid", "metadata.uid"),
        "sensor": first_text(data, "metadata.product.name"),
        "vendor": first_text(data, "metadata.product.vendor_name"),
        "class_uid": integer(data.get("class_uid")),
        "confidence": first(data, "confidence_score", "confidence"),
    }


def _principal(details: Any) -> str:
    """Whose key a cloud's finding is about, in what AWS keeps of the resource."""
    return first_text(details, "AwsIamAccessKey.PrincipalName", "AwsIamAccessKey.UserName", "AwsIamUser.UserName")


def _evidence(evidence: dict[str, Any], entities: Entities) -> None:
    entities.host(first_text(evidence, "device.hostname", "device.name"))
    for end in ("device", "src_endpoint", "dst_endpoint"):
        entities.address(first_text(evidence, f"{end}.ip", limit=64))
    entities.user(first_text(evidence, "actor.user.name", "actor.user.email_addr"))
    entities.user(first_text(evidence, "user.name", "user.email_addr"))
    entities.domain(first_text(evidence, "query.hostname", "dst_endpoint.domain", limit=255))
    entities.url(first_text(evidence, "url.url_string", "http_request.url.url_string", limit=4_096))
    for file in ("file", "process.file", "actor.process.file"):
        for digest in mappings(first(evidence, f"{file}.hashes")):
            entities.hash(digest.get("value"))


def _observable(observable: dict[str, Any], entities: Entities) -> None:
    kind, value = integer(observable.get("type_id")), text(observable.get("value"), 4_096)
    if not value:
        return
    if kind in _DOMAIN_LIKE:
        # A host name: of one of ours or of the attacker's, the sender does not say; resources and device name
        # ours.
        if value not in entities.assets:
            entities.domain(value)
    elif kind == _USER:
        entities.user(value)
    elif kind in (_IP, _EMAIL, _URL, _HASH):
        entities.indicator(value, {_IP: "ip", _EMAIL: "email", _URL: "url", _HASH: "hash"}[kind])


def _techniques(data: dict[str, Any]) -> list[str]:
    written: list[str] = []
    for attacks in (data.get("attacks"), first(data, "finding_info.attacks")):
        for item in mappings(attacks):
            written += all_texts(item, ("technique.uid", "sub_technique.uid"))
            written += [text(technique.get("uid"), 32) for technique in mappings(item.get("techniques"))]
    return [item for item in written if item]


def _category(data: dict[str, Any], category: int) -> str:
    if category in _CATEGORIES:
        return _CATEGORIES[category]
    if "cloud" in data and not mapping(data.get("device")):
        return "cloud"
    evidence = {**mapping(data.get("evidences")), **data}
    if first(evidence, "process", "file"):
        return "endpoint"
    return "network" if first(evidence, "src_endpoint", "dst_endpoint") else "other"
