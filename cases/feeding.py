"""Files of sensor records, in pieces that intake can take: JSON, a JSON array, NDJSON, or text lines; from a file, from stdin, or as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import orjson

from cases.normalizers import RawRecord, split

BATCH_LINES = 1_000
"""Records a transaction."""

_POLL_SECONDS = 0.25


def batches(source: str, file: BinaryIO) -> Iterator[list[RawRecord]]:
    """The file's records, some at a time; `index` counts through the whole file. Raises Invalid for a file that is no JSON at all."""
    head = file.readline()
    while head and not head.strip():
        head = file.readline()
    if not _is_line_format(source, head):
        records = split(source, head + file.read())
        for start in range(0, len(records), BATCH_LINES):
            yield records[start : start + BATCH_LINES]
        return
    yield from _line_batches(source, head, file)


def follow(source: str, file: BinaryIO, *, should_stop: Callable[[], bool]) -> Iterator[list[RawRecord]]:
    """As `batches` for a file of lines that grows: waits at its end for more. A line is taken when its end has been written."""
    index, partial = 0, b""
    while not should_stop():
        lines: list[bytes] = []
        while len(lines) < BATCH_LINES and (line := file.readline()):
            partial += line
            if partial.endswith(b"\n"):
                lines.append(partial)
                partial = b""
        if not lines:
            time.sleep(_POLL_SECONDS)
            continue
        yield _numbered(source, lines, index)
        index += len(lines)


def _line_batches(source: str, head: bytes, file: BinaryIO) -> Iterator[list[RawRecord]]:
    index, lines = 0, [head]
    for line in file:
        lines.append(line)
        if len(lines) == BATCH_LINES:
            yield _numbered(source, lines, index)
            index, lines = index + len(lines), []
    if lines:
        yield _numbered(source, lines, index)


def _numbered(source: str, lines: list[bytes], first: int) -> list[RawRecord]:
    records = split(source, b"".join(lines), "application/x-ndjson")
    return [RawRecord(record.index + first, record.text, record.data, record.error) for record in records]


def _is_line_format(source: str, head: bytes) -> bool:
    """A first line that is a whole JSON object starts NDJSON; so does one that is no JSON of any kind, whose line is then refused by itself."""
    if source == "cef":
        return True
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"[":
        return False
    try:
        orjson.loads(head.lstrip(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return start != b"{"
    return True
