"""The key of an installation that was given none: made once, and kept in its data directory."""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
from pathlib import Path

_NAME = "secret_key"


def of_installation(directory: Path) -> str:
    """The directory's key, made at the first start. Whole or not there: a crash leaves no half of it, and of two starts at once one makes it."""
    path = directory / _NAME
    with open(directory / f"{_NAME}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        key = path.read_text().strip() if path.exists() else None
        if key:
            return key
        if key is not None:
            # Nothing was ever signed with it: no start succeeds with an empty key. There is no log yet.
            print(f"{path} is empty, as a crash may leave it: a new key is made", file=sys.stderr)  # noqa: T201
        return _made(path)


def _made(path: Path) -> str:
    key, unfinished = secrets.token_urlsafe(64), path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return key
