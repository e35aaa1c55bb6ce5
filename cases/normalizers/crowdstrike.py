"""CrowdStrike Falcon: detections of the event stream, alerts of its API, and Fusion's webhook.

Source of the field names:
https://www.elastic.co/guide/en/beats/filebeat/current/exported-fields-crowdstrike.html and
https://falcon.crowdstrike.com/documentation (Streaming API, Alerts API).
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
    text,
)

_DETECTIONS = {
    "IncidentSummaryEvent",
    "IdentityProtectionEvent",
    "ReconNotificationSummaryEvent",
    "CSPMIOAStreamingEvent",
    "CSPMSearchStreamingEvent",
}
_TITLES = (
    "DetectName",
    "Name",
    "IncidentType",
    "display_name",
    "name",
    "DetectDescription",
    "description",
    "title",
)
_HOSTS = (
    "ComputerName",
    "Hostname",
    "SourceEndpointHostName",
    "EndpointName",
    "device.hostname",
    "host_names",
    "hostname",
)
_USERS = ("UserName", "SourceAccountName", "user_name", "source_account_name", "user_principal", "users")
_INSIDE = (
    "LocalIP",
    "SourceEndpointIpAddress",
    "device.local_ip",
    "source_endpoint_address_ip4",
    "HostIpAddress",
)
_OUTSIDE = ("RemoteAddress", "remote_address", "network_accesses.remote_address")
_HASHES = ("SHA256String", "SHA256", "MD5String", "MD5", "SHA1String", "sha256", "md5", "sha1")
_TECHNIQUES = (
    "TechniqueId",
    "technique_id",
    "MitreAttack.TechniqueID",
    "mitre_attack.technique_id",
    "Technique",
    "technique",
)
_TIMES = (
    "ContextTimeStamp",
    "ProcessStartTime",
    "IncidentStartTime",
    "StartTime",
    "context_timestamp",
    "timestamp",
    "created_timestamp",
    "first_behavior",
)
_METADATA: dict[str, tuple[str, ...]] = {
    "process_name": ("FileName", "filename"),
    "process_path": ("FilePath", "filepath"),
    "process_command_line": ("CommandLine", "cmdline"),
    "parent_process": ("ParentImageFileName", "parent_details.filename"),
    "parent_command_line": ("ParentCommandLine", "parent_details.cmdline"),
    "action": ("PatternDispositionDescription", "pattern_disposition_description"),
    "rule_id": ("PatternId", "pattern_id", "IOARuleInstanceID"),
    "event_id": ("DetectId", "CompositeId", "composite_id", "detection_id", "IncidentID", "id"),
    "url": ("FalconHostLink", "falcon_host_link"),
    "sensor": ("SensorId", "AgentIdString", "agent_id", "device.device_id"),
    "tactic": ("Tactic", "tactic"),
    "technique_name": ("Technique", "technique"),
    "proto": ("Protocol",),
}


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One detection. Audit events are ignored; raises `Invalid` for what names no detection."""
    data = record.data or {}
    envelope = mapping(data.get("metadata"))
    event_type = first_text(envelope, "eventType", limit=64)
    if event_type and event_type not in _DETECTIONS and "Detection" not in event_type:
        return Ignored(f"eventType {event_type}")
    event = mapping(data.get("event")) or mapping(data.get("data")) or data
    # The older detections API keeps what happened in a list of behaviours.
    event = {**mapping(event.get("behaviors")), **event}
    title = first_text(event, *_TITLES, limit=MAX_TITLE)
    if not title:
        raise Invalid("`event.DetectName` (or `display_name`) is missing: not a CrowdStrike detection")
    entities = Entities()
    metadata = _gather(event, entities)
    return compose(
        title=title,
        severity=severities.from_crowdstrike(
            first(event, "Severity", "severity", "max_severity"),
            first_text(event, "SeverityName", "severity_name", "max_severity_displayname", limit=32),
        ),
        source="crowdstrike",
        raw=record.text,
        description=lines(first(event, "DetectDescription", "Description", "description")),
        category=_category(event_type, event),
        asset_type=_asset_type(first_text(event, "device.product_type_desc", "HostType", limit=32)),
        entities=entities,
        techniques=attack.techniques_in(_techniques(event)),
        occurred_at=first_moment(event, *_TIMES) or first_moment(envelope, "eventCreationTime"),
        metadata=metadata,
    )


def _gather(event: dict[str, Any], entities: Entities) -> dict[str, Any]:
    entities.host(all_texts(event, _HOSTS))
    entities.address(all_texts(event, _INSIDE))
    entities.user(all_texts(event, _USERS))
    entities.hash(all_texts(event, _HASHES))
    entities.indicator(first(event, "IOCValue", "ioc_value"), first_text(event, "IOCType", "ioc_type", limit=32))
    entities.address(all_texts(event, _OUTSIDE))
    accesses = list(mappings(first(event, "NetworkAccesses", "network_accesses")))
    for access in accesses[:64]:
        entities.address(first_text(access, "RemoteAddress", "remote_address", limit=64))
    for query in list(mappings(first(event, "DnsRequests", "dns_requests")))[:64]:
        entities.domain(first_text(query, "DomainName", "domain_name", limit=255))
    metadata: dict[str, Any] = {name: first(event, *paths) for name, paths in _METADATA.items()}
    access = accesses[0] if accesses else {}
    metadata.update(
        src_ip=first_text(event, *_INSIDE) or first_text(access, "LocalAddress"),
        dest_ip=first_text(access, "RemoteAddress", "remote_address") or first_text(event, *_OUTSIDE),
        src_port=integer(access.get("LocalPort")),
        dest_port=integer(access.get("RemotePort")),
    )
    return metadata


def _techniques(event: dict[str, Any]) -> list[str]:
    written = all_texts(event, _TECHNIQUES)
    for attacks in mappings(first(event, "MitreAttack", "mitre_attack")):
        written += [text(attacks.get(key), 32) for key in ("TechniqueID", "technique_id")]
    return [item for item in written if item]


def _category(event_type: str, event: dict[str, Any]) -> str:
    kind = event_type or first_text(event, "product", "type", limit=32)
    for category, words in (("identity", ("Idp", "Identity", "idp")), ("cloud", ("CSPM", "cloud", "cwpp"))):
        if any(word in kind for word in words):
            return category
    return "endpoint"


def _asset_type(product: str) -> str | None:
    return {"server": "server", "domain controller": "server", "workstation": "workstation"}.get(product.lower())
