"""The last copy of the real working set: a SQLite file that a scheduled job of every machine keeps up to date, by what changed and in one swap.

A killed writer leaves a file of its own behind, never half a snapshot. What changed is known by PostgreSQL's own mark of a row's version, `xmin`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models.expressions import RawSQL

from aurora.standin import stores, working_set
from aurora.standin.working_set import Part

REFRESH_SECONDS = 30.0
_BATCH = 1_000
_VERSIONS = "CREATE TABLE aurora_versions (model TEXT, key TEXT, version TEXT, PRIMARY KEY (model, key)) WITHOUT ROWID"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Difference:
    """What of a part is new or another version since the last copy, with those versions, and what is gone."""

    part: Part
    changed: dict[str, str]
    gone: list[str]


def is_there() -> bool:
    """Whether there is a snapshot that this version of the product can read. Every request that reads without PostgreSQL asks."""
    version = mark()
    return version is not None and _number_of(_path(), version) == stores.schema()[1]


def age_seconds() -> float | None:
    """How long ago it was last known to be true; None without one."""
    try:
        return max(0.0, round(time.time() - _path().stat().st_mtime, 1))
    except OSError:
        return None


def mark() -> tuple[int, int] | None:
    """Tells one snapshot from the next."""
    try:
        found = _path().stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def address() -> str:
    return f"{_path().as_uri()}?mode=ro"


def refresh() -> bool:
    """Makes the snapshot true again; whether anything had to be copied. Nothing is done while another process of this machine does it.

    Raises what PostgreSQL and the disk raise.
    """
    if settings.DEGRADED_READS != "snapshot":
        return False
    with _path().with_suffix(".lock").open("w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return _refresh()


def _refresh() -> bool:
    _forget_unfinished()
    known = _versions_of(_path()) if is_there() else None
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = [_difference(part, (known or {}).get(part.model._meta.label, {})) for part in working_set.parts()]
        if known is not None and not any(each.changed or each.gone for each in found):
            os.utime(_path())
            return False
        _write(found, is_first=known is None)
    return True


def _write(found: list[Difference], *, is_first: bool) -> None:
    path = _path()
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    os.close(os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    if not is_first:
        shutil.copyfile(path, unfinished)
    with closing(sqlite3.connect(unfinished)) as target:
        target.execute("PRAGMA journal_mode = OFF")  # of no use in a file that is thrown away when its writer dies
        if is_first:
            script, number = stores.schema()
            target.executescript(f"{script}\n{_VERSIONS};\nPRAGMA user_version = {number};")
        with target:
            for each in found:
                _apply(target, each)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
    log.info("snapshot_taken", changed=sum(len(each.changed) for each in found), gone=sum(len(e.gone) for e in found))


def _difference(part: Part, known: dict[str, str]) -> Difference:
    version = RawSQL(f'"{part.model._meta.db_table}".xmin::text', ())  # noqa: S611 - a name of ours
    rows = part.rows().order_by("-pk").annotate(row_version=version).values_list("pk", "row_version")
    now = {str(key): str(mark) for key, mark in rows[: part.newest]}
    changed = {key: mark for key, mark in now.items() if known.get(key) != mark}
    return Difference(part, changed, [key for key in known if key not in now])


def _apply(target: sqlite3.Connection, each: Difference) -> None:
    model, label = each.part.model, each.part.model._meta.label
    fields = stores.columns(model)
    key = model._meta.pk
    for chosen in _batches(list(each.changed)):
        rows = model._base_manager.using("default").filter(pk__in=chosen)
        values = (stores.prepared(fields, row, dict(each.part.blanked)) for row in rows)
        target.executemany(stores.insertion(model), values)
        versions = [(label, name, each.changed[name]) for name in chosen]
        target.executemany("INSERT OR REPLACE INTO aurora_versions VALUES (?, ?, ?)", versions)
    gone = [(stores.key_of(key, name),) for name in each.gone]
    target.executemany(f'DELETE FROM "{model._meta.db_table}" WHERE "{key.column}" = ?', gone)
    target.executemany("DELETE FROM aurora_versions WHERE model = ? AND key = ?", [(label, name) for name in each.gone])


def _versions_of(path: Path) -> dict[str, dict[str, str]]:
    known: dict[str, dict[str, str]] = {}
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as opened:
        for label, key, version in opened.execute("SELECT model, key, version FROM aurora_versions"):
            known.setdefault(label, {})[key] = version
    return known


@lru_cache(maxsize=4)
def _number_of(path: Path, version: tuple[int, int]) -> int | None:
    """The number that the schema of the file with that mark has; None for what is no snapshot."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as opened:
            (number,) = opened.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error:
        return None
    return int(number)


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _forget_unfinished() -> None:
    """What writers that were killed left behind."""
    path = _path()
    for left in path.parent.glob(f"{path.name}.*.new"):
        with suppress(OSError):
            left.unlink()


def _path() -> Path:
    return Path(settings.DATA_DIR, "snapshot.sqlite3")
