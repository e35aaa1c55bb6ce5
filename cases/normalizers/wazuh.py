"""Wazuh's alerts: version 4 (`rule.level` 0–15) and version 5's findings (words, the Wazuh Common Schema).

Sources of the format: https://documentation.wazuh.com/current/user-manual/manager/alert-management.html and,
for version 5, https://documentation.wazuh.com/5.0-rc/user-manual/reference/wazuh-common-schema/
"""

from __future__ import annotations

import re
from typing import Any

from aurora.errors import Invalid
from cases import attack
from cases.normalizers import ecs, severities
from cases.normalizers.alert import Ignored, NormalizedAlert, RawRecord, compose
from cases.normalizers.entities import Entities, is_internal, without_port
from cases.normalizers.fields import (
    MAX_TITLE,
    all_texts,
    first,
    first_moment,
    first_text,
    integer,
    lines,
    mapping,
    sequence,
    text,
    texts,
)

_MANAGER_ID = "000"
_MOST_INTEGRATIONS = 16
_BACKSLASHES = re.compile(r"\\+")
_SOURCES = (
    "srcip",
    "src_ip",
    "win.eventdata.ipAddress",
    "win.eventdata.sourceIp",
    "aws.sourceIPAddress",
    "aws.source_ip_address",
    "gcp.jsonPayload.sourceIP",
    "gcp.protoPayload.requestMetadata.callerIp",
    "github.actor_ip",
    "ms-graph.ipAddress",
    "remote_ip",
)
# GuardDuty keeps the other end where its kind of action puts it.
_GUARDDUTY = tuple(
    f"aws.service.action.{action}.remoteIpDetails.ipAddressV4"
    for action in (
        "networkConnectionAction",
        "awsApiCallAction",
        "portProbeAction.portProbeDetails",
        "rdsLoginAttemptAction",
        "kubernetesApiCallAction",
    )
)
# Office 365 and Azure write a port beside the address, IPv6 in brackets.
_WITH_PORT = ("office365.ClientIP", "office365.ClientIPAddress", "office365.ActorIpAddress", "azure.callerIpAddress")
_RESOURCES = (
    "aws.resource.instanceDetails.instanceId",
    "aws.resource.instanceDetails.networkInterfaces.privateIpAddress",
    "gcp.jsonPayload.vmInstanceName",
)
# Modules by which one agent, mostly the manager's own, collects for machines and accounts elsewhere.
_COLLECTORS = ("aws", "azure", "gcp", "github", "office365", "ms-graph")
_DESTINATIONS = ("dstip", "dest_ip", "win.eventdata.destinationIp")
_USERS = (
    "dstuser",
    "srcuser",
    "user",
    "uname",
    "win.eventdata.targetUserName",
    "win.eventdata.subjectUserName",
    "win.eventdata.user",
    "audit.acct",
    "aws.userIdentity.userName",
    "aws.resource.accessKeyDetails.userName",
    "office365.UserId",
    "github.actor",
    "gcp.protoPayload.authenticationInfo.principalEmail",
    "ms-graph.userPrincipalName",
)
_DOMAINS = (
    "win.eventdata.queryName",
    "dns.rrname",
    "gcp.jsonPayload.queryName",
    "aws.service.action.dnsRequestAction.domain",
)
_SERVERS = ("win.eventdata.destinationHostname", "http.hostname", "tls.sni")
_HASHES = (
    "win.eventdata.hashes",
    "sha256",
    "md5",
)
_DATA_METADATA: dict[str, tuple[str, ...]] = {
    "src_ip": _SOURCES,
    "dest_ip": _DESTINATIONS,
    "proto": ("protocol", "proto"),
    "app_proto": ("app_proto",),
    "action": (
        "action",
        "alert.action",
        "win.eventdata.action",
        "aws.eventName",
        "office365.Operation",
        "github.action",
    ),
    "event_id": ("win.system.eventID",),
    "event_channel": ("win.system.channel",),
    "logon_type": ("win.eventdata.logonType",),
    "process_name": (
        "win.eventdata.image",
        "win.eventdata.newProcessName",
        "win.eventdata.processName",
        "audit.exe",
    ),
    "process_command_line": ("win.eventdata.commandLine", "audit.command"),
    "parent_process": ("win.eventdata.parentImage", "win.eventdata.parentProcessName"),
    "registry_key": ("win.eventdata.targetObject",),
    "file_path": ("win.eventdata.targetFilename", "audit.file.name", "virustotal.source.file", "file"),
    "url": ("url",),
    "signature_id": ("alert.signature_id",),
    "flow_id": ("flow_id",),
    "workstation": ("win.eventdata.workstationName",),
    "package": ("vulnerability.package.name",),
    "package_version": ("vulnerability.package.version",),
    "vulnerability_status": ("vulnerability.status",),
    "cvss": ("vulnerability.score.base", "vulnerability.cvss.cvss3.base_score", "vulnerability.cvss.cvss2.base_score"),
    "detail": ("title", "sca.check.title", "ms-graph.title"),
}
_COUNTS: dict[str, tuple[str, ...]] = {
    "src_port": ("srcport", "src_port", "win.eventdata.ipPort", "win.eventdata.sourcePort"),
    "dest_port": ("dstport", "dest_port", "win.eventdata.destinationPort"),
    "bytes_toserver": ("flow.bytes_toserver",),
    "bytes_toclient": ("flow.bytes_toclient",),
}
# The first rule group (substring) that fits decides the category.
_CATEGORIES = (
    ("cloud", ("aws", "amazon", "azure", "gcp", "office365", "github", "ms-graph")),
    ("email", ("postfix", "sendmail", "exchange", "spam", "dovecot")),
    ("web", ("web", "nginx", "apache", "sql_injection", "-waf")),
    (
        "network",
        (
            "ids",
            "suricata",
            "snort",
            "firewall",
            "cisco",
            "fortigate",
            "paloalto",
            "zeek",
            "connection_attempt",
        ),
    ),
    ("identity", ("authentication", "adduser", "account_changed", "ldap", "sshd", "pam", "login_denied")),
    (
        "endpoint",
        ("syscheck", "sysmon", "windows", "rootcheck", "audit", "virus", "malware", "sca", "vulnerability"),
    ),
)


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One alert of Wazuh 4 or finding of Wazuh 5. Raises `Invalid` for an archived event, which no rule
    matched.
    """
    data = record.data or {}
    if "_source" in data:
        data = mapping(data["_source"])
    elif "rule" not in data and type(data.get("alert")) is dict:
        data = data["alert"]
    rule = mapping(first(data, "wazuh.rule"))
    if rule:
        return _finding(data, rule, record.text)
    rule = mapping(data.get("rule"))
    if not rule:
        raise Invalid("`rule` is missing: an archived event is no alert; send alerts.json, not archives.json")
    return _alert(data, rule, record.text)


def _alert(data: dict[str, Any], rule: dict[str, Any], raw: str) -> NormalizedAlert:
    title = _title(rule, "description", "name", "title")
    event = _plain(mapping(data.get("data")))
    entities = Entities()
    if not any(name in event for name in _COLLECTORS):
        _agent(data, entities)
    metadata = _event(event, entities, title)
    # An ECS document may carry Wazuh's rule beside it (early builds of Wazuh 5, Security Onion).
    metadata = {
        **ecs.read(data, entities, title=title),
        **{k: v for k, v in metadata.items() if v is not None},
    }
    _syscheck(mapping(data.get("syscheck")), entities, metadata)
    _free_text(data, event, entities)
    groups = texts(rule.get("groups"), 64)
    metadata.update(_wazuh_metadata(data, rule, groups))
    return compose(
        title=title,
        severity=severities.from_wazuh(rule.get("level")),
        source="wazuh",
        raw=raw,
        description=_description(data, event) or title,
        category=_category(groups, event),
        asset_type=_asset_type(event),
        entities=entities,
        techniques=attack.techniques_in(all_texts(rule, ("mitre.id", "mitre.technique.id", "mitre_techniques"))),
        occurred_at=first_moment(data, "timestamp", "@timestamp"),
        metadata=metadata,
    )


def _finding(data: dict[str, Any], rule: dict[str, Any], raw: str) -> NormalizedAlert:
    """Wazuh 5: an ECS document with the matching rule and the agent under `wazuh`."""
    title = _title(rule, "title", "name", "description")
    agent = mapping(first(data, "wazuh.agent"))
    entities = Entities()
    entities.host(first_text(agent, "host.hostname", "name"))
    metadata = ecs.read(data, entities, title=title)
    original = first(data, "event.original", "message")
    if not _is_json(original):
        entities.prose(original)
    tags = all_texts(rule, ("tags", "groups"))
    mitre = all_texts(
        rule,
        ("mitre.id", "mitre.technique.id", "mitre.subtechnique.id", "mitre.technique", "mitre.subtechnique"),
    )
    metadata.update(
        rule_id=first_text(rule, "id", "sigma_id"),
        rule_level=text(rule.get("level"), 32),
        rule_groups=tags,
        agent_id=first_text(agent, "id"),
        location=first_text(data, "wazuh.protocol.location", "log.file.path"),
        wazuh_id=first_text(data, "wazuh.event.id", "event.id"),
    )
    return compose(
        title=title,
        severity=severities.from_wazuh(rule.get("level")),
        source="wazuh",
        raw=raw,
        description=first_text(rule, "description") or lines(original) or title,
        category=ecs.category(data),
        entities=entities,
        techniques=attack.techniques_in(mitre or tags),
        occurred_at=first_moment(data, "event.created", "@timestamp", "timestamp"),
        metadata=metadata,
    )


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    """`data` with its Windows fields as Windows has them: Wazuh's decoder doubles every backslash."""
    windows = mapping(event.get("win"))
    fields = windows.get("eventdata")
    if type(fields) is not dict:
        return event
    plain = {name: _undoubled(value) if type(value) is str else value for name, value in fields.items()}
    return {**event, "win": {**windows, "eventdata": plain}}


def _undoubled(value: str) -> str:
    """A run of an odd number of backslashes says that this sender doubles none."""
    return value if any(len(run) % 2 for run in _BACKSLASHES.findall(value)) else value.replace("\\\\", "\\")


def _description(data: dict[str, Any], event: dict[str, Any]) -> str:
    """The event in words: Windows' own message, the log line, or of JSON what its field for it says."""
    message = first(event, "win.system.message")
    if type(message) is str:
        return lines(message.strip('"'))
    full_log = data.get("full_log")
    if full_log and not _is_json(full_log):
        return lines(full_log)
    return lines(
        first(event, "vulnerability.rationale", "aws.description", "ms-graph.description", "sca.check.rationale")
    )


def _title(rule: dict[str, Any], *names: str) -> str:
    title = first_text(rule, *names, limit=MAX_TITLE)
    if title:
        return title
    rule_id = first_text(rule, "id", "sigma_id")
    if not rule_id:
        raise Invalid("`rule.description` is missing")
    return f"Wazuh rule {rule_id}"


def _agent(data: dict[str, Any], entities: Entities) -> None:
    agent = mapping(data.get("agent"))
    entities.host(agent.get("name"))
    entities.host(agent.get("ip"))
    if text(agent.get("id"), 16) == _MANAGER_ID:
        # The manager also reports for devices that only send it syslog; their name stands in the syslog
        # header.
        entities.host(first(data, "predecoder.hostname"))


def _event(event: dict[str, Any], entities: Entities, title: str) -> dict[str, Any]:
    """The decoded fields: syslog decoders' own (`srcip`), Windows' event channel, Sysmon, Suricata, auditd,
    cloud.
    """
    entities.address(all_texts(event, (*_SOURCES, *_GUARDDUTY)))
    entities.address([without_port(item) for item in all_texts(event, _WITH_PORT)])
    entities.address(all_texts(event, _DESTINATIONS))
    entities.host(all_texts(event, _RESOURCES))
    entities.ours(all_texts(event, ("aws.resource.instanceDetails.networkInterfaces.publicIp",)))
    entities.cve(first_text(event, "vulnerability.cve"))
    _looked_up(event, entities)
    entities.user(all_texts(event, _USERS))
    entities.domain(all_texts(event, _DOMAINS))
    if not any(map(is_internal, all_texts(event, _DESTINATIONS))):
        entities.domain(all_texts(event, _SERVERS))
    entities.hash(all_texts(event, _HASHES))
    url = first_text(event, "url", limit=4_096)
    if "://" in url:
        entities.url(url)
    entities.user_agent(first(event, "http.http_user_agent", "user_agent"), title=title)
    metadata: dict[str, Any] = {name: first(event, *paths) for name, paths in _DATA_METADATA.items()}
    metadata.update({name: integer(first(event, *paths)) for name, paths in _COUNTS.items()})
    return metadata


def _looked_up(event: dict[str, Any], entities: Entities) -> None:
    """What an integration (AbuseIPDB, VirusTotal, MISP, …) was asked about: `data.NAME.source`."""
    for answer in list(event.values())[:_MOST_INTEGRATIONS]:
        source = mapping(mapping(answer).get("source"))
        entities.address(first_text(source, "ip", "srcip", limit=64))
        entities.hash(all_texts(source, ("sha256", "sha1", "md5")))
        entities.domain(first_text(source, "domain", limit=255))


def _syscheck(syscheck: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    """File integrity: the file as it is now; hashes of before the change point at what was there
    legitimately.
    """
    if not syscheck:
        return
    for kind in ("sha256_after", "sha1_after", "md5_after"):
        entities.hash(syscheck.get(kind))
    entities.user(first(syscheck, "audit.user.name", "audit.login_user.name"))
    metadata["file_path"] = syscheck.get("path")
    metadata["action"] = syscheck.get("event")
    metadata["process_name"] = first(syscheck, "audit.process.name") or metadata.get("process_name")


def _free_text(data: dict[str, Any], event: dict[str, Any], entities: Entities) -> None:
    """The log line itself, unless it is JSON or XML whose fields the decoder has already taken apart."""
    full_log = data.get("full_log")
    if type(full_log) is not str or "syscheck" in data:
        return
    if event and _is_json(full_log):
        return
    entities.prose(full_log)


def _is_json(value: Any) -> bool:
    return type(value) is str and value.lstrip()[:1] in ("{", "[")


def _wazuh_metadata(data: dict[str, Any], rule: dict[str, Any], groups: list[str]) -> dict[str, Any]:
    return {
        "rule_id": text(rule.get("id"), 64),
        "rule_level": integer(rule.get("level")) if integer(rule.get("level")) is not None else rule.get("level"),
        "rule_groups": groups,
        "rule_firedtimes": integer(rule.get("firedtimes")),
        "agent_id": first_text(data, "agent.id"),
        "sensor": first_text(data, "manager.name"),
        "decoder": first_text(data, "decoder.name"),
        "location": first_text(data, "location"),
        "wazuh_id": text(data.get("id"), 64),
        "mitre_tactics": sequence(first(rule, "mitre.tactic")),
    }


def _category(groups: list[str], event: dict[str, Any]) -> str:
    for category, words in _CATEGORIES:
        for group in groups:
            if any(word in group.lower() for word in words):
                return category
    return "endpoint" if "win" in event else "other"


def _asset_type(event: dict[str, Any]) -> str | None:
    return "cloud_resource" if any(name in event for name in ("aws", "gcp", "azure")) else None
