"""How things stand, in a sentence: the banner of every page, and what sockets are told when it changes."""

from __future__ import annotations

from typing import Any

from aurora import dry_run
from aurora.observability import health
from aurora.standin import source

_READING = {
    source.DEMO: "You are reading the showcase: none of its alerts and cases are real.",
    source.SNAPSHOT: "You are reading the last copy, {age} old.",
    source.UNAVAILABLE: "Nothing can be read until it is back.",
    source.DATABASE: "Reading goes on.",
}


def now() -> dict[str, Any]:
    """The mode as far as this process knows it, with `headline` and `summary` for people; both empty while all is well."""
    mode = health.database_mode()
    refused = {"are_changes_refused": not source.is_writable()}
    return mode | refused | {"headline": _headline(mode), "summary": _summary(mode)}


def _headline(mode: dict[str, Any]) -> str:
    if mode["mode"] == "demo":
        return "Showcase"
    if source.is_writable():
        return "Dry run" if dry_run.is_on() else ""
    since = mode["degraded_since"]
    what = "Database is read-only" if mode["is_database_available"] else "Database is away"
    return f"{what} since {since:%H:%M:%S} UTC" if since else what


def _summary(mode: dict[str, Any]) -> str:
    if not _headline(mode):
        return ""
    if source.is_writable():
        return "Changes are shown as they would be, and none is kept. What sensors deliver is stored."
    reading = _READING[mode["read_data_source"]].format(age=_span(mode["snapshot_age_seconds"]))
    waiting = mode.get("spool_depth")
    deliveries = "delivery is" if waiting == 1 else "deliveries are"
    kept = f" {waiting:,} {deliveries} kept on disk and stored when it is back." if waiting else ""
    return f"{reading} Changes are refused.{kept}"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "of unknown age"
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )
