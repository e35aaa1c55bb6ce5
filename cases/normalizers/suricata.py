"""Suricata's EVE records of type `alert`, as Suricata 5 to 8 write them.

Source of the format: https://docs.suricata.io/en/suricata-7.0.16/output/eve/eve-json-format.html
"""

from __future__ import annotations

from typing import Any

from aurora.errors import Invalid
from cases import attack
from cases.normalizers import severities
from cases.normalizers.alert import Ignored, NormalizedAlert, RawRecord, compose
from cases.normalizers.entities import Entities, is_internal, without_port
from cases.normalizers.fields import (
    MAX_TITLE,
    first,
    integer,
    mapping,
    mappings,
    moment,
    parsed,
    sequence,
    text,
    texts,
)

# Rule writers name the kind of machine that a rule protects: metadata keyword `attack_target`.
_ASSET_TYPES = {
    "client_endpoint": "workstation",
    "client": "workstation",
    "mobile_client": "mobile",
    "server": "server",
    "web_server": "server",
    "smtp_server": "server",
    "sql_server": "server",
    "dns_server": "server",
    "http_server": "server",
    "networking_equipment": "network_device",
    "router": "network_device",
    "iot": "iot_sensor",
    "ics": "cps_controller",
    "scada": "cps_controller",
}
_CPS_PROTOCOLS = {"modbus", "dnp3", "enip", "s7comm", "bacnet", "iec104"}
_EMAIL_PROTOCOLS = {"smtp", "imap", "pop3"}
_RESOLVER_PORTS = {53, 853, 5353}
_HTTP_PORT = 80


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One EVE record. Types other than `alert` are ignored; raises `Invalid` for what is no EVE record."""
    data = record.data or {}
    if "event_type" not in data:
        # Filebeat, Logstash and search results carry the record inside their own.
        data = _unwrapped(data)
    event_type = text(data.get("event_type"), 64)
    if not event_type:
        raise Invalid("`event_type` is missing: not a Suricata EVE record")
    if event_type != "alert":
        return Ignored(f"event_type {event_type}")
    alert = data.get("alert")
    if type(alert) is not dict:
        raise Invalid("`alert` is missing: an EVE record of type alert needs an alert object")
    return _alert(data, alert, record.text)


def _alert(data: dict[str, Any], alert: dict[str, Any], raw: str) -> NormalizedAlert:
    title = _title(alert)
    rule = {key.lower(): value for key, value in mapping(alert.get("metadata")).items()}
    is_critical = any(word.lower() == "critical" for word in texts(rule.get("signature_severity"), 32))
    entities = Entities()
    metadata = _flow_metadata(data, alert)
    _parties(data, alert, entities)
    entities.cve(_vulnerabilities(rule))
    _application(data, entities, metadata, title)
    return compose(
        title=title,
        severity=severities.from_suricata(alert.get("severity"), is_critical=is_critical),
        source="suricata",
        raw=raw,
        description=_description(data, alert, metadata),
        category=_category(data, title),
        asset_type=_asset_type(rule),
        entities=entities,
        techniques=_techniques(rule),
        occurred_at=moment(data.get("timestamp")),
        metadata=metadata,
    )


def _unwrapped(data: dict[str, Any]) -> dict[str, Any]:
    data = mapping(data.get("_source")) or data
    original = first(data, "event.original", "message")
    for inner in (mapping(data.get("suricata")).get("eve"), data.get("eve"), parsed(original)):
        found = mapping(inner)
        if "event_type" in found:
            return found
    return data


def _title(alert: dict[str, Any]) -> str:
    title = text(alert.get("signature"), MAX_TITLE)
    if title:
        return title
    # A rule without `msg` has an empty signature; its number still names it.
    number = integer(alert.get("signature_id"))
    if number is None:
        raise Invalid("`alert.signature` is missing")
    return f"Suricata rule {integer(alert.get('gid')) or 1}:{number}"


def _techniques(rule: dict[str, Any]) -> list[str]:
    """Rule sets write `mitre_technique_id`, some `mitre_attack`; tactics (`mitre_tactic_id`) are no
    techniques.
    """
    written = [
        value
        for key, values in rule.items()
        if ("mitre" in key or "technique" in key) and "tactic" not in key
        for value in texts(values, 64)
    ]
    return attack.techniques_in([value.replace("_", ".") for value in written]) if written else []


def _asset_type(rule: dict[str, Any]) -> str | None:
    for target in texts(rule.get("attack_target"), 64):
        named = target.lower().replace("-", "_")
        if named in _ASSET_TYPES:
            return _ASSET_TYPES[named]
    return None


def _vulnerabilities(rule: dict[str, Any]) -> list[str]:
    """Rule sets write `cve 2021_44228`, `cve CVE_2021_44228`, or it in full."""
    written = [value.upper().replace("_", "-").removeprefix("CVE-") for value in texts(rule.get("cve"), 64)]
    return [f"CVE-{number}" for number in written]


def _category(data: dict[str, Any], title: str) -> str:
    protocol = text(data.get("app_proto"), 32)
    if protocol in _CPS_PROTOCOLS:
        return "cps"
    if protocol in _EMAIL_PROTOCOLS:
        return "email"
    if protocol.startswith("http") and ("WEB_" in title or "SQL Injection" in title or "XSS" in title):
        return "web"
    return "network"


def _flow_metadata(data: dict[str, Any], alert: dict[str, Any]) -> dict[str, Any]:
    flow = mapping(data.get("flow"))
    return {
        "src_ip": data.get("src_ip"),
        "src_port": integer(data.get("src_port")),
        "dest_ip": data.get("dest_ip"),
        "dest_port": integer(data.get("dest_port")),
        "proto": data.get("proto"),
        "app_proto": data.get("app_proto"),
        "direction": data.get("direction"),
        "flow_id": data.get("flow_id"),
        "community_id": data.get("community_id"),
        "bytes_toserver": integer(flow.get("bytes_toserver")),
        "bytes_toclient": integer(flow.get("bytes_toclient")),
        "pkts_toserver": integer(flow.get("pkts_toserver")),
        "pkts_toclient": integer(flow.get("pkts_toclient")),
        "flow_start": flow.get("start"),
        "signature_id": integer(alert.get("signature_id")),
        "signature_rev": integer(alert.get("rev")),
        "rule_id": text(alert.get("signature_id"), 32),
        "rule_category": alert.get("category"),
        "action": alert.get("action"),
        "sensor": data.get("host"),
        "in_iface": data.get("in_iface"),
        "vlan": data.get("vlan"),
        "icmp_type": data.get("icmp_type"),
        "icmp_code": data.get("icmp_code"),
    }


def _server(data: dict[str, Any]) -> tuple[str, int | None]:
    """The address and port that the client called; source and destination are those of the packet that
    matched.
    """
    flow = mapping(data.get("flow"))
    if flow.get("dest_ip"):
        return text(flow.get("dest_ip"), 45), integer(flow.get("dest_port"))
    side = "src" if data.get("direction") == "to_client" else "dest"
    return text(data.get(f"{side}_ip"), 45), integer(data.get(f"{side}_port"))


def _parties(data: dict[str, Any], alert: dict[str, Any], entities: Entities) -> None:
    """Both ends: inside ones are assets, outside ones observables, save the resolver that a DNS query went
    to.
    """
    resolver = ""
    if "dns" in data and any(_queried_names(mapping(data["dns"]))):
        address, port = _server(data)
        resolver = address if port in _RESOLVER_PORTS else ""
    for side in ("src_ip", "dest_ip"):
        if not resolver or data.get(side) != resolver:
            entities.address(data.get(side))
    for side in ("source", "target"):
        # Rules with `target:` say which end is which; both ends are in already unless a tunnel hides them.
        entities.address(mapping(alert.get(side)).get("ip"))
    # The one attacked is ours, also under a public address.
    entities.ours(mapping(alert.get("target")).get("ip"))
    xff = data.get("xff") or mapping(data.get("http")).get("xff")
    if xff:
        entities.address([part.strip() for part in text(xff).split(",")])


def _application(data: dict[str, Any], entities: Entities, metadata: dict[str, Any], title: str) -> None:
    """What the application layer tells: Suricata adds one object for each protocol that it took part."""
    if "http" in data:
        _http(data, mapping(data["http"]), entities, metadata, title)
    if "dns" in data:
        _dns(mapping(data["dns"]), entities, metadata)
    for protocol in ("tls", "quic"):
        if protocol in data:
            _tls(data, mapping(data[protocol]), entities, metadata)
    if "files" in data or "fileinfo" in data:
        _files(data, entities, metadata)
    if "email" in data or "smtp" in data:
        _mail(mapping(data.get("email")), mapping(data.get("smtp")), entities, metadata)
    if "smb" in data or "krb5" in data:
        _logon(mapping(data.get("smb")), mapping(data.get("krb5")), entities, metadata)


def _http(data: dict[str, Any], http: dict[str, Any], entities: Entities, metadata: dict[str, Any], title: str) -> None:
    host, path = text(http.get("hostname"), 255), text(http.get("url"), 4_096)
    agent = http.get("http_user_agent")
    url = _url(data, http, host, path)
    is_proxied = not path.startswith("/")
    if is_proxied or not is_internal(_server(data)[0]):
        entities.url(url)
        entities.domain(without_port(host))
    entities.user_agent(agent, title=title)
    metadata["url"] = url or path
    metadata["http_method"] = http.get("http_method")
    metadata["http_status"] = integer(http.get("status"))
    metadata["http_host"] = host
    metadata["http_referer"] = http.get("http_refer")
    metadata["user_agent"] = agent
    metadata["xff"] = data.get("xff") or http.get("xff")


def _url(data: dict[str, Any], http: dict[str, Any], host: str, path: str) -> str:
    """The URL as the client meant it; `http.url` is a path, to a proxy the whole URL, of CONNECT a host and
    port.
    """
    if "://" in path[:16]:
        return path
    if not path.startswith("/"):
        return ""
    if not host:
        address, port = _server(data)
        host = f"[{address}]" if ":" in address else address
        port = None if port == _HTTP_PORT else port
    else:
        port = None if host != without_port(host) else integer(http.get("http_port"))
    if not host:
        return ""
    return f"http://{host}:{port}{path}" if port and port != _HTTP_PORT else f"http://{host}{path}"


def _queried_names(dns: dict[str, Any]) -> list[str]:
    """Versions 1 and 2 write `rrname`, or in alerts a `query` list; version 3 a `queries` list."""
    names = [text(dns.get("rrname"), 255)]
    for key in ("query", "queries"):
        names += [text(query.get("rrname"), 255) for query in mappings(dns.get(key))]
    return [name for name in names if name]


def _dns(dns: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    # Answers rotate (fast flux, load balancing): the name is what was detected, the answers stay in the
    # record.
    names = _queried_names(dns)
    entities.domain(names)
    if names:
        metadata["dns_query"] = names[0]
    queries = mapping(dns.get("query")) or mapping(dns.get("queries")) or dns
    metadata["dns_type"] = queries.get("rrtype")
    metadata["dns_rcode"] = dns.get("rcode")


def _tls(data: dict[str, Any], tls: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    if not is_internal(_server(data)[0]):
        entities.domain(text(tls.get("sni"), 255))
    metadata["tls_sni"] = tls.get("sni")
    metadata["tls_subject"] = tls.get("subject")
    metadata["tls_issuer"] = tls.get("issuerdn")
    metadata["tls_fingerprint"] = tls.get("fingerprint")
    metadata["tls_version"] = tls.get("version")
    for kind in ("ja3", "ja3s"):
        metadata[kind] = mapping(tls.get(kind)).get("hash") or text(tls.get(kind), 64)
    metadata["ja4"] = text(tls.get("ja4"), 64)


def _files(data: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    for found in (*mappings(data.get("files")), *mappings(data.get("fileinfo"))):
        for kind in ("sha256", "sha1", "md5"):
            entities.hash(found.get(kind))
        metadata.setdefault("file_name", found.get("filename"))
        metadata.setdefault("file_size", integer(found.get("size")))


def _mail(email: dict[str, Any], smtp: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    sender = text(email.get("from") or smtp.get("mail_from"), 500)
    recipients = texts(email.get("to") or smtp.get("rcpt_to"), 500)
    entities.email(sender)
    entities.url([url if "://" in url else f"http://{url}" for url in texts(email.get("url"), 4_096)])
    for part in recipients:
        entities.user(part.strip("<> "))
    metadata["email_from"] = sender
    metadata["email_to"] = recipients
    metadata["email_subject"] = email.get("subject")
    metadata["email_attachments"] = sequence(email.get("attachment"))


def _logon(smb: dict[str, Any], krb5: dict[str, Any], entities: Entities, metadata: dict[str, Any]) -> None:
    ntlm = mapping(smb.get("ntlmssp"))
    entities.user(ntlm.get("user"))
    entities.host(ntlm.get("host"))
    entities.user(krb5.get("cname"))
    metadata["smb_command"] = smb.get("command")
    metadata["smb_share"] = smb.get("share")
    metadata["file_name"] = smb.get("filename") or metadata.get("file_name")
    metadata["krb5_service"] = krb5.get("sname")


def _description(data: dict[str, Any], alert: dict[str, Any], metadata: dict[str, Any]) -> str:
    parts = [text(alert.get("category"), 255) or "Suricata alert"]
    source, destination = text(data.get("src_ip"), 64), text(data.get("dest_ip"), 64)
    if source or destination:
        protocol = text(data.get("app_proto"), 32)
        protocol = text(data.get("proto"), 32) if protocol in ("", "failed") else protocol
        parts.append(f"{protocol} {source or 'unknown'} → {destination or 'unknown'}".strip())
    # Of a download the URL says it all, of a query the name.
    for label, key in (("URL", "url"), ("file", "file_name"), ("query", "dns_query"), ("server", "tls_sni")):
        value = text(metadata.get(key))
        if value:
            parts.append(f"{label} {value}")
            break
    if text(alert.get("action"), 32) == "blocked":
        parts.append("blocked")
    return "; ".join(parts)
