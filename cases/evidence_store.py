"""The files of evidence, each once, under its SHA-256, in a folder of their own: readable by this account alone, and never below one that is served."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from django.conf import settings

from aurora import dry_run

_DIGEST = re.compile(r"[0-9a-f]{64}")
_INCOMING = "incoming-"
_ABANDONED_SECONDS = 3600.0
"""Nobody is given so long to send a body."""


class Lost(Exception):
    """The store has no file under that hash: it was lost, or the data directory is another's."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was stored: its digests in hex, its size in bytes."""

    sha256: str
    sha1: str
    md5: str
    size: int


def keep(chunks: Iterable[bytes]) -> Kept:
    """Stores the content durably, and tells what it is. The same content twice is one file, a preview's is none. Raises OSError where nothing can be written."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_unfinished(folder)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=_INCOMING)  # mode 0600, a name that nobody can guess
    digest, size = hashlib.sha256(), 0
    # Files are known elsewhere by these; nothing here relies on them.
    sha1, md5 = hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                for each in (digest, sha1, md5):
                    each.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if dry_run.is_preview():
            os.unlink(temporary)
        else:
            place = _place(digest.hexdigest())
            place.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(temporary, place)
            _sync(place.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return Kept(digest.hexdigest(), sha1.hexdigest(), md5.hexdigest(), size)


def opened(sha256: str) -> BufferedReader:
    """The content under a hash, for the caller to read and to close. Raises Lost."""
    try:
        return _place(sha256).open("rb")
    except FileNotFoundError:
        raise Lost(sha256) from None


def beginning_of(sha256: str, limit: int) -> bytes:
    """The first `limit` bytes. Raises Lost."""
    with opened(sha256) as file:
        return file.read(limit)


def is_intact(sha256: str) -> bool:
    """Whether the file is there and its content still has the hash under which it was stored."""
    try:
        with opened(sha256) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except (Lost, OSError):
        return False


def _forget_unfinished(folder: Path) -> None:
    """What processes that were killed left behind."""
    for left in folder.glob(f"{_INCOMING}*"):
        with suppress(FileNotFoundError):  # another process may be at it
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()


def _folder() -> Path:
    return Path(settings.EVIDENCE_DIR or Path(settings.DATA_DIR) / "evidence")


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
