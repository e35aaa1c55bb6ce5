"""Takes a payload apart into records: JSON, NDJSON, concatenated JSON, or lines of text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from aurora.errors import Invalid
from cases.normalizers.alert import RawRecord
from cases.normalizers.envelopes import opened

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_TYPES = ("ndjson", "jsonl", "json-lines", "jsonlines", "json-seq")
_NOT_AN_OBJECT = "a JSON object was expected, not {kind}"
_KINDS = {
    list: "an array",
    str: "a string",
    bool: "a boolean",
    type(None): "null",
    int: "a number",
    float: "a number",
}
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def split(source: str, payload: bytes, content_type: str = "", *, at_most: int = sys.maxsize) -> list[RawRecord]:
    """The records of `payload`, in order; empty when it holds none.

    Takes one JSON object, an array, the source's own envelopes, NDJSON, and objects written one after the
    other (as `jq` prints them); for `cef` lines of text. Which of them it is, the payload says;
    `content_type` only settles that a payload of lines is one. A line or element that cannot be read becomes
    a record with an `error`; a payload of which nothing can be read raises `Invalid` with the place of the
    first fault, in characters, and so does one of more than `at_most` records.
    """
    body = payload.removeprefix(_BYTE_ORDER_MARK).strip(b" \t\r\n\x1e\x00")
    if not body:
        return []
    if source == "cef":
        return _few_enough(_text_lines(body), at_most)
    if not any(name in content_type.lower() for name in _LINE_TYPES):
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return _several(source, body, error, at_most)
        return _numbered(_whole(source, document, body), at_most)
    return _several(source, body, None, at_most)


def _several(source: str, body: bytes, fault: orjson.JSONDecodeError | None, at_most: int) -> list[RawRecord]:
    """The records of a body that is not one JSON document in orjson's eyes."""
    lines = [line for line in (line.strip(b" \t\r\x1e") for line in body.split(b"\n")) if line]
    parsed = [_parsed(line) for line in lines]
    if parsed[0][1] is not None:
        # One document over several lines, or text that only the more lenient parser takes (lone surrogates,
        # NaN).
        documents = _concatenated(body)
        if documents is not None:
            return _numbered((record for document in documents for record in _records(source, document)), at_most)
    if not any(type(document) in (dict, list) for document, _ in parsed):
        raise _unreadable(fault or _fault(body))
    records = (
        record
        for line, (document, error) in zip(lines, parsed, strict=True)
        for record in (_whole(source, document, line) if error is None else [_broken(line, error)])
    )
    return _numbered(records, at_most)


def _text_lines(body: bytes) -> list[RawRecord]:
    lines = body.decode("utf-8", "replace").replace("\x00", "").splitlines()
    return [RawRecord(index, line, None) for index, line in enumerate(line for line in lines if line.strip())]


def _parsed(line: bytes) -> tuple[Any, str | None]:
    try:
        return orjson.loads(line), None
    except orjson.JSONDecodeError as error:
        return None, f"JSON decode error at character {error.pos}: {error.msg}"


def _concatenated(body: bytes) -> list[Any] | None:
    """The JSON documents of which `body` is made, or None when anything in it is no JSON."""
    try:
        written = body.decode("utf-8")
        documents, position = [], 0
        while position < len(written):
            document, position = _DECODER.raw_decode(written, position)
            documents.append(document)
            while position < len(written) and written[position] in " \t\r\n\x1e":
                position += 1
    except (ValueError, RecursionError):
        return None
    return documents


def _whole(source: str, document: Any, body: bytes) -> Iterator[RawRecord]:
    """The records of one parsed document; when it is itself the record, its text stays as it was sent."""
    found = list(opened(source, document))
    if len(found) == 1 and found[0] is document and type(document) is dict:
        yield RawRecord(0, body.decode("utf-8"), document)
    else:
        yield from map(_record, found)


def _records(source: str, document: Any) -> Iterator[RawRecord]:
    return map(_record, opened(source, document))


def _record(value: Any) -> RawRecord:
    try:
        written = orjson.dumps(value).decode("utf-8")
    except TypeError as error:
        # Lone surrogates, integers of more than 64 bits, nesting of more than 254 levels.
        return RawRecord(0, _printable(value), None, f"not storable as JSON: {error}")
    if type(value) is not dict:
        return RawRecord(0, written, None, _NOT_AN_OBJECT.format(kind=_KINDS.get(type(value), "something else")))
    return RawRecord(0, written, value)


def _broken(line: bytes, error: str) -> RawRecord:
    return RawRecord(0, line.decode("utf-8", "replace").replace("\x00", "\ufffd"), None, error)


def _printable(value: Any) -> str:
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return ""


def _numbered(records: Iterator[RawRecord], at_most: int) -> list[RawRecord]:
    numbered = [
        record if record.index == index else RawRecord(index, record.text, record.data, record.error)
        for index, record in enumerate(islice(records, min(at_most, sys.maxsize - 1) + 1))
    ]
    return _few_enough(numbered, at_most)


def _few_enough(records: list[RawRecord], at_most: int) -> list[RawRecord]:
    if len(records) > at_most:
        message = f"List should have at most {at_most} items after validation"
        raise Invalid(problems=[{"loc": ["body"], "msg": message, "type": "too_long"}])
    return records


def _fault(body: bytes) -> orjson.JSONDecodeError:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return error
    return orjson.JSONDecodeError("no JSON records", "", 0)


def _unreadable(fault: orjson.JSONDecodeError) -> Invalid:
    return Invalid(problems=[{"loc": ["body", fault.pos], "msg": "JSON decode error", "type": "json_invalid"}])
