"""Which format a list is in, by its content: bundles and events say what they are, all else is lines."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import orjson

from aurora.errors import Invalid
from cases.ioc_import import csv_lines, misp, stix
from cases.ioc_import.entries import Entry

MOST_ENTRIES = 100_000


def read(payload: bytes) -> list[Entry]:
    """The entries of a list, in order. Raises Invalid for one that is empty, too long, or of no known format."""
    body = payload.removeprefix(b"\xef\xbb\xbf").strip()
    if not body:
        raise _refused("missing", "Field required")
    entries = list(islice(_entries(body), MOST_ENTRIES + 1))
    if len(entries) > MOST_ENTRIES:
        raise _refused("too_long", f"List should have at most {MOST_ENTRIES} items after validation")
    return entries


def _entries(body: bytes) -> Iterable[Entry]:
    if body[:1] not in (b"{", b"["):
        return csv_lines.entries(body)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(
            problems=[{"loc": ["body", error.pos], "msg": "JSON decode error", "type": "json_invalid"}]
        ) from None
    return _of_json(document)


def _of_json(document: Any) -> Iterable[Entry]:
    if stix.is_bundle(document):
        return stix.entries(document)
    if (events := misp.events_in(document)) is not None:
        return misp.entries(events)
    raise _refused("value_error", "Neither a STIX bundle nor a MISP event")


def _refused(kind: str, message: str) -> Invalid:
    return Invalid(problems=[{"loc": ["body"], "msg": message, "type": kind}])
