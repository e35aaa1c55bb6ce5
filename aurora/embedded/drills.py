"""That a part is down on purpose: a file in the data directory, held by whoever took it down.

The kernel lets go of the file when its holder ends, however it ends: no drill that was killed keeps a part down.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DrillUnderWay(RuntimeError):
    """Somebody else holds this part down."""


@contextmanager
def held_down(data_dir: Path, name: str) -> Iterator[None]:
    """The group of `data_dir` leaves the part of this name alone for the block. Raises DrillUnderWay."""
    path = _mark(data_dir, name)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DrillUnderWay(f"another drill holds {name} down") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_held_down(data_dir: Path, name: str) -> bool:
    """Whether a living drill holds the part down."""
    try:
        descriptor = os.open(_mark(data_dir, name), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _mark(data_dir: Path, name: str) -> Path:
    return data_dir / f"drill.{name}"
