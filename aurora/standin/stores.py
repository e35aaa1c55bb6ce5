"""SQLite with the product's own models: its tables, and rows as it wants them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.models import Field, Model


@cache
def schema() -> tuple[str, int]:
    """SQL that makes every table of the product in SQLite, and a number that tells one version of it from another."""
    blank = DatabaseWrapper(declaration(":memory:"), "schema")
    with blank.schema_editor(collect_sql=True, atomic=False) as editor:
        for model in apps.get_models():
            editor.create_model(model)
        statements = [*editor.collected_sql, *(f"{late};" for late in editor.deferred_sql)]
        editor.deferred_sql.clear()
    script = "\n".join(statements)
    return script, zlib.crc32(script.encode()) & 0x7FFFFFFF


def declaration(name: str, *, is_read_only: bool = False) -> dict[str, Any]:
    """Django's dictionary of the SQLite database `name`, complete, for it is none of `DATABASES`."""
    options = {"init_command": "PRAGMA query_only = ON"} if is_read_only else {}
    # Kept open between requests: SQLite has no server to be gone, and opening a file costs as much as all of a short list.
    store = {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options, "CONN_MAX_AGE": None}
    complete: dict[str, Any] = connections.configure_settings({"default": {}, "store": store})["store"]
    return complete


def columns(model: type[Model]) -> list[Field[Any, Any]]:
    return list(model._meta.concrete_fields)


def prepared(fields: Sequence[Field[Any, Any]], row: Model, blanked: dict[str, Any]) -> list[Any]:
    """A row's values as SQLite holds them, in the order of `fields`."""
    given = _blank()
    return [
        field.get_db_prep_save(blanked.get(field.attname, getattr(row, field.attname)), connection=given)
        for field in fields
    ]


def insertion(model: type[Model]) -> str:
    """The statement that stores a row, all of its columns in their order, in place of an older version of it."""
    fields = columns(model)
    listed = ", ".join(f'"{field.column}"' for field in fields)
    places = ", ".join("?" * len(fields))
    return f'INSERT OR REPLACE INTO "{model._meta.db_table}" ({listed}) VALUES ({places})'


@cache
def _blank() -> DatabaseWrapper:
    """Never connected: it knows how SQLite wants its values."""
    return DatabaseWrapper(declaration(":memory:"), "blank")


def key_of(field: Field[Any, Any], text: str) -> Any:
    """A primary key, given as text, as SQLite holds it."""
    return field.get_db_prep_value(field.to_python(text), connection=_blank(), prepared=False)
