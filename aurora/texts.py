"""Text from outside, made fit for PostgreSQL, Redis and UTF-8, none of which holds all that a Python string can."""

from __future__ import annotations


def storable(text: str, limit: int | None = None) -> str:
    """At most `limit` characters of `text`, with NUL and lone surrogates made visible: as U+FFFD and `?`."""
    return text[:limit].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
