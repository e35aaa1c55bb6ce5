"""The database router (`DATABASE_ROUTERS`): reads go to the store that the piece of work reads from, writes to PostgreSQL or nowhere."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from aurora.standin import opened, source, working_set


class StandInRouter:
    """Views, admin and queries know nothing of it."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """What belongs to a row comes from where the row came from: an account of PostgreSQL never gets the groups of a fixture."""
        origin = hints.get("instance")
        if origin is not None and origin._state.db:
            return str(origin._state.db)
        store = source.current()
        if store not in source.STORES or not working_set.holds(model):
            return None
        return opened.require(store)

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return "default"

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return None if db == "default" else False
