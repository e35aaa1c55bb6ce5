"""This process's breakers by name, all sharing their state through one store, and how they are told of."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import structlog
from django.db import DatabaseError, transaction

from aurora.bus import control, outbox, streams
from aurora.bus.redis import Purpose, client
from aurora.errors import RateLimited
from aurora.resilience.availability import is_outage
from aurora.resilience.breaker import Breaker, BreakerSettings, BreakerSnapshot, Transition, is_callees_fault
from aurora.resilience.breaker_store import BreakerStore, Question
from aurora.resilience.metrics import TRANSITIONS

log = structlog.get_logger(__name__)

BREAKER_CHANGED = "breaker.changed"

_breakers: dict[str, Breaker] = {}
_lock = threading.Lock()
_store: BreakerStore | None = None


def get(name: str, settings: BreakerSettings, *, detail: str = "Agent service unavailable") -> Breaker:
    """The breaker of that name, made at the first call; `settings` replace what it had. `detail` is what it says while it refuses."""
    global _store
    with _lock:
        breaker = _breakers.get(name)
        if breaker is None:
            if _store is None:
                _store = BreakerStore(client(Purpose.REQUEST))
            breaker = _breakers[name] = Breaker(
                name,
                settings,
                store=_store,
                detail=detail,
                on_transition=_tell,
                counts_as_failure=_is_callees_fault,
            )
    breaker.settings = settings
    return breaker


def snapshots(members: Sequence[Breaker]) -> list[BreakerSnapshot]:
    """As `snapshot` of each, in one round trip for all."""
    if _store is not None:
        for member in members:
            _store.join(member)
        told = [member.tell() for member in members]
        questions = [Question(member.name, member.settings, *each) for member, each in zip(members, told, strict=True)]
        for member, answer, (_, counts) in zip(members, _store.read_all(questions), told, strict=True):
            member.hear(answer, counts)
            member.have_joined()
    return [member.as_last_read() for member in members]


def as_json(snapshot: BreakerSnapshot) -> dict[str, Any]:
    """The contract's `breaker` object."""
    # Nothing in it is a container that `asdict` would have to copy, at five times the price.
    shown = {each.name: getattr(snapshot, each.name) for each in fields(snapshot)}
    return shown | {"state": str(snapshot.state.value)}


def _is_callees_fault(error: BaseException) -> bool:
    """Our own database being away is nothing an agent could help; one that limits its callers is well."""
    return is_callees_fault(error) and not isinstance(error, RateLimited) and not is_outage(error)


def _tell(change: Transition) -> None:
    TRANSITIONS.labels(change.name, change.after.value).inc()
    log.warning(
        "breaker_changed",
        breaker=change.name,
        before=change.before.value,
        after=change.after.value,
        failure_count=change.failure_count,
        error=change.last_error,
        retry_after=change.retry_after,
    )
    data = asdict(change) | {"before": change.before.value, "after": change.after.value}
    try:
        with transaction.atomic():
            outbox.announce(outbox.Event(streams.SYSTEM, BREAKER_CHANGED, f"breaker:{change.name}", data))
    except DatabaseError as error:
        log.warning("breaker_change_not_announced", breaker=change.name, error=type(error).__name__)
        control.show(BREAKER_CHANGED, data)
