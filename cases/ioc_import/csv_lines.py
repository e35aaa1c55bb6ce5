"""CSV with a header that names its columns, or a bare list with a value a line. Lines that begin with `#` are remarks, as feeds write them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence

from aurora.errors import Invalid
from cases.ioc_import.entries import (
    Entry,
    confidence_of,
    moment_of,
    observable_of,
    rejected,
    text_of,
    tlp_of,
)

_COLUMNS = {
    "value": "value", "indicator": "value", "ioc": "value", "observable": "value",
    "type": "type", "ioc_type": "type", "indicator_type": "type",
    "description": "description", "comment": "description", "title": "description",
    "confidence": "confidence", "score": "confidence",
    "tlp": "tlp",
    "expires_at": "expires_at", "expiration": "expires_at", "valid_until": "expires_at",
}  # fmt: skip
_DELIMITERS = ",;\t"


def entries(body: bytes) -> Iterator[Entry]:
    """One a line that is neither empty nor a remark, numbered from 0. Raises Invalid for what is no text."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(
            problems=[{"loc": ["body", error.start], "msg": "The list is not UTF-8", "type": "string_unicode"}]
        ) from None
    lines = [line for line in text.replace("\0", "\ufffd").splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return
    delimiter = max(_DELIMITERS, key=lines[0].count)
    header = [_COLUMNS.get(name.strip().lower().replace(" ", "_"), "") for name in _cells(lines[0], delimiter)]
    named = "value" in header
    for index, line in enumerate(lines[1:] if named else lines):
        cells = _cells(line, delimiter)
        yield _entry(index, dict(zip(header, cells, strict=False)) if named else {"value": cells[0] if cells else ""})


def _cells(line: str, delimiter: str) -> Sequence[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a cell of more than 128 KiB: nothing that could be read, nor stored
        return [line]


def _entry(index: int, row: Mapping[str, str]) -> Entry:
    try:
        return Entry(
            index,
            observable_of(row.get("type", ""), row.get("value")),
            text_of(row, "description"),
            confidence_of(row.get("confidence")),
            tlp_of([row.get("tlp", "")]),
            moment_of(row.get("expires_at")),
        )
    except Invalid as error:
        return rejected(index, str(error.detail))
