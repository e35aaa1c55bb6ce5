"""Where the embedded servers of one installation live. Imported by settings: nothing heavy here, nothing started."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

SUPERUSER = DATABASE = "aurora"

# sockaddr_un holds 108 bytes; the longest name put into the folder is `.s.PGSQL.5432`.
_LONGEST_SOCKET_DIR = 108 - len("/.s.PGSQL.5432\0")


def socket_dir(data_dir: Path) -> Path:
    """The folder of both servers' sockets: inside `data_dir`, or, where no socket can have that path (too long; libpq takes a comma for the
    end of a host), one of our own under the temporary folder.

    Servers listen on sockets only, never on a TCP port, so that two installations cannot meet and other users of the machine cannot connect.
    """
    inside = data_dir / "run"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_DIR and "," not in str(inside):
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"aurora-{os.geteuid()}-{digest}"


def database_url(data_dir: Path) -> str:
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(socket_dir(data_dir)), safe='')}"


def redis_url(data_dir: Path, database: int = 0) -> str:
    return f"unix://{quote(str(socket_dir(data_dir) / 'redis.sock'))}?db={database}"
