"""The showcase: an in-memory store that all threads of the process share, filled from fixtures when it is first needed.

It holds one installation's working set at the end of the demo story (`manage.py take_showcase` wrote it), moved to now. Its accounts have no usable
password and numbers that no real account has.
"""

from __future__ import annotations

import lzma
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from django.apps import apps
from django.db.models import DateTimeField, Model

from aurora.standin import stores

FIXTURES = Path(__file__).with_name("showcase.json.xz")

_keepers: list[sqlite3.Connection] = []
"""An in-memory store lives as long as somebody has it open."""


def build() -> str:
    """Makes and fills the process's showcase; its address."""
    address = f"file:aurora-showcase-{os.getpid()}?mode=memory&cache=shared"
    keeper = sqlite3.connect(address, uri=True, check_same_thread=False)
    script, _ = stores.schema()
    keeper.executescript(script)
    taken = orjson.loads(lzma.decompress(FIXTURES.read_bytes()))
    later = datetime.now(UTC).replace(tzinfo=None) - datetime.fromisoformat(taken["taken_at"])
    with keeper:
        for table in taken["tables"]:
            model = apps.get_model(table["model"])
            rows = _completed(model, table["columns"], table["rows"], later)
            keeper.executemany(stores.insertion(model), rows)
    _keepers.append(keeper)
    return address


def _completed(model: type[Model], names: list[str], rows: list[list[Any]], later: timedelta) -> Iterator[list[Any]]:
    """The rows in the order of the model's columns, with their times as much later as the fixtures are old.

    The fixtures may be older than the model: what they lack has its default, what the model has no more is left out.
    """
    fields = stores.columns(model)
    blank = stores.prepared(fields, model(), {})
    places = [names.index(field.attname) if field.attname in names else None for field in fields]
    times = [number for number, field in enumerate(fields) if isinstance(field, DateTimeField)]
    for row in rows:
        values = [blank[number] if place is None else row[place] for number, place in enumerate(places)]
        for number in times:
            if places[number] is not None and values[number] is not None:
                values[number] = str(datetime.fromisoformat(values[number]) + later)
        yield values
