"""Files of sensor records, in pieces that intake can take: JSON, a JSON array, NDJSON, or text lines; from a file, from a pipe, or as it grows."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import orjson

from aurora.errors import Invalid
from cases.normalizers import RawRecord, split

BATCH_LINES = 1_000
"""Records a transaction."""

_CHUNK = 1 << 20
_POLL_SECONDS = 0.25
_HEAD = 1024
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


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read: `offset` bytes, whole lines of them. Renamed, the file is known by its inode; since numbers of inodes
    are given again, by a hash of its first bytes too.
    """

    inode: int
    offset: int
    head: str

    @classmethod
    def of(cls, file: BufferedReader, offset: int) -> Position:
        return cls(os.fstat(file.fileno()).st_ino, offset, _hash_of_head(file, offset))

    def is_in(self, file: BufferedReader) -> bool:
        """Whether the open file is that one, and still has what was read of it."""
        there = os.fstat(file.fileno())
        is_same = there.st_ino == self.inode and there.st_size >= self.offset
        return is_same and _hash_of_head(file, self.offset) == self.head


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some of a followed file's records, and the position behind them."""

    records: list[RawRecord]
    end: Position


def follow(
    source: str, path: Path, *, should_stop: Callable[[], bool], start: Position | None = None
) -> Generator[Stretch, None, None]:
    """As `batches` for a file of lines that grows: waits at its end for more. A line is taken when its end has been written.

    A file emptied in place is read from its beginning, and one put in its stead (log rotation) when something has been written to it:
    until then the sensor may still write to the old one. With `start` it goes on there, in the file that was rotated away meanwhile if it is
    still in the folder.
    """
    index, partial = 0, b""
    file, offset = _opened(path, start)
    try:
        while not should_stop():
            chunk = file.read1(_CHUNK)
            if not chunk and _is_replaced(path, file):
                chunk = file.read1(_CHUNK)  # written between the look at the end and the look at the name
                if not chunk:
                    file.close()
                    file = path.open("rb")
                    # What the old file ends with is whole: nobody writes to it any more. Behind it is the beginning of the new one.
                    chunk, partial, offset = (partial + b"\n", b"", -len(partial) - 1) if partial else (b"", b"", 0)
            if chunk:
                *lines, partial = (partial + chunk).split(b"\n")
                for records, length in _sliced(source, lines, index, is_known=True):
                    offset += length
                    if records:
                        yield Stretch(records, Position.of(file, offset))
                index += len(lines)
            elif os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
                partial, offset = b"", 0
            else:
                time.sleep(_POLL_SECONDS)
    finally:
        file.close()


def _opened(path: Path, start: Position | None) -> tuple[BufferedReader, int]:
    """The file in which to go on, and where: another name's, when that one was rotated away; from its beginning, when nothing is known of it."""
    for name in (path, *_of_inode(path.parent, start.inode)) if start else ():
        with suppress(FileNotFoundError):
            file = name.open("rb")
            if start and start.is_in(file):
                file.seek(start.offset)
                return file, start.offset
            file.close()
    return path.open("rb"), 0


def _of_inode(folder: Path, inode: int) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.inode() == inode and entry.is_file()]


def _hash_of_head(file: BufferedReader, offset: int) -> str:
    return hashlib.sha256(os.pread(file.fileno(), min(offset, _HEAD), 0)).hexdigest()


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
        yield from _records_of(source, [head], 0, is_known=False)
        index, partial, is_known = 1, b"", True
    while chunk := file.read1(_CHUNK):
        *lines, partial = (partial + chunk).split(b"\n")
        yield from _records_of(source, lines, index, is_known=is_known)
        index, is_known = index + len(lines), is_known or bool(lines)
    if partial.strip():
        yield from _records_of(source, [partial], index, is_known=is_known)


def _records_of(source: str, lines: list[bytes], first: int, *, is_known: bool) -> Iterator[list[RawRecord]]:
    return (records for records, _ in _sliced(source, lines, first, is_known=is_known) if records)


def _sliced(source: str, lines: list[bytes], first: int, *, is_known: bool) -> Iterator[tuple[list[RawRecord], int]]:
    """The records of some lines at a time, and the bytes that these take with their ends."""
    for start in range(0, len(lines), BATCH_LINES):
        part = lines[start : start + BATCH_LINES]
        records = _records(source, part, is_known=is_known or start > 0)
        moved = [RawRecord(record.index + first + start, record.text, record.data, record.error) for record in records]
        yield moved, sum(map(len, part)) + len(part)


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
