"""The rows that directories' undos go by: kept while one may, and long enough to be read; then forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import CharField, Exists, OuterRef
from django.db.models.functions import Cast
from django.utils import timezone

from agents.playbooks.models import DisabledAccount, ExecutionStep
from agents.playbooks.states import ENDED_EXECUTIONS
from aurora.bus import housekeeping

KEPT = timedelta(days=90)


def forget(*, now: datetime | None = None) -> int:
    """Forgets what is older; how many. For the scheduler.

    But not while a run that disabled the same account is under way: its undo looks whether another step wants the account disabled.
    """
    under_way = ExecutionStep.objects.exclude(execution__status__in=ENDED_EXECUTIONS).filter(action="disable_user")
    needed = under_way.annotate(key=Cast("pk", CharField())).values("key")
    wanted = DisabledAccount.objects.filter(connector=OuterRef("connector"), dn=OuterRef("dn"), key__in=needed)
    before = (now or timezone.now()) - KEPT
    return housekeeping.delete_by_batches(DisabledAccount.objects.filter(~Exists(wanted), created_at__lt=before))
