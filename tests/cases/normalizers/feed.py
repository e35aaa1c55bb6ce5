"""What the tests of the normalisers say often: feed one record, look at what comes out."""

from __future__ import annotations

from typing import Any

import orjson

from cases.normalizers import Ignored, NormalizedAlert, normalize, split


def outcome(source: str, record: Any) -> NormalizedAlert | Ignored:
    """What becomes of a payload that is one record: an object, or a line of text."""
    payload = record.encode() if isinstance(record, str) else orjson.dumps(record)
    (found,) = split(source, payload)
    return normalize(source, found)


def alert(source: str, record: Any) -> NormalizedAlert:
    """The alert that a payload of one record becomes."""
    found = outcome(source, record)
    assert isinstance(found, NormalizedAlert), found
    return found


def values(found: NormalizedAlert, kind: str) -> list[str]:
    """The alert's observables of one type."""
    return [observable.value for observable in found.observables if observable.type == kind]


def merged(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`base` with some of its top keys replaced; a key whose new value is `...` is taken out."""
    return {key: value for key, value in {**base, **changes}.items() if value is not ...}
