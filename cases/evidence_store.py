"""The files of evidence, each once, under its SHA-256, in the data directory: readable by this account alone, and never below a folder that is served."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from django.conf import settings

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 18


class Lost(Exception):
    """The store has no file under that hash: it was lost, or the data directory is another's."""


def keep(chunks: Iterable[bytes]) -> tuple[str, int]:
    """Stores the content durably; returns its SHA-256 in hex and its size in bytes. The same content twice is one file."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix="incoming-")  # mode 0600, a name that nobody can guess
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        place = _place(digest.hexdigest())
        place.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(temporary, place)
        _sync(place.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return digest.hexdigest(), size


def chunks_of(sha256: str) -> Iterator[bytes]:
    """The content under a hash, piece by piece. Raises Lost at the call."""
    try:
        file = _place(sha256).open("rb")
    except FileNotFoundError:
        raise Lost(sha256) from None
    return _read(file)


def beginning_of(sha256: str, limit: int) -> bytes:
    """The first `limit` bytes. Raises Lost."""
    try:
        with _place(sha256).open("rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        raise Lost(sha256) from None


def is_intact(sha256: str) -> bool:
    """Whether the file is there and its content still has the hash under which it was stored."""
    try:
        digest = hashlib.sha256()
        for chunk in chunks_of(sha256):
            digest.update(chunk)
    except (Lost, OSError):
        return False
    return digest.hexdigest() == sha256


def _read(file: BufferedReader) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "evidence"


def _place(sha256: str) -> Path:
    """Where the content lies. What is no hash names no file: a path can never be put together from a caller's text."""
    if not _DIGEST.fullmatch(sha256):
        raise Lost(sha256)
    return _folder() / sha256[:2] / sha256


def _sync(folder: Path) -> None:
    """A new name is durable only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
