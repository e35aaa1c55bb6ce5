"""The spool's file: SQLite on this machine's own disk, open in any number of processes at once, written so that a commit survives a power cut.

Every piece of work holds the file's lock (`flock`, which the kernel gives back when a process dies) for shared use, and looks first whether the
name still stands for what this process has open. So a damaged file can be put aside, under the exclusive lock, without anybody writing
into it afterwards.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog

from aurora.errors import Unavailable

BUSY_SECONDS = 2.0
"""What one write waits for another process's."""
RETRY_SECONDS = 5.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


class SpoolFile:
    """One process's way into the file at `path`, which is made when it is first written to. Safe to share between threads."""

    def __init__(self, path: Path, schema: str) -> None:
        self.path, self._schema = path, schema
        self._turn = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in one transaction, which is on the disk when this returns.

        Raises Unavailable, with nothing kept, when the disk is full or read-only or the file cannot be used. A damaged file is put aside
        and a new one begun: `work` then runs again there.
        """
        return self._run(lambda connection: _in_transaction(connection, work))

    def read(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `work` finds, or `otherwise` when there is no file. Raises Unavailable."""
        return self._run(work) if self.path.exists() else otherwise

    def put_aside(self) -> list[str]:
        """The names of the damaged files that lie beside this one."""
        return sorted(found.name for found in self.path.parent.glob(f"{self.path.stem}.damaged-*{self.path.suffix}"))

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._turn:
            try:
                try:
                    return self._once(work)
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    self._put_aside(error)
                    return self._once(work)
            except (sqlite3.Error, OSError) as error:
                self._close()
                log.error("spool_unusable", error=str(error))
                raise Unavailable(_REFUSAL_OF.get(_code_of(error), _UNUSABLE), retry_after=RETRY_SECONDS) from error

    def _once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock(fcntl.LOCK_SH):
            if self._connection is None or _identity_of(self.path) != self._identity:
                self._close()
                self._open()
            assert self._connection is not None  # noqa: S101 - for the type checker
            # What was damaged on the disk must not be hidden by pages kept in memory: the next process would find it.
            self._connection.execute("PRAGMA shrink_memory")
            return work(self._connection)

    def _open(self) -> None:
        # Made before SQLite would, which leaves the mode to the umask; its other files take the mode of this one.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")
            _in_transaction(connection, lambda opened: [opened.execute(part) for part in self._schema.split(";\n\n")])
        except BaseException:
            connection.close()
            raise
        _sync(self.path.parent)
        self._connection, self._identity = connection, _identity_of(self.path)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        """Renames the damaged file, unless another process has done so already."""
        is_unopened = self._connection is None
        self._close()
        with self._lock(fcntl.LOCK_EX):
            if not is_unopened and _identity_of(self.path) != self._identity:
                return
            name = f"{self.path.stem}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}{self.path.suffix}"
            for ending in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + ending)
                if part.exists():
                    part.rename(self.path.with_name(name + ending))
            _sync(self.path.parent)
        log.error("spool_put_aside", file=name, error=str(error))

    @contextmanager
    def _lock(self, operation: int) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.path.with_name("lock"), operation):
            yield


@contextmanager
def locked(path: Path, operation: int) -> Iterator[None]:
    """Holds the lock of a file for the block. Raises OSError; BlockingIOError when `operation` has LOCK_NB and somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _in_transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return done


_FULL, _READ_ONLY = "The spool's disk is full", "The spool's disk is read-only"
_UNUSABLE = "The spool cannot be used"
_REFUSAL_OF = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_BUSY: "The spool is busy",
}
_CODE_OF_ERRNO = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EROFS: sqlite3.SQLITE_READONLY,
}
_DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code_of(error: Exception) -> int:
    """SQLite's primary result code, whoever raised the error."""
    if isinstance(error, OSError):
        return _CODE_OF_ERRNO.get(error.errno or 0, 0)
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return _code_of(error) in _DAMAGES


def _identity_of(path: Path) -> tuple[int, int]:
    """Which file the name stands for; (0, 0) for none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def _sync(folder: Path) -> None:
    """A new name is safe only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
