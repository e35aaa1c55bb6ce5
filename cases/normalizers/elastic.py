"""Elastic Security's detection alerts: ECS documents with `kibana.alert.*`, or `signal.*` before Elastic 8.

Source of the format: https://www.elastic.co/guide/en/security/current/alert-schema.html
"""

from __future__ import annotations

from typing import Any

from aurora.errors import Invalid
from cases import attack
from cases.normalizers import ecs, severities
from cases.normalizers.alert import Ignored, NormalizedAlert, RawRecord, compose
from cases.normalizers.entities import Entities
from cases.normalizers.fields import (
    MAX_TITLE,
    first,
    first_moment,
    first_text,
    lines,
    mapping,
    mappings,
    texts,
)

_TITLES = ("kibana.alert.rule.name", "signal.rule.name", "rule.name", "kibana.alert.reason", "message")
_MARKS = (
    "kibana.alert.rule.name",
    "kibana.alert.uuid",
    "kibana.alert.rule.uuid",
    "signal.rule.name",
    "rule.name",
)
_THREATS = ("kibana.alert.rule.threat", "kibana.alert.rule.parameters.threat", "signal.rule.threat", "threat")


def normalize(record: RawRecord) -> NormalizedAlert | Ignored:
    """One detection alert. Recovered and closed ones are ignored; raises `Invalid` for a document that is no
    alert.
    """
    data = record.data or {}
    # A search hit keeps the document in `_source`, or with the fields API in `fields`, every value a list.
    data = {**mapping(data.get("fields")), **mapping(data.get("_source"))} or data
    title = first_text(data, *_TITLES, limit=MAX_TITLE)
    is_alert = first_text(data, "event.kind", limit=32) == "alert" and title
    if not is_alert and not any(first(data, mark) for mark in _MARKS):
        raise Invalid("`kibana.alert.rule.name` is missing: not an Elastic detection alert")
    status = first_text(data, "kibana.alert.status", limit=32)
    workflow = first_text(data, "kibana.alert.workflow_status", "signal.status", limit=32)
    if status == "recovered" or workflow == "closed":
        return Ignored(f"status {workflow if workflow == 'closed' else status}")
    return _alert(data, title or "Elastic detection alert", record)


def _alert(data: dict[str, Any], title: str, record: RawRecord) -> NormalizedAlert:
    entities = Entities()
    metadata = ecs.read(data, entities, title=title)
    metadata.update(
        rule_id=first_text(
            data, "kibana.alert.rule.rule_id", "signal.rule.rule_id", "kibana.alert.rule.uuid", "rule.id"
        ),
        rule_groups=texts(first(data, "kibana.alert.rule.tags", "signal.rule.tags"), 64),
        risk_score=first(data, "kibana.alert.risk_score", "signal.rule.risk_score", "event.risk_score"),
        alert_id=first_text(data, "kibana.alert.uuid") or first_text(record.data, "_id"),
        sensor=first_text(data, "observer.name", "agent.name"),
    )
    return compose(
        title=title,
        severity=severities.from_elastic(
            first_text(data, "kibana.alert.severity", "kibana.alert.rule.severity", "signal.rule.severity", limit=32),
            metadata["risk_score"],
        ),
        source="elastic",
        raw=record.text,
        description=lines(
            first(
                data,
                "kibana.alert.reason",
                "kibana.alert.rule.description",
                "signal.rule.description",
                "message",
            )
        ),
        category=ecs.category(data),
        entities=entities,
        techniques=attack.techniques_in(_techniques(data)),
        occurred_at=first_moment(data, "kibana.alert.original_time", "signal.original_time", "@timestamp"),
        metadata=metadata,
    )


def _techniques(data: dict[str, Any]) -> list[str]:
    """ATT&CK ids of the rule's `threat`, a list of tactics with techniques, and of their subtechniques."""
    found: list[str] = []
    for path in _THREATS:
        for threat in mappings(first(data, path)):
            for technique in mappings(threat.get("technique")):
                found += texts(technique.get("id"), 32)
                for subtechnique in mappings(technique.get("subtechnique")):
                    found += texts(subtechnique.get("id"), 32)
    for path in (
        "threat.technique.id",
        "threat.technique.subtechnique.id",
        "kibana.alert.rule.threat.technique.id",
    ):
        found += texts(first(data, path), 32)
    return list(dict.fromkeys(found))
