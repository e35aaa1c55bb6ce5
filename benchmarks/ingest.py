"""`POST /ingest/suricata` against a bare upsert of the same rows.

Ours: NDJSON of 500 distinct EVE alerts a request over real HTTP to `manage.py serve`, with an API key and a counted limit, until the answer
says that alerts, IOCs, links, pivots, receipt and outbox are committed. The peer: the very rows that this stored in `cases_alert`, written
with psycopg as one `INSERT … SELECT FROM unnest … ON CONFLICT DO UPDATE` into a copy of the table with the same indexes and checks, one
transaction for 500 as well. Turn and turn about on the same PostgreSQL, one sender each; rows a second, the median of the turns.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from benchmarks import eve, installation
from benchmarks.figures import Figure, Target, median
from benchmarks.installation import Installation, Running

TARGETS = (Target(0.40, "at least", "ratio"),)
_SIZE = 500
_WARM_UP = 3
_TABLE = "cases_alert"
_COPY = "bench_alert"
_Database = psycopg.Connection[tuple[Any, ...]]


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 3 turns when quick, else 25."""
    deliveries = [eve.delivery(number, _SIZE) for number in range((3 if is_quick else 25) + _WARM_UP)]
    with installation.product() as running, opened.connect() as database:
        database.execute(f"CREATE TABLE {_COPY} (LIKE {_TABLE} INCLUDING ALL)")
        columns = _columns(database)
        turns = [_turn(opened, running, database, columns, delivery) for delivery in deliveries][_WARM_UP:]
        database.execute(f"DROP TABLE {_COPY}")
    ours, bare = (_SIZE / median(column) for column in zip(*turns, strict=True))
    return [Figure("alerts to committed rows with outbox", "rows/s", ours, "bare upsert", bare, TARGETS[0])]


def _turn(
    opened: Installation, running: Running, database: _Database, columns: dict[str, str], delivery: bytes
) -> tuple[float, float]:
    """Seconds of ours, seconds of the peer."""
    headers = {"X-API-Key": opened.api_key, "Content-Type": "application/x-ndjson"}
    with running.connect() as connection:
        request = connection.request("POST", "/api/v1/ingest/suricata", delivery, headers)
        ours = connection.timed(request, 202)
    rows = _newest_rows(database, columns)
    began = time.perf_counter()
    with database.transaction():
        database.execute(_upsert(columns), rows)
    return ours, time.perf_counter() - began


def _columns(database: _Database) -> dict[str, str]:
    """The columns that intake fills, with their types."""
    return dict(
        database.execute(
            """SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
               WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull ORDER BY attnum""",
            [_TABLE],
        ).fetchall()
    )


def _newest_rows(database: _Database, columns: dict[str, str]) -> list[list[Any]]:
    """What the last delivery stored, column by column, in the order of its own upsert."""
    wanted = [f"{name}::text" if kind == "jsonb" else name for name, kind in columns.items()]
    latest = f"(SELECT max(created_at) FROM {_TABLE})"
    rows = database.execute(
        f"SELECT {', '.join(wanted)} FROM {_TABLE} WHERE created_at = {latest} ORDER BY dedup_hash"
    ).fetchall()
    assert len(rows) == _SIZE, f"the delivery stored {len(rows)} alerts"
    return [list(column) for column in zip(*rows, strict=True)]


def _upsert(columns: dict[str, str]) -> str:
    arrays = ", ".join(f"%s::{kind}[]" for kind in columns.values())
    return f"""INSERT INTO {_COPY} ({", ".join(columns)}) SELECT * FROM unnest({arrays})
        ON CONFLICT (dedup_hash) DO UPDATE SET count = {_COPY}.count + excluded.count, last_seen = excluded.last_seen,
            updated_at = excluded.updated_at"""
