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
    "AutomatedLeadSummaryEvent",
    "CustomerIOCEvent",
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
    "HostNames",
    "device.hostname",
    "host_names",
    "hostname",
    "source_endpoint_host_name",
    "TargetEndpointHostName",
    "target_endpoint_host_name",
)
_USERS = (
    "UserName",
    "SourceAccountName",
    "TargetAccountName",
    "Users",
    "user_name",
    "source_account_name",
    "target_account_name",
    "user_principal",
    "users",
)
# Of the machine that the sensor runs on: public ones too are ours.
_OWN = ("LocalIP", "device.local_ip", "HostIpAddress")
_OWN_UNNAMED = ("LocalIPv6", "AgentIp", "aip", "device.external_ip", "external_ip", "NetworkAccesses.LocalAddress")
# Of whoever signs in: a machine of ours, or somebody's abroad.
_ENDPOINTS = ("SourceEndpointIpAddress", "source_endpoint_address_ip4", "EndpointIp", "IPv4Addresses", "IPv6Addresses")
_OUTSIDE = ("RemoteAddress", "remote_address", "network_accesses.remote_address")
_HASHES = ("SHA256String", "SHA256", "SHA256Hashes", "MD5String", "MD5", "SHA1String", "sha256", "md5", "sha1")
_TECHNIQUES = (
    "TechniqueId",
    "TechniqueIds",
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
    "SignalStartTimestamp",
    "StartTimeEpoch",
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
    "event_id": ("DetectId", "CompositeId", "composite_id", "detection_id", "IncidentID", "LeadId", "id"),
    "url": ("FalconHostLink", "falcon_host_link"),
    "sensor": ("SensorId", "AgentIdString", "agent_id", "device.device_id"),
    "tactic": ("Tactic", "tactic"),
    "technique_name": ("Technique", "technique"),
    "proto": ("Protocol",),
}


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One detection. Audit events and closed alerts are ignored; raises `Invalid` for what names no detection."""
    data = record.data or {}
    envelope = mapping(data.get("metadata"))
    event_type = first_text(envelope, "eventType", limit=64)
    if event_type and event_type not in _DETECTIONS and "Detection" not in event_type:
        return Ignored(f"eventType {event_type}")
    event = mapping(data.get("event")) or mapping(data.get("data")) or data
    # The older detections API keeps what happened in a list of behaviours.
    event = {**mapping(event.get("behaviors")), **event}
    if first_text(event, "status", "Status", limit=32).lower() == "closed":
        return Ignored("status closed")
    title = _title(event_type, event)
    entities = Entities()
    metadata = _gather(event, entities)
    return compose(
        title=title,
        severity=_severity(event),
        source="crowdstrike",
        raw=record.text,
        description=lines(
            first(event, "DetectDescription", "Description", "IncidentDescription", "description", "OperationName")
        ),
        category=_category(event_type, event),
        asset_type=_asset_type(event_type, event),
        entities=entities,
        techniques=attack.techniques_in(_techniques(event)),
        occurred_at=first_moment(event, *_TIMES) or first_moment(envelope, "eventCreationTime"),
        metadata=metadata,
    )


def _title(event_type: str, event: dict[str, Any]) -> str:
    """What was detected. Incidents and leads have no name, or one with the time in it; theirs tell them apart."""
    if event_type == "AutomatedLeadSummaryEvent":
        hosts = ", ".join(all_texts(event, _HOSTS) or _lead_hosts(event)) or first_text(event, "LeadId")
        return f"CrowdStrike automated lead on {hosts}"
    incident = first_text(event, "IncidentID", "incident_id")
    if incident and not first_text(event, *_TITLES[:2]):
        return f"CrowdStrike incident {incident.rpartition(':')[2]}"
    title = first_text(event, *_TITLES, limit=MAX_TITLE)
    if not title and event_type == "CustomerIOCEvent":
        return "CrowdStrike custom indicator seen"
    if not title:
        raise Invalid("`event.DetectName` (or `display_name`) is missing: not a CrowdStrike detection")
    return title


def _lead_hosts(event: dict[str, Any]) -> list[str]:
    found = (text(item.get("Hostname"), 255) for item in mappings(event.get("ThreatgraphIndicators")))
    return list(dict.fromkeys(name for name in found if name))


def _severity(event: dict[str, Any]) -> str:
    word = first_text(event, "SeverityName", "severity_name", "max_severity_displayname", limit=32)
    number = first(event, "Severity", "severity", "max_severity")
    if number is None and not word:
        # Leads are scored to 100, incidents to 10.
        score = first(event, "Score")
        fine = first(event, "FineScore", "fine_score")
        return severities.from_crowdstrike(score) if score is not None else severities.from_anything(fine)
    return severities.from_crowdstrike(number, word)


def _gather(event: dict[str, Any], entities: Entities) -> dict[str, Any]:
    entities.host(_listed(event, _HOSTS))
    entities.host(_lead_hosts(event)[:64])
    entities.host(all_texts(event, _OWN))
    entities.ours(all_texts(event, _OWN_UNNAMED))
    entities.address(_listed(event, _ENDPOINTS))
    entities.user(_listed(event, _USERS))
    entities.hash(all_texts(event, _HASHES))
    accesses = [
        access
        for name in ("NetworkAccesses", "network_accesses", "MobileNetworkConnections")
        for access in list(mappings(event.get(name)))[:64]
    ]
    if not _named_indicators(event, entities):
        _traffic(event, accesses, entities)
    metadata: dict[str, Any] = {name: first(event, *paths) for name, paths in _METADATA.items()}
    access = accesses[0] if accesses else {}
    metadata.update(
        src_ip=first_text(event, *_OWN, *_ENDPOINTS) or first_text(access, "LocalAddress"),
        dest_ip=first_text(access, "RemoteAddress", "remote_address") or first_text(event, *_OUTSIDE),
        src_port=integer(access.get("LocalPort")),
        dest_port=integer(access.get("RemotePort")),
        dns_query=first_text(
            event, "DnsRequests.DomainName", "dns_requests.domain_name", "MobileDnsRequests.DomainName"
        ),
    )
    return metadata


def _named_indicators(event: dict[str, Any], entities: Entities) -> bool:
    """The indicators that a detection says it is about, and whether it does."""
    named = [
        (first(item, "IOCValue", "ioc_value"), first_text(item, "IOCType", "ioc_type", limit=32))
        for item in (event, *list(mappings(first(event, "ioc_context", "IOCContext")))[:64])
    ]
    for value, kind in named:
        entities.indicator(value, kind)
    return any("hash" not in kind.lower() for value, kind in named if value)


def _traffic(event: dict[str, Any], accesses: list[dict[str, Any]], entities: Entities) -> None:
    """Where the process went. When the detection names its indicator the rest is what any process does: the
    resolvers, names and services of a whole `svchost`, and different ones at each detection.
    """
    entities.address(all_texts(event, _OUTSIDE))
    for access in accesses:
        entities.address(first_text(access, "RemoteAddress", "remote_address", limit=64))
        entities.url(first_text(access, "Url", "url", limit=4_096))
    for name in ("DnsRequests", "dns_requests", "MobileDnsRequests"):
        for query in list(mappings(event.get(name)))[:64]:
            entities.domain(first_text(query, "DomainName", "domain_name", limit=255))
    entities.domain(_listed(event, ("DomainNames",)))


def _listed(event: dict[str, Any], paths: tuple[str, ...]) -> list[str]:
    """Every text under `paths`; cross-product detections write lists as text between commas."""
    return [part.strip() for item in all_texts(event, paths) for part in item.split(",")[:64]]


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


def _asset_type(event_type: str, event: dict[str, Any]) -> str | None:
    if event_type.startswith("Mobile"):
        return "mobile"
    product = first_text(event, "device.product_type_desc", "HostType", limit=32).lower()
    return {"server": "server", "domain controller": "server", "workstation": "workstation"}.get(product)
