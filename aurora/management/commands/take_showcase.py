"""`manage.py take_showcase FILE`: writes this installation's working set as the fixtures of the showcase. For developers, on a demo installation."""

from __future__ import annotations

import lzma
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import ForeignKey, Model

from aurora.models import OutboxEvent
from aurora.standin import stores, working_set


class Command(BaseCommand):
    help = "Writes this installation's working set as the fixtures of the showcase (aurora/standin/showcase.json.xz)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        if OutboxEvent.objects.exists():
            raise CommandError("Work is still under way: wait until the outbox is empty.")
        tables = [_table(part) for part in working_set.parts()]
        taken = {"taken_at": datetime.now(UTC).replace(tzinfo=None).isoformat(), "tables": tables}
        lines = orjson.dumps(taken, option=orjson.OPT_APPEND_NEWLINE)
        options["file"].write_bytes(lzma.compress(lines))


def _table(part: working_set.Part) -> dict[str, Any]:
    fields = stores.columns(part.model)
    accounts = [place for place, field in enumerate(fields) if _is_account(part.model, field)]
    rows = []
    for row in part.rows().order_by("pk"):
        values = stores.prepared(fields, row, dict(part.blanked))
        for place in accounts:  # no real account has a number below zero
            values[place] = -abs(values[place]) if values[place] is not None else None
        rows.append(values)
    names = [field.attname for field in fields]
    return {"model": part.model._meta.label, "columns": names, "rows": rows}


def _is_account(model: type[Model], field: Any) -> bool:
    is_key = model is User and field.primary_key
    return is_key or (isinstance(field, ForeignKey) and field.related_model is User)
