"""Reads the Elastic Common Schema, which Elastic, Wazuh 5 and many generic senders share.

Source of the field names: https://www.elastic.co/guide/en/ecs/current/ecs-field-reference.html
"""

from __future__ import annotations

from typing import Any

from cases.normalizers.entities import Entities, is_internal
from cases.normalizers.fields import all_texts, first, first_text, integer

_HOSTS = ("host.name", "host.hostname")
_USERS = ("user.name", "source.user.name", "destination.user.name", "user.target.name")
_ADDRESSES = ("source.ip", "destination.ip", "client.ip", "server.ip")
_SERVER_ADDRESSES = ("destination.ip", "server.ip")
_SERVER_NAMES = ("url.domain", "destination.domain", "tls.client.server_name")
_FILES = ("file", "process", "dll")
_METADATA = {
    "src_ip": "source.ip",
    "dest_ip": "destination.ip",
    "proto": "network.transport",
    "app_proto": "network.protocol",
    "direction": "network.direction",
    "community_id": "network.community_id",
    "action": "event.action",
    "outcome": "event.outcome",
    "process_name": "process.name",
    "process_path": "process.executable",
    "process_command_line": "process.command_line",
    "parent_process": "process.parent.name",
    "parent_process_path": "process.parent.executable",
    "file_path": "file.path",
    "file_name": "file.name",
    "dns_query": "dns.question.name",
    "registry_key": "registry.path",
    "http_method": "http.request.method",
    "sensor": "observer.name",
    "event_id": "event.code",
}
_COUNTS = {
    "src_port": "source.port",
    "dest_port": "destination.port",
    "bytes_toserver": "source.bytes",
    "bytes_toclient": "destination.bytes",
}
_CLOUD_CATEGORIES = ("cloud", "aws", "azure", "gcp")


def read(data: dict[str, Any], entities: Entities, *, title: str) -> dict[str, Any]:
    """Gather the entities of an ECS document; return its metadata under AuroraSOC's names."""
    entities.host(all_texts(data, _HOSTS))
    entities.ours(all_texts(data, ("host.ip", "observer.ip")))
    entities.address(all_texts(data, _ADDRESSES))
    entities.user(all_texts(data, _USERS))
    entities.domain(first_text(data, "dns.question.name", limit=255))
    url = first_text(data, "url.full", "url.original", limit=4_096)
    if not any(map(is_internal, all_texts(data, _SERVER_ADDRESSES))):
        entities.domain(all_texts(data, _SERVER_NAMES))
        entities.url(url)
    entities.hash(all_texts(data, (f"{file}.hash.{kind}" for file in _FILES for kind in ("sha256", "sha1", "md5"))))
    entities.email(all_texts(data, ("email.from.address", "email.sender.address")))
    agent = first_text(data, "user_agent.original")
    entities.user_agent(agent, title=title)
    metadata: dict[str, Any] = {name: first(data, path) for name, path in _METADATA.items()}
    metadata.update({name: integer(first(data, path)) for name, path in _COUNTS.items()})
    metadata["url"] = url
    metadata["user_agent"] = agent
    return metadata


def category(data: dict[str, Any]) -> str:
    """AuroraSOC's category of an ECS document, by its event category and by which field sets it has."""
    kinds = {word.lower() for word in all_texts(data, ("event.category",))}
    module = first_text(data, "event.module", "cloud.provider", limit=32).lower()
    if module.startswith(_CLOUD_CATEGORIES):
        return "cloud"
    for found, words in (
        ("email", {"email"}),
        ("endpoint", {"process", "file", "registry", "malware", "driver", "library", "host"}),
        ("identity", {"authentication", "iam", "session"}),
        ("web", {"web"}),
        ("network", {"network", "intrusion_detection"}),
    ):
        if kinds & words:
            return found
    if first(data, "process.name", "process.executable", "file.path"):
        return "endpoint"
    return "network" if first(data, "source.ip", "destination.ip") else "other"
