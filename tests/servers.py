"""A pytest plugin loaded before Django's settings: starts one embedded PostgreSQL and Redis for the whole run.

The first process (pytest-xdist's controller, or pytest itself) starts and stops them; workers inherit the address by environment and get a
database each (pytest-django's `test_aurora_gwN`, Redis database N).
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from aurora.embedded import locations
from aurora.embedded.servers import Postgres, Redis

_DATA_DIR = "AURORA_TEST_SERVERS"


def _start() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="aurora-test-"))
    sockets = locations.socket_dir(folder)
    # Speed over durability: this cluster is thrown away.
    quick = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    servers = [Postgres(folder / "postgres", sockets, quick), Redis(folder / "redis", sockets)]
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # runs after the servers' own stop, registered later
    for server in servers:
        atexit.register(server.stop)
        server.start()
    return folder


def _environment(folder: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("AURORA_", "OTEL_")) or name in {"DATABASE_URL", "REDIS_URL"}:
            del os.environ[name]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    os.environ |= {
        # All tests sign in from one address, in an order that chance decides; those of the limit set their own.
        "AURORA_RATE_LOGIN": "1000/60",
        _DATA_DIR: str(folder),
        "AURORA_DATA_DIR": str(folder / worker),
        "DATABASE_URL": locations.database_url(folder),
        "REDIS_URL": locations.redis_url(folder, int(worker.removeprefix("gw"))),
    }
    (folder / worker).mkdir(exist_ok=True)


_environment(Path(os.environ[_DATA_DIR]) if _DATA_DIR in os.environ else _start())
