"""Microsoft Sentinel: rows of the SecurityAlert table, incidents of its API and of its Logic App trigger.

Sources of the formats: https://learn.microsoft.com/azure/sentinel/security-alert-schema and
https://learn.microsoft.com/azure/sentinel/entities-reference
"""

from __future__ import annotations

import re
from collections.abc import Callable
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
    lines,
    mapping,
    mappings,
    parsed,
    text,
)

_TITLES = (
    "AlertName",
    "DisplayName",
    "AlertDisplayName",
    "alertDisplayName",
    "Title",
    "title",
    "displayName",
    "friendlyName",
)
_TIMES = (
    "StartTime",
    "StartTimeUtc",
    "startTimeUtc",
    "firstActivityTimeUtc",
    "FirstActivityTime",
    "TimeGenerated",
    "createdTimeUtc",
    "createdDateTime",
    "timeGenerated",
)
_TECHNIQUES = ("Techniques", "techniques", "SubTechniques", "additionalData.techniques", "mitreTechniques")
_CATEGORIES = (
    ("identity", ("identity", "aad", "azure active directory", "entra", "ipc")),
    ("email", ("office", "defender for office", "email", "oatp")),
    ("endpoint", ("endpoint", "mdatp", "defender advanced threat", "edr")),
    ("cloud", ("cloud app", "mcas", "azure security center", "defender for cloud", "asc")),
    ("cps", ("iot",)),
)
_SNAKE = re.compile(r"_([a-z])")
_LIST_TEXT = re.compile(r"[,;]\s*")


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One alert or incident. Closed ones are ignored; raises `Invalid` for what bears no name."""
    data = record.data or {}
    data = mapping(data.get("object")) or data
    properties = _as_the_api({**data, **mapping(data.get("properties"))})
    title = first_text(properties, *_TITLES, limit=MAX_TITLE)
    if not title:
        raise Invalid("`AlertName` (or an incident's `properties.title`) is missing: not a Sentinel alert")
    status = first_text(properties, "Status", "status", limit=32).lower()
    if status in ("closed", "resolved", "dismissed"):
        return Ignored(f"status {status}")
    entities = Entities()
    metadata = _metadata(data, properties)
    _gather(properties, entities, metadata)
    return compose(
        title=title,
        severity=severities.from_word(first_text(properties, "AlertSeverity", "Severity", "severity", limit=32))
        or severities.DEFAULT,
        source="sentinel",
        raw=record.text,
        description=lines(first(properties, "Description", "description")),
        category=_category(metadata),
        entities=entities,
        techniques=_techniques(properties),
        occurred_at=first_moment(properties, *_TIMES),
        metadata=metadata,
    )


def _as_the_api(properties: dict[str, Any]) -> dict[str, Any]:
    """`properties` with the names of the API beside those that Azure's library for Python gives them
    (`created_time_utc`).
    """
    if "incident_number" not in properties and "additional_data" not in properties:
        return properties
    named = {_SNAKE.sub(_capital, name): value for name, value in properties.items()}
    more = mapping(properties.get("additional_data"))
    return {**named, **properties, "additionalData": {_SNAKE.sub(_capital, name): more[name] for name in more}}


def _capital(found: re.Match[str]) -> str:
    return found[1].upper()


def _metadata(data: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "rule_id": first_text(properties, "AlertType", "alertType"),
        "rule_groups": all_texts(properties, ("Tactics", "tactics", "additionalData.tactics")),
        "product": first_text(
            properties,
            "ProductName",
            "productName",
            "VendorName",
            "ProviderName",
            "additionalData.alertProductNames",
        ),
        "alert_id": first_text(properties, "SystemAlertId", "systemAlertId", "name", "id") or text(data.get("name")),
        "incident_number": first(properties, "incidentNumber", "IncidentNumber"),
        "url": first_text(properties, "AlertLink", "incidentUrl", "alertLink", "IncidentUrl"),
        "confidence": first_text(properties, "ConfidenceLevel", "confidenceLevel"),
    }


def _gather(properties: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    entities.host(first_text(properties, "CompromisedEntity", "compromisedEntity"))
    for key in ("Entities", "entities", "relatedEntities", "extendedProperties.Entities"):
        for entity in mappings(parsed(first(properties, key))):
            inner = {**entity, **mapping(entity.get("properties"))}
            kind = first_text(entity, "Type", "kind", "type", limit=64).lower()
            reader = _ENTITIES.get(kind.rpartition("/")[2])
            if reader:
                reader(inner, entities, metadata)


def _account(entity: dict[str, Any], entities: Entities, _: dict[str, Any]) -> None:
    name = first_text(entity, "Name", "accountName", "name", "DisplayName", "friendlyName", limit=255)
    suffix = first_text(entity, "UPNSuffix", "upnSuffix", limit=255)
    entities.user(f"{name}@{suffix}" if name and suffix and "@" not in name else name)


def _host(entity: dict[str, Any], entities: Entities, _: dict[str, Any]) -> None:
    entities.host(first_text(entity, "HostName", "hostName", "NetBiosName", "netBiosName", "friendlyName"))


def _ip(entity: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    address = first_text(entity, "Address", "address", limit=64)
    entities.address(address)
    metadata.setdefault("src_ip", address)


def _process(entity: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    command = first_text(entity, "CommandLine", "commandLine", limit=2_000)
    metadata.setdefault("process_command_line", command)
    metadata.setdefault("process_name", first_text(entity, "ImageFile.Name", "imageFile.name"))
    for digest in mappings(first(entity, "ImageFile.FileHashes")):
        entities.hash(digest.get("Value"))


def _file(entity: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    metadata.setdefault("file_name", first_text(entity, "Name", "fileName"))
    metadata.setdefault("file_path", first_text(entity, "Directory", "directory"))
    for digest in mappings(first(entity, "FileHashes", "fileHashes")):
        entities.hash(digest.get("Value"))


def _file_hash(entity: dict[str, Any], entities: Entities, _: dict[str, Any]) -> None:
    entities.hash(first_text(entity, "Value", "hashValue"))


def _url(entity: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    url = first_text(entity, "Url", "url", limit=4_096)
    entities.url(url)
    metadata["url"] = metadata.get("url") or url


def _dns(entity: dict[str, Any], entities: Entities, _: dict[str, Any]) -> None:
    entities.domain(first_text(entity, "DomainName", "domainName"))


def _mail(entity: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    entities.user(first_text(entity, "Recipient", "recipient", "MailboxPrimaryAddress", "mailboxPrimaryAddress"))
    entities.email(first_text(entity, "P1Sender", "p1Sender", "Sender", "sender"))
    entities.address(first_text(entity, "SenderIP", "senderIP"))
    entities.url([item for item in all_texts(entity, ("Urls", "urls")) if "://" in item])
    metadata.setdefault("email_subject", first_text(entity, "Subject", "subject"))


_ENTITIES: dict[str, Callable[[dict[str, Any], Entities, dict[str, Any]], None]] = {
    "account": _account,
    "host": _host,
    "ip": _ip,
    "process": _process,
    "file": _file,
    "filehash": _file_hash,
    "url": _url,
    "dns": _dns,
    "dnsresolution": _dns,
    "mailmessage": _mail,
    "mailbox": _mail,
}


def _techniques(properties: dict[str, Any]) -> list[str]:
    """A list, JSON text of a list, or ids between commas."""
    written: list[str] = []
    for path in _TECHNIQUES:
        value = parsed(first(properties, path)) or first(properties, path)
        items = _LIST_TEXT.split(text(value)) if type(value) is str else all_texts({"_": value}, ("_",))
        written += [item.strip() for item in items]
    return attack.techniques_in([item for item in written if item])


def _category(metadata: dict[str, Any]) -> str:
    product = text(metadata.get("product")).lower()
    return next((name for name, words in _CATEGORIES if any(word in product for word in words)), "other")
