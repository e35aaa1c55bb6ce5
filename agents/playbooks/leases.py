"""Keeping the leases of the steps that act in this process: one thread for all of them, while there are any."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.db.models.functions import Now

from agents.playbooks.models import ExecutionStep

log = structlog.get_logger(__name__)

_changed = threading.Condition()
_kept: dict[UUID, UUID] = {}
"""Lease → step."""

_thread: threading.Thread | None = None


@contextmanager
def kept(*, step_id: UUID, lease: UUID) -> Iterator[None]:
    """Extends the lease for as long as the block runs, three times in its time."""
    global _thread
    with _changed:
        _kept[lease] = step_id
        if _thread is None:
            _thread = threading.Thread(target=_keep, name="playbook-leases", daemon=True)
            _thread.start()
    try:
        yield
    finally:
        with _changed:
            del _kept[lease]


def _keep() -> None:
    """Ends when it wakes to no lease, so that an idle worker has no such thread."""
    global _thread
    while True:
        with _changed:
            _changed.wait(settings.BUS_CLAIM_SECONDS / 3)
            leases = dict(_kept)
            if not leases:
                _thread = None
                return
        _extend(leases)


def _extend(leases: dict[UUID, UUID]) -> None:
    until = Now() + timedelta(seconds=settings.BUS_CLAIM_SECONDS)
    try:
        ExecutionStep.objects.filter(pk__in=leases.values(), lease__in=leases.keys()).update(lease_until=until)
    except DatabaseError as error:
        log.warning("playbook_leases_not_extended", leases=len(leases), error=type(error).__name__)
    finally:
        close_old_connections()
