"""The case as a STIX 2.1 bundle (OASIS, 2021) for other products: its indicators, techniques and the incident, tied together by a report.

Ids follow from ours, so that a bundle taken again updates what a receiver has. Own addresses and what was found harmless stay at home.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID, uuid5

import stix2
from django.utils import timezone

from agents.reports.paper import Paper
from aurora.addresses import address_or_none
from cases.attack import Technique
from cases.models import Ioc
from cases.observables import is_internal_ip
from cases.states import IocType, Tlp

# Ours, drawn once at random: ids of what STIX knows and we keep no row of.
_NAMESPACE = UUID("4a1d0e36-0c5b-4f0e-9a53-3d1f7a8d2c61")
_MARKINGS = {
    Tlp.RED: stix2.TLP_RED,
    Tlp.AMBER_STRICT: stix2.TLP_AMBER,
    Tlp.AMBER: stix2.TLP_AMBER,
    Tlp.GREEN: stix2.TLP_GREEN,
    Tlp.CLEAR: stix2.TLP_WHITE,
}
"""STIX 2.1 has TLP 1.0 built in; that amber is meant strictly is said in words beside it."""
_STRICT = stix2.MarkingDefinition(
    id=f"marking-definition--{uuid5(_NAMESPACE, 'amber+strict')}",
    created="2026-01-01T00:00:00Z",
    definition_type="statement",
    definition=stix2.StatementMarking("TLP:AMBER+STRICT: for the recipient's organisation only"),
)
_PATTERNS = {
    IocType.DOMAIN: "domain-name:value",
    IocType.URL: "url:value",
    IocType.HASH_MD5: "file:hashes.MD5",
    IocType.HASH_SHA1: "file:hashes.'SHA-1'",
    IocType.HASH_SHA256: "file:hashes.'SHA-256'",
    IocType.EMAIL: "email-addr:value",
    IocType.REGISTRY_KEY: "windows-registry-key:key",
    IocType.MUTEX: "mutex:name",
    IocType.USER_AGENT: "network-traffic:extensions.'http-request-ext'.request_header.'User-Agent'",
}


def write(paper: Paper) -> bytes:
    bundle = stix2.Bundle(*_objects(paper), allow_custom=True, id=f"bundle--{_own('bundle', paper.case.id)}")
    return str(bundle.serialize(pretty=True)).encode()


def pattern_of(ioc: Ioc) -> str:
    """The indicator as a STIX pattern; a CVE has none, it is a vulnerability and no observation."""
    if ioc.type == IocType.IP:
        address = address_or_none(ioc.value)
        return _comparison(f"ipv{address.version if address else 4}-addr:value", ioc.value)
    if ioc.type == IocType.FILE_PATH:
        return _path_pattern(ioc.value)
    return _comparison(_PATTERNS[IocType(ioc.type)], ioc.value)


def _objects(paper: Paper) -> Iterator[Any]:
    case = paper.case
    author = stix2.Identity(
        id=f"identity--{uuid5(_NAMESPACE, 'aurorasoc')}",
        created="2026-01-01T00:00:00Z",
        modified="2026-01-01T00:00:00Z",
        name="AuroraSOC",
        identity_class="system",
    )
    common = {"created": case.created_at, "modified": case.updated_at, "created_by_ref": author.id}
    incident = stix2.Incident(
        id=f"incident--{_own('incident', case.id)}",
        name=str(case),
        description=paper.output.summary,
        confidence=round(case.confidence * 100),
        labels=[f"severity:{case.severity}", f"status:{case.status}"],
        **common,
    )
    shared = [ioc for ioc in paper.iocs if not (ioc.type == IocType.IP and is_internal_ip(ioc.value))]
    told = [_indicator(ioc, author.id) for ioc in shared]
    techniques = [_attack_pattern(one, common) for one in paper.techniques]
    ties = [_tie(one, incident.id, common) for one in (*told, *techniques)]
    body = [incident, *told, *techniques, *ties]
    strictest = min((SEVERITY_OF_TLP[ioc.tlp] for ioc in shared), default=SEVERITY_OF_TLP[Tlp.AMBER])
    report = stix2.Report(
        id=f"report--{_own('report', case.id)}",
        name=f"Report on {case}",
        description=paper.markdown,
        published=timezone.now(),
        report_types=["incident"],
        object_refs=[one.id for one in body],
        object_marking_refs=_markings(list(SEVERITY_OF_TLP)[strictest]),
        **common,
    )
    yield author
    if any(ioc.tlp == Tlp.AMBER_STRICT for ioc in shared):
        yield _STRICT
    yield from body
    yield report


SEVERITY_OF_TLP = {colour: rank for rank, colour in enumerate(Tlp.values)}
"""0 for the colour that may be passed on least."""


def _indicator(ioc: Ioc, author: str) -> Any:
    common = {
        "created": ioc.created_at,
        "modified": max(ioc.created_at, ioc.updated_at),
        "created_by_ref": author,
        "confidence": round(ioc.confidence * 100),
        "object_marking_refs": _markings(ioc.tlp),
    }
    if ioc.type == IocType.CVE:
        reference = {"source_name": "cve", "external_id": ioc.value}
        return stix2.Vulnerability(
            id=f"vulnerability--{ioc.id}", name=ioc.value, external_references=[reference], **common
        )
    return stix2.Indicator(
        id=f"indicator--{ioc.id}",
        name=f"{ioc.type} {ioc.value}"[:500],
        description=ioc.description or f"Seen {ioc.sightings} times",
        pattern=pattern_of(ioc),
        pattern_type="stix",
        valid_from=ioc.first_seen,
        **_end(ioc.first_seen, ioc.expires_at),
        **common,
    )


def _end(first: datetime, expires: datetime | None) -> dict[str, datetime]:
    return {"valid_until": expires} if expires and expires > first else {}


def _attack_pattern(technique: Technique, common: dict[str, Any]) -> Any:
    path = technique.id.replace(".", "/")
    reference = {
        "source_name": "mitre-attack",
        "external_id": technique.id,
        "url": f"https://attack.mitre.org/techniques/{path}",
    }
    return stix2.AttackPattern(
        id=f"attack-pattern--{uuid5(_NAMESPACE, technique.id)}",
        name=technique.name,
        external_references=[reference],
        kill_chain_phases=[{"kill_chain_name": "mitre-attack", "phase_name": tactic} for tactic in technique.tactics],
        **common,
    )


def _tie(one: Any, incident: str, common: dict[str, Any]) -> Any:
    identity = uuid5(_NAMESPACE, f"{one.id} {incident}")
    return stix2.Relationship(
        id=f"relationship--{identity}", relationship_type="related-to", source_ref=one.id, target_ref=incident, **common
    )


def _markings(tlp: str) -> list[Any]:
    strict = [_STRICT.id] if tlp == Tlp.AMBER_STRICT else []
    return [_MARKINGS[Tlp(tlp)].id, *strict]


def _path_pattern(path: str) -> str:
    pure = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
    name = _comparison("file:name", pure.name or path)
    if str(pure.parent) in ("", "."):
        return name
    return f"{name[:-1]} AND file:parent_directory_ref.path = {_quoted(str(pure.parent))}]"


def _comparison(path: str, value: str) -> str:
    return f"[{path} = {_quoted(value)}]"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _own(kind: str, key: UUID) -> UUID:
    return uuid5(_NAMESPACE, f"{kind} {key}")
