"""Periodic jobs: by one copy at a time, whatever becomes of a job or of a copy."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from aurora.bus import housekeeping, schedule
from aurora.bus.schedule import Job, Scheduler
from aurora.models import IdempotencyKey, ProcessedEvent, PublishedEvent, RefreshToken
from tests.waiting import until


class Counting:
    """A job that counts its runs and knows who ran it."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def __call__(self) -> None:
        self.threads.append(threading.current_thread().name)


@pytest.fixture(autouse=True)
def _quick_candidates(monkeypatch):
    monkeypatch.setattr(schedule, "CANDIDATE_SECONDS", 0.05)


def test_a_job_runs_again_and_again(start):
    job = Counting()
    start(Scheduler([Job("count", 0.02, job)]))
    until(lambda: len(job.threads) >= 3)


def test_of_many_copies_one_runs_the_jobs(start):
    job = Counting()
    for _ in range(3):
        start(Scheduler([Job("count", 0.01, job)]))
    until(lambda: len(job.threads) >= 20)
    assert len(set(job.threads)) == 1


def test_what_every_machine_needs_every_copy_does(start):
    local, shared = Counting(), Counting()
    for _ in range(3):
        start(Scheduler([Job("local", 0.01, local, is_local=True), Job("shared", 0.01, shared)]))
    until(lambda: len(set(local.threads)) == 3 and len(shared.threads) >= 5)
    assert len(set(shared.threads)) == 1


def test_a_copy_in_waiting_does_not_run_its_own_jobs_more_often_than_they_are_due(start):
    first, second = Counting(), Counting()
    start(Scheduler([Job("shared", 0.01, first)]))
    until(lambda: first.threads)
    start(Scheduler([Job("local", 3600, second, is_local=True)]))
    so_far = len(first.threads)
    until(lambda: len(first.threads) >= so_far + 30 and second.threads)
    assert len(second.threads) == 1


def test_another_copy_takes_over_when_the_first_stops(start):
    job = Counting()
    first = start(Scheduler([Job("count", 0.02, job)]))
    until(lambda: job.threads)
    start(Scheduler([Job("count", 0.02, job)]))
    first.stop()
    until(lambda: len(set(job.threads)) == 2)


def test_a_copy_that_lost_its_session_runs_nothing_until_it_has_the_lock_again(start, events):
    job = Counting()
    start(Scheduler([Job("count", 0.02, job)]))
    until(lambda: job.threads)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aurora-scheduler'"
        )
    until(lambda: len(events("scheduler_leads")) == 2)


def test_a_job_that_fails_is_logged_and_stops_neither_itself_nor_others(start, events):
    def fail() -> None:
        raise RuntimeError("tired")

    job = Counting()
    start(Scheduler([Job("fail", 0.02, fail), Job("count", 0.02, job)]))
    until(lambda: len(job.threads) >= 2 and len(events("job_failed")) >= 2)
    assert events("job_failed")[0]["job"] == "fail"


def test_a_scheduler_without_jobs_waits_for_the_stop(start):
    running = start(Scheduler([]))
    running.thread.join(0.3)
    assert running.thread.is_alive()


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="trim-streams"):
        schedule.register("trim-streams", every=1, function=list)


def test_the_housekeeping_is_on_the_schedule():
    names = {job.name for job in schedule.registered()}
    assert names >= {
        "trim-streams",
        "forget-processed-events",
        "forget-refresh-tokens",
        "forget-idempotency-keys",
        "forget-deliveries",
        "forget-disabled-accounts",
    }


@pytest.mark.django_db
def test_processed_events_are_forgotten_after_a_week(monkeypatch):
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    now = timezone.now()
    ages = [timedelta(days=8)] * 5 + [timedelta(days=6)]
    ProcessedEvent.objects.bulk_create(
        ProcessedEvent(group="g", event_id=uuid4(), processed_at=now - age) for age in ages
    )
    assert housekeeping.forget_processed_events(now=now) == 5
    assert ProcessedEvent.objects.count() == 1


@pytest.mark.django_db
def test_that_an_event_was_processed_is_known_as_long_as_it_may_be_published_again():
    now, kept, gone = timezone.now(), uuid4(), uuid4()
    PublishedEvent.objects.create(id=1, event_id=kept, milliseconds=1, sequence=0, created_at=now)
    for event_id in (kept, gone):
        ProcessedEvent.objects.create(group="g", event_id=event_id, processed_at=now - timedelta(days=8))
    assert housekeeping.forget_processed_events(now=now) == 1
    assert ProcessedEvent.objects.get().event_id == kept


@pytest.mark.django_db
def test_expired_refresh_tokens_are_forgotten():
    user = get_user_model().objects.create(username="ann")
    now = timezone.now()
    for expires_at in (now - timedelta(seconds=1), now + timedelta(days=1)):
        RefreshToken.objects.create(family=uuid4(), user=user, expires_at=expires_at)
    assert housekeeping.forget_refresh_tokens(now=now) == 1
    assert RefreshToken.objects.get().expires_at > now


@pytest.mark.django_db
def test_idempotency_keys_are_forgotten_after_a_day():
    now = timezone.now()
    for hours in (23, 25):
        IdempotencyKey.objects.create(
            actor="a", key=str(hours), request_hash="", status=200, body="", created_at=now - timedelta(hours=hours)
        )
    assert housekeeping.forget_idempotency_keys(now=now) == 1
    assert IdempotencyKey.objects.get().key == "23"
