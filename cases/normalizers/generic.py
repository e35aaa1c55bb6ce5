"""Alerts of senders that speak no format of their own: whatever JSON they write, read under its usual names.

Severity: a word, or a number of 0–10 or 0–100 (see `severities.from_anything`). Names are matched without
regard to case, `-` or `_`; ECS' nested and dotted names work as well.
"""

from __future__ import annotations

from typing import Any

from aurora.errors import Invalid
from cases import attack
from cases.normalizers import ecs, severities
from cases.normalizers.alert import NormalizedAlert, RawRecord, compose
from cases.normalizers.entities import Entities
from cases.normalizers.fields import (
    MAX_TITLE,
    first,
    first_moment,
    first_text,
    integer,
    lines,
    mapping,
    sequence,
    text,
)

_TITLES = (
    "title",
    "name",
    "alertname",
    "alerttitle",
    "rulename",
    "rule.name",
    "rule.title",
    "rule.description",
    "rule",
    "signature",
    "alert.signature",
    "alert.title",
    "alert.name",
    "subject",
    "summary",
    "message",
    "msg",
    "description",
    "text",
    "event.action",
)
_SEVERITIES = (
    "severity",
    "level",
    "priority",
    "risk",
    "criticality",
    "urgency",
    "alert.severity",
    "rule.severity",
    "rule.level",
    "severityname",
    "log.level",
    "riskscore",
    "event.severity",
    "score",
)
_DESCRIPTIONS = (
    "description",
    "details",
    "detail",
    "message",
    "msg",
    "body",
    "reason",
    "summary",
    "event.reason",
)
_TIMES = (
    "occurredat",
    "timestamp",
    "@timestamp",
    "time",
    "eventtime",
    "datetime",
    "date",
    "createdat",
    "created",
    "starttime",
    "firstseen",
    "detectedat",
    "ts",
    "event.created",
)
_HOSTS = (
    "affectedassets",
    "assets",
    "hosts",
    "host",
    "hostname",
    "computer",
    "computername",
    "device",
    "devicename",
    "machine",
    "endpoint",
    "agent.name",
    "asset",
    "host.name",
)
_USERS = (
    "users",
    "user",
    "username",
    "account",
    "accountname",
    "srcuser",
    "dstuser",
    "targetuser",
    "user.name",
)
_ADDRESSES = (
    "ips",
    "ip",
    "ipaddress",
    "ipaddresses",
    "srcip",
    "sourceip",
    "src",
    "dstip",
    "destip",
    "destinationip",
    "dst",
    "remoteip",
    "clientip",
    "hostip",
    "attackerip",
)
_DOMAINS = ("domain", "domains", "dnsquery", "sni")
_URLS = ("url", "urls", "uri")
_HASHES = ("hash", "hashes", "sha256", "sha1", "md5", "filehash", "filehashes")
_INDICATORS = ("iocs", "indicators", "observables", "artifacts", "ioc", "indicator")
_TECHNIQUES = (
    "mitretechniques",
    "mitretechnique",
    "mitretechniqueid",
    "techniques",
    "technique",
    "techniqueid",
    "attack",
    "mitre",
    "mitreattack",
    "mitre.id",
    "mitre.technique",
    "threat.technique.id",
    "threat.technique.subtechnique.id",
    "rule.mitre.id",
    "tags",
)
_METADATA: dict[str, tuple[str, ...]] = {
    "src_ip": ("srcip", "sourceip", "src", "clientip", "remoteip"),
    "dest_ip": ("destip", "dstip", "destinationip", "dst"),
    "proto": ("proto", "protocol", "transport"),
    "app_proto": ("appproto", "service"),
    "action": ("action", "outcome"),
    "direction": ("direction",),
    "rule_id": ("ruleid", "rule.id", "signatureid", "sid", "alert.signature_id"),
    "event_id": ("eventid", "id", "alertid", "uuid"),
    "process_name": ("processname", "process", "image"),
    "process_command_line": ("commandline", "cmdline"),
    "parent_process": ("parentprocess", "parentprocessname", "parentimage"),
    "file_path": ("filepath", "path"),
    "file_name": ("filename",),
    "url": _URLS,
    "flow_id": ("flowid",),
    "sensor": ("sensor", "sensorname", "observer.name", "product"),
    "user_agent": ("useragent",),
}
_COUNTS: dict[str, tuple[str, ...]] = {
    "src_port": ("srcport", "sourceport", "spt"),
    "dest_port": ("destport", "dstport", "destinationport", "dpt"),
    "bytes_toserver": ("bytestoserver", "bytesout", "bytessent", "origbytes"),
    "bytes_toclient": ("bytestoclient", "bytesin", "bytesreceived", "respbytes"),
}
_CATEGORIES = {"network", "endpoint", "identity", "cloud", "cps", "email", "web", "other"}
_ASSET_TYPES = {
    "server",
    "workstation",
    "iot_sensor",
    "cps_controller",
    "network_device",
    "mobile",
    "cloud_resource",
    "identity",
}
_MAX_SOURCE = 64
_MAX_KEYS = 1_000


def normalize(record: RawRecord) -> NormalizedAlert:
    """One record of a sender without a format. Raises `Invalid` when nothing in it could be a title."""
    data = _folded(record.data or {})
    title = first_text(data, *_TITLES, limit=MAX_TITLE)
    if not title:
        raise Invalid("`title` is missing, and so are `name`, `rule`, `signature`, `message` and `description`")
    entities = Entities()
    metadata = {**ecs.read(data, entities, title=title), **_metadata(data)}
    _gather(data, entities, title)
    description = lines(first(data, *_DESCRIPTIONS))
    entities.prose([description, "" if title in description else title])
    return compose(
        title=title,
        severity=_severity(data),
        source=_source(data),
        raw=record.text,
        description=description,
        category=_category(data),
        asset_type=_asset_type(data),
        entities=entities,
        techniques=_techniques(data),
        occurred_at=first_moment(data, *_TIMES),
        metadata=metadata,
    )


def _folded(data: dict[str, Any]) -> dict[str, Any]:
    """`data` with its top keys in lower case without `_`, `-` and blanks, beside the keys as they were."""
    folded: dict[str, Any] = {}
    for key, value in list(data.items())[:_MAX_KEYS]:
        folded.setdefault(key.lower().replace("_", "").replace("-", "").replace(" ", ""), value)
    return {**folded, **data}


def _severity(data: dict[str, Any]) -> str:
    """The first of the usual names whose value means anything: a word that is no severity is passed over."""
    for path in _SEVERITIES:
        value = first(data, path)
        if severities.is_known(value):
            return severities.from_anything(value)
    return severities.DEFAULT


def _source(data: dict[str, Any]) -> str:
    source = data.get("source")
    return (text(source, _MAX_SOURCE) if type(source) is str else "") or "generic"


def _gather(data: dict[str, Any], entities: Entities, title: str) -> None:
    for paths, take in (
        (_HOSTS, entities.host),
        (_USERS, entities.user),
        (_ADDRESSES, entities.address),
        (_DOMAINS, entities.domain),
        (_URLS, entities.url),
        (_HASHES, entities.hash),
    ):
        for path in paths:
            take(_values(first(data, path)))
    for path in ("email", "sender", "emailfrom"):
        entities.email(_values(first(data, path)))
    entities.user_agent(first(data, "useragent"), title=title)
    for path in _INDICATORS:
        _indicators(data.get(path), entities)


def _values(value: Any) -> list[Any]:
    """The texts in `value`: one, a list of them, objects with a name, or hashes by their kind."""
    if type(value) is dict:
        named = first_text(value, "name", "hostname", "value", "ip", "address", "id")
        return [named] if named else list(value.values())[:16]
    return [
        first_text(item, "name", "hostname", "value", "ip", "address") if type(item) is dict else item
        for item in sequence(value)[:256]
    ]


def _indicators(value: Any, entities: Entities) -> None:
    """Indicators as texts, as `{type, value}`, or as lists by type (`{"ips": […], "domains": […]}`)."""
    if type(value) is dict and "value" not in value:
        for kind, items in list(value.items())[:32]:
            for item in sequence(items)[:256]:
                entities.indicator(item, kind.removesuffix("s"))
        return
    for item in sequence(value)[:256]:
        if type(item) is dict:
            entities.indicator(
                first(item, "value", "indicator", "data", "observable"),
                first_text(item, "type", "dataType", "kind", "ioc_type", limit=32),
            )
        else:
            entities.indicator(item)


def _category(data: dict[str, Any]) -> str:
    named = first_text(data, "category", limit=32).lower()
    return named if named in _CATEGORIES else ecs.category(data)


def _asset_type(data: dict[str, Any]) -> str | None:
    named = first_text(data, "assettype", limit=32).lower().replace(" ", "_")
    return named if named in _ASSET_TYPES else None


def _techniques(data: dict[str, Any]) -> list[str]:
    written: list[str] = []
    for path in _TECHNIQUES:
        for item in sequence(first(data, path))[:64]:
            if type(item) is dict:
                item = first_text(item, "id", "technique_id", "techniqueId", "technique.id", "technique", "external_id")
            written.append(text(item, 200))
    return attack.techniques_in([item for item in written if item])


def _metadata(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: first(data, *paths) for name, paths in _METADATA.items()}
    found.update({name: integer(first(data, *paths)) for name, paths in _COUNTS.items()})
    for name in ("process_name", "parent_process", "url", "sensor"):
        found[name] = first_text(mapping(found[name]), "name", "executable", "full") or text(found[name])
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}
