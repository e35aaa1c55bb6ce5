"""PostgreSQL behind a wire that can be cut, and a spool of the test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from aurora.resilience import availability, spool
from aurora.resilience.spool import Spool
from tests.proxy import Proxy, Wire
from tests.waiting import until


@pytest.fixture
def wire(transactional_db: None) -> Iterator[Proxy]:
    """The wire to the tests' PostgreSQL. Cut it, and every thread of this process has lost its database."""
    address = connections.settings["default"]
    host = address["HOST"]
    with tempfile.TemporaryDirectory(prefix="aurora-wire-") as folder:
        proxy = Proxy(Path(host, ".s.PGSQL.5432"), Path(folder, ".s.PGSQL.5432")).start()
        pool = address["OPTIONS"]["pool"]
        address["OPTIONS"]["pool"] = pool | {"timeout": 0.2}
        _use(address, folder)
        yield proxy
        mend(proxy)
        address["OPTIONS"]["pool"] = pool
        _use(address, host)
        proxy.stop()


@pytest.fixture(autouse=True)
def own_spool(settings: Any, tmp_path: Path) -> Spool:
    """A spool that is empty before the test."""
    settings.DATA_DIR = tmp_path
    return spool.shared()


def mend(wire: Proxy) -> None:
    """PostgreSQL is back, and this process has noticed."""
    wire.set(Wire.WHOLE)
    connection.close()
    until(lambda: availability.database.standing.is_up)


def _use(address: dict[str, Any], host: str) -> None:
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    address["HOST"] = host
