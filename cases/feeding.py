"""Files of sensor records, in pieces that intake can take: JSON, a JSON array, NDJSON, or text lines; from a file, from a pipe, or as it grows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from io import BufferedReader
from pathlib import Path

import orjson

from aurora.errors import Invalid
from cases.normalizers import RawRecord, split

BATCH_LINES = 1_000
"""Records a transaction."""

_CHUNK = 1 << 20
_POLL_SECONDS = 0.25
_LINES = "application/x-ndjson"


def batches(source: str, file: BufferedReader) -> Iterator[list[RawRecord]]:
    """The file's records, some at a time; `index` counts through the whole file. Raises Invalid for a file that is no JSON at all.

    Of a pipe each batch is what has come so far: records do not wait for others to fill it.
    """
    head = file.readline()
    while head and not head.strip():
        head = file.readline()
    if not _is_line_format(source, head):
        records = split(source, head + file.read())
        for start in range(0, len(records), BATCH_LINES):
            yield records[start : start + BATCH_LINES]
        return
    yield from _line_batches(source, head, file)


def follow(source: str, path: Path, *, should_stop: Callable[[], bool]) -> Generator[list[RawRecord], None, None]:
    """As `batches` for a file of lines that grows: waits at its end for more. A line is taken when its end has been written.

    A file emptied in place is read from its beginning, and one put in its stead (log rotation) when something has been written to it:
    until then the sensor may still write to the old one.
    """
    index, partial = 0, b""
    file = path.open("rb")
    try:
        while not should_stop():
            chunk = file.read1(_CHUNK)
            if not chunk and _is_replaced(path, file):
                chunk = file.read1(_CHUNK)  # written between the look at the end and the look at the name
                if not chunk:
                    file.close()
                    file = path.open("rb")
                    # What the old file ends with is whole: nobody writes to it any more.
                    chunk, partial = (partial + b"\n", b"") if partial else (b"", b"")
            if chunk:
                *lines, partial = (partial + chunk).split(b"\n")
                yield from _sliced(source, lines, index, is_known=True)
                index += len(lines)
            elif os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
                partial = b""
            else:
                time.sleep(_POLL_SECONDS)
    finally:
        file.close()


def _is_replaced(path: Path, file: BufferedReader) -> bool:
    """Whether the name stands for another file, to which something was written."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return there.st_size > 0 and not os.path.samestat(there, os.fstat(file.fileno()))


def _line_batches(source: str, head: bytes, file: BufferedReader) -> Iterator[list[RawRecord]]:
    index, partial, is_known = 0, head, False
    if source == "cef" or _is_json(head):
        yield from _sliced(source, [head], 0, is_known=False)
        index, partial, is_known = 1, b"", True
    while chunk := file.read1(_CHUNK):
        *lines, partial = (partial + chunk).split(b"\n")
        yield from _sliced(source, lines, index, is_known=is_known)
        index, is_known = index + len(lines), is_known or bool(lines)
    if partial.strip():
        yield from _sliced(source, [partial], index, is_known=is_known)


def _sliced(source: str, lines: list[bytes], first: int, *, is_known: bool) -> Iterator[list[RawRecord]]:
    for start in range(0, len(lines), BATCH_LINES):
        records = _records(source, lines[start : start + BATCH_LINES], is_known=is_known or start > 0)
        if records:
            yield [
                RawRecord(record.index + first + start, record.text, record.data, record.error) for record in records
            ]


def _records(source: str, lines: list[bytes], *, is_known: bool) -> list[RawRecord]:
    """The records of `lines`. Behind others of which some could be read, a batch of nothing but rubbish is rejected line by line."""
    try:
        return split(source, b"\n".join(lines), _LINES)
    except Invalid:
        if not is_known:
            raise
    written = [line.decode("utf-8", "replace").replace("\x00", "\ufffd") for line in lines if line.strip()]
    return [RawRecord(index, line, None, "not JSON") for index, line in enumerate(written)]


def _is_line_format(source: str, head: bytes) -> bool:
    """A first line that is a whole JSON object starts NDJSON; so does one that is no JSON of any kind, whose line is then refused by itself."""
    if source == "cef":
        return True
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"[":
        return False
    return _is_json(head) or start != b"{"


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line.lstrip(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return False
    return True
