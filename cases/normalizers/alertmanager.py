"""Alerts of Prometheus Alertmanager: its webhook, its API, and what speaks like it (Grafana, Prometheus,
Loki, Mimir).

Source of the format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import re
from typing import Any

from aurora.errors import Invalid
from cases import attack
from cases.normalizers import severities
from cases.normalizers.alert import Ignored, NormalizedAlert, RawRecord, compose
from cases.normalizers.entities import Entities
from cases.normalizers.fields import first_text, integer, mapping, moment, text

_SEVERITIES = ("severity", "level", "priority")
_HOSTS = (
    "instance",
    "host",
    "hostname",
    "node",
    "nodename",
    "server",
    "device",
    "target",
    "pod",
    "kubernetes_node",
)
_USERS = ("user", "username", "account")
_ADDRESSES = ("src_ip", "source_ip", "srcip", "client_ip", "remote_ip", "dest_ip", "dst_ip", "ip")
_SUMMARIES = ("summary", "title", "message", "description")
_CATEGORIES = {
    "network": "network",
    "endpoint": "endpoint",
    "host": "endpoint",
    "identity": "identity",
    "auth": "identity",
    "cloud": "cloud",
    "cps": "cps",
    "ot": "cps",
    "email": "email",
    "web": "web",
}
# A summary with a reading in it ("CPU at 93.2 %", "5m ago") reads differently at each repetition of the same
# alert, and the title is hashed into `dedup_hash`.
_READING = re.compile(
    r"(?<![\w.])\d+\.\d+(?![\w.])|\d+e[+-]\d+"
    r"|(?<![\w.])\d+(?:\.\d+)?\s?(?:%|percent\b|[kKMGT]i?[bB]?(?:/s|ps)?\b|ms\b|[smhd]\b)"
)


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One alert of a group. Resolved ones are ignored; raises `Invalid` without labels or a name."""
    data = record.data or {}
    status = _status(data)
    if status in ("resolved", "inactive", "normal"):
        return Ignored(f"status {status}")
    labels, annotations = mapping(data.get("labels")), mapping(data.get("annotations"))
    if not labels:
        raise Invalid("`labels` is missing: not an Alertmanager alert")
    name = first_text(labels, "alertname", "rulename", "alert")
    if not name:
        raise Invalid("`labels.alertname` is missing")
    entities = Entities()
    _gather(labels, annotations, entities)
    return compose(
        title=_title(name, labels, annotations),
        severity=severities.from_alertmanager(first_text(labels, *_SEVERITIES)),
        source="alertmanager",
        raw=record.text,
        description=_description(annotations),
        category=_category(labels),
        entities=entities,
        techniques=_techniques({**annotations, **labels}),
        occurred_at=moment(data.get("startsAt")) or moment(data.get("activeAt")),
        metadata=_metadata(data, labels, annotations, name),
    )


def _status(data: dict[str, Any]) -> str:
    """The webhook writes a word, the API an object with a state, Prometheus its own `state`."""
    status = data.get("status")
    return text(status if type(status) is str else mapping(status).get("state") or data.get("state"), 32).lower()


def _title(name: str, labels: dict[str, Any], annotations: dict[str, Any]) -> str:
    summary = first_text(annotations, *_SUMMARIES[:3])
    if summary and not _READING.search(summary):
        return summary if name.lower() in summary.lower() else f"{name}: {summary}"
    host = _host(first_text(labels, *_HOSTS))
    return f"{name}: {host}" if host else name


def _gather(labels: dict[str, Any], annotations: dict[str, Any], entities: Entities) -> None:
    for key in _HOSTS:
        entities.host(_host(text(labels.get(key))))
    for key in _USERS:
        entities.user(labels.get(key))
    for key in _ADDRESSES:
        entities.address(text(labels.get(key), 64))
    entities.domain([text(labels.get(key), 255) for key in ("domain", "dns_query") if labels.get(key)])
    entities.hash([labels.get(key) for key in ("sha256", "sha1", "md5")])
    for key in _SUMMARIES:
        entities.prose(annotations.get(key))


def _host(instance: str) -> str:
    """The host of `host:port` and of a probed URL; a port is no part of a host's name."""
    instance = instance.partition("://")[2].partition("/")[0] if "://" in instance else instance
    if instance.startswith("["):
        return instance[1:].partition("]")[0]
    name, colon, port = instance.rpartition(":")
    return name if colon and port.isdigit() and ":" not in name else instance


def _description(annotations: dict[str, Any]) -> str:
    written = [first_text(annotations, key, limit=5_000) for key in (*_SUMMARIES, "runbook_url")]
    return "\n".join(dict.fromkeys(part for part in written if part))


def _category(labels: dict[str, Any]) -> str:
    return _CATEGORIES.get(first_text(labels, "category", "domain_category", "type", limit=32).lower(), "other")


def _techniques(fields: dict[str, Any]) -> list[str]:
    written = [text(value) for key, value in fields.items() if any(word in key for word in ("mitre", "technique"))]
    return attack.techniques_in(written) if written else []


def _metadata(data: dict[str, Any], labels: dict[str, Any], annotations: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "rule_id": name,
        "rule_groups": [text(labels.get(key)) for key in ("team", "job", "service", "namespace") if labels.get(key)],
        "src_ip": first_text(labels, "src_ip", "source_ip", "srcip", "client_ip", "remote_ip"),
        "dest_ip": first_text(labels, "dest_ip", "dst_ip"),
        "src_port": integer(labels.get("src_port")),
        "dest_port": integer(labels.get("dest_port")),
        "instance": labels.get("instance"),
        "job": labels.get("job"),
        "fingerprint": data.get("fingerprint"),
        "url": data.get("generatorURL"),
        "runbook_url": annotations.get("runbook_url"),
        "value": data.get("valueString") or text(data.get("value")),
    }
