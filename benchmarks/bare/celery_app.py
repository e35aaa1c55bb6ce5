# mypy: disable-error-code="no-untyped-call"
"""Celery on Redis with the effect of `benchmarks.bare.effects`, acknowledged after it, as our workers do."""

from __future__ import annotations

import os
import time
from typing import Any

import django
from celery import Celery
from django.db import transaction

django.setup()

from benchmarks.bare.effects import write  # noqa: E402 - needs Django's apps

app = Celery("bench", broker=os.environ["BENCH_CELERY_URL"])
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=100)


@app.task  # type: ignore[untyped-decorator]
def effect(event_id: str, _data: str) -> Any:
    with transaction.atomic():
        write(event_id, time.time())
