"""Which alerts the orchestrator takes up by itself."""

from __future__ import annotations

import psycopg
import pytest

from agents import registry
from agents.models import Investigation
from agents.workers import AlertsWorker
from aurora.bus import postgres
from aurora.bus.groups import GroupConsumer
from aurora.bus.relay import move_batch
from aurora.models import ProcessedEvent
from cases import intake
from cases.normalizers import NormalizedAlert
from tests.aurora.bus.scene import settle
from tests.cast import SENSOR

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _agents(redis_client) -> None:
    registry.ensure_agents()


def _report(severity: str) -> None:
    """One sensor sees the same thing once more and the orchestrator takes in what is announced."""
    alert = NormalizedAlert(title="Disk fills", severity=severity, source="probe", raw="")
    intake.submit_alert(alert=alert, actor=SENSOR)
    with postgres.session("aurora-test") as session:
        _orchestrate(session)


def _orchestrate(session: psycopg.Connection) -> None:
    while move_batch(session):
        pass
    worker = AlertsWorker()
    consumer = GroupConsumer(stream=worker.stream, group=worker.group, claim_seconds=30)
    for entry in consumer.read(count=100, block_ms=1):
        assert settle(worker, consumer, entry)
        consumer.acknowledge([entry.entry_id])


@pytest.mark.parametrize(("severity", "count"), [("critical", 1), ("high", 1), ("medium", 0), ("info", 0)])
def test_urgent_alerts_are_investigated_unasked(severity, count):
    _report(severity)
    assert Investigation.objects.count() == count


def test_an_alert_that_a_repetition_makes_urgent_is_investigated_once():
    for severity in ("medium", "critical", "critical", "low"):
        _report(severity)
    assert Investigation.objects.count() == 1


def test_what_asks_for_nothing_leaves_no_note():
    for _ in range(3):
        _report("low")
    assert not ProcessedEvent.objects.exists()
