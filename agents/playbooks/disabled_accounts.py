"""The rows that directories' undos go by: kept while one may, and long enough to be read; then forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import CharField, Exists, OuterRef, QuerySet
from django.db.models.functions import Cast
from django.utils import timezone

from agents.playbooks.models import Connector, DisabledAccount, ExecutionStep
from agents.playbooks.states import ENDED_EXECUTIONS
from aurora.bus import housekeeping
from aurora.errors import Conflict

KEPT = timedelta(days=90)
_NAMED = 5


def outlive(connector: Connector) -> int:
    """Makes a connector's rows fit to stay when it goes; how many accounts then stay disabled. For the transaction of its removal.

    Raises Conflict while a run may still have to enable one of them: without the connector nothing of ours could.
    """
    standing = DisabledAccount.objects.filter(connector=connector, enabled_at=None)
    if needed := list(_of_runs_under_way().filter(connector=connector, enabled_at=None)[: _NAMED + 1]):
        named = ", ".join(row.dn for row in needed[:_NAMED]) + (", …" if len(needed) > _NAMED else "")
        raise Conflict(
            f"A run under way has disabled accounts by this connector and may have to enable them again: {named}."
            " Wait until it has ended, or call it off with rollback"
        )
    connector.disabled_accounts.update(directory=connector.name)
    return standing.exclude(disabled_at=None).count()


def forget(*, now: datetime | None = None) -> int:
    """Forgets what is older; how many. For the scheduler.

    But not while a run that disabled the same account is under way: its undo looks whether another step wants the account disabled.
    """
    wanted = _of_runs_under_way().filter(connector=OuterRef("connector"), dn=OuterRef("dn"))
    before = (now or timezone.now()) - KEPT
    return housekeeping.delete_by_batches(DisabledAccount.objects.filter(~Exists(wanted), created_at__lt=before))


def _of_runs_under_way() -> QuerySet[DisabledAccount]:
    under_way = ExecutionStep.objects.exclude(execution__status__in=ENDED_EXECUTIONS).filter(action="disable_user")
    return DisabledAccount.objects.filter(key__in=under_way.annotate(key=Cast("pk", CharField())).values("key"))
