"""What goes into a normaliser and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cases.normalizers.entities import Entities, spelled
from cases.normalizers.fields import MAX_TITLE, clean, text
from cases.observables import Observable

MAX_DESCRIPTION = 10_000
MAX_LIST = 64

_ADDRESSES = ("src_ip", "dest_ip")


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record of a payload.

    `index` is its place among the payload's records, `text` the record as received (an NDJSON line, or
    re-encoded JSON when it came inside an array or an envelope), `data` the parsed object (None for text
    formats and for broken records), `error` why it could not be read.
    """

    index: int
    text: str
    data: dict[str, Any] | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A well-formed record that is no alert, such as Suricata's flow records. `reason` is shown to the
    sender.
    """

    reason: str


@dataclass(slots=True)
class NormalizedAlert:
    """One alert in the words of AuroraSOC, whatever sensor it came from.

    `affected_assets` are host names and internal addresses, `observables` what an outsider controls: an
    internal address is never an observable. `metadata` is flat and JSON-safe. `occurred_at` is aware UTC, or
    None when the record has no believable time.
    """

    title: str
    severity: str
    source: str
    raw: str
    description: str = ""
    category: str = "other"
    asset_type: str | None = None
    affected_assets: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    observables: list[Observable] = field(default_factory=list)
    mitre_techniques: list[str] = field(default_factory=list)
    occurred_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def compose(
    *,
    title: str,
    severity: str,
    source: str,
    raw: str,
    entities: Entities,
    metadata: dict[str, Any],
    description: str = "",
    category: str = "other",
    asset_type: str | None = None,
    techniques: list[str] | None = None,
    occurred_at: datetime | None = None,
) -> NormalizedAlert:
    """Put an alert together from a normaliser's findings, cutting every text to its limit."""
    entities.cve(title)
    return NormalizedAlert(
        title=clean(title, MAX_TITLE),
        severity=severity,
        source=source,
        raw=raw,
        description=clean(description, MAX_DESCRIPTION, keep_lines=True),
        category=category,
        asset_type=asset_type,
        affected_assets=list(entities.assets),
        users=list(entities.users),
        observables=entities.foreign(),
        mitre_techniques=(techniques or [])[:MAX_LIST],
        occurred_at=occurred_at,
        metadata=small(metadata),
    )


def small(metadata: dict[str, Any]) -> dict[str, Any]:
    """`metadata` without empty values; numbers and booleans as they are, addresses in their one spelling, everything else as short text."""
    kept: dict[str, Any] = {}
    for name, value in metadata.items():
        short = _short(spelled(value) if name in _ADDRESSES else value)
        if short is not None:
            kept[name] = short
    return kept


def _item(value: Any) -> str | int:
    return value if type(value) is int and abs(value) < 2**63 else text(value)


def _short(value: Any) -> Any:
    if type(value) is str:
        return clean(value) or None
    if type(value) is int:
        # Beyond 64 bits neither orjson nor a bigint column takes it; as text it stays readable.
        return value if -(2**63) <= value < 2**63 else text(value) or None
    if value is None or type(value) is bool:
        return value
    if type(value) is list:
        items = [item for item in map(_item, value[:MAX_LIST]) if item != ""]
        return items or None
    return text(value) or None
