"""`AURORA_MODE=dry_run`: what people change is done in full and taken back, so that the answer says what would have happened.

The change runs in a transaction that ends with a rollback, whatever the verb's own transactions inside it did: rows, audit and outbox alike. What
waits for a commit never happens. What acts beyond the database asks `is_preview` first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.conf import settings
from django.db import transaction

HEADER = "X-Aurora-Mode"
"""On every answer that is a preview; its value is the mode's name."""
MODE = "dry_run"

_previewing: ContextVar[bool] = ContextVar("aurora_previewing", default=False)


def is_on() -> bool:
    """Whether this installation keeps no change of people's."""
    return bool(settings.MODE == MODE)


def is_preview() -> bool:
    """Whether what this piece of work does is taken back at its end."""
    return _previewing.get()


@contextmanager
def preview() -> Iterator[None]:
    """Nothing that the block does in PostgreSQL outlives it. Raises what the database raises, DatabaseUnavailable at its beginning included."""
    token = _previewing.set(True)
    try:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
    finally:
        _previewing.reset(token)
