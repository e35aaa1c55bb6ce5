"""Jobs that run every so often, on one machine at a time; and a few that every machine needs done for itself.

Every copy of the scheduler asks PostgreSQL for the same session lock; the one that has it runs all jobs, the others those of their machine, and wait
for it to die. PostgreSQL gives the lock away as soon as the holder's connection is gone, so before each job the holder looks whether it still is. Jobs must
bear being run once more: a new holder runs all of them at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from django.db import close_old_connections

from aurora.bus import postgres
from aurora.bus.backoff import Backoff
from aurora.observability import tracing

CANDIDATE_SECONDS = 2.0
"""How often a copy in waiting asks for the lock."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    every: float
    """Seconds from the start of one run to the start of the next."""
    function: Callable[[], object]
    is_local: bool = False
    """Every copy runs it, whether it leads or not."""


_jobs: dict[str, Job] = {}


def register(name: str, *, every: float, function: Callable[[], object], is_local: bool = False) -> None:
    """Has the scheduler run `function`, which must bear being run more often; with `is_local` every copy of it. Raises ValueError for a taken name."""
    if name in _jobs:
        raise ValueError(f"a job named {name!r} is registered already")
    _jobs[name] = Job(name, every, function, is_local)


def registered() -> list[Job]:
    return list(_jobs.values())


class Scheduler:
    """One copy; `run` returns when `stop` is set and the job that ran has ended."""

    def __init__(self, jobs: list[Job] | None = None, *, lock: int = 0x61757273) -> None:
        self._jobs = registered() if jobs is None else jobs
        self._lock = lock
        self._postgres = Backoff("postgres", "scheduler")

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with postgres.session("aurora-scheduler") as session:
                    self._serve(session, stop)
            except postgres.OUTAGES as error:
                stop.wait(self._postgres.failed(error))

    def _serve(self, session: psycopg.Connection[tuple[Any, ...]], stop: threading.Event) -> None:
        due = dict.fromkeys((job for job in self._jobs if job.is_local), 0.0)
        while not self._has_lock(session):
            if not _run_next(due, stop, at_most=CANDIDATE_SECONDS):
                return
        log.info("scheduler_leads", jobs=[job.name for job in self._jobs])
        due |= {job: 0.0 for job in self._jobs if job not in due}
        while _run_next(due, stop, look=lambda: session.execute("SELECT 1")):
            pass

    def _has_lock(self, session: psycopg.Connection[tuple[Any, ...]]) -> bool:
        answer = session.execute("SELECT pg_try_advisory_lock(%s)", [self._lock]).fetchone()
        self._postgres.worked()
        return answer == (True,)


def _run_next(
    due: dict[Job, float],
    stop: threading.Event,
    *,
    at_most: float = threading.TIMEOUT_MAX,
    look: Callable[[], object] = lambda: None,
) -> bool:
    """Waits for the job that is due first, `at_most` so many seconds, and runs it after a `look`. False when it is time to stop."""
    job = min(due, key=due.__getitem__, default=None)
    wait = at_most if job is None else min(at_most, max(0.0, due[job] - time.monotonic()))
    if stop.wait(wait):
        return False
    if job is not None and due[job] <= time.monotonic():
        look()
        due[job] = time.monotonic() + job.every
        run_job(job)
    return True


def run_job(job: Job) -> None:
    """Runs it once. What it raises is logged: the next run may do better."""
    began = time.monotonic()
    try:
        with tracing.span(f"job {job.name}"):
            job.function()
    except Exception:  # the schedule must survive its jobs
        log.exception("job_failed", job=job.name)
    else:
        log.debug("job_done", job=job.name, seconds=round(time.monotonic() - began, 3))
    finally:
        close_old_connections()
