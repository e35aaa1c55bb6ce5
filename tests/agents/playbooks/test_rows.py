"""What is read and written by hand is what the ORM would read and write."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.playbooks import engine, rows
from agents.playbooks.models import ActionSlot, Approval, Connector, Execution, ExecutionStep
from aurora.ids import new_id
from tests.agents.playbooks.stage import begin, block, person, waiting, work_off, write
from tests.cast import ANALYST, make_user
from tests.waiting import somebody_waits_for_a_lock, until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

ISOLATE = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": ["ws-12"]}}


def _hold(execution_id: UUID) -> Any:
    return rows.hold(execution_id)


def _values(row):
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_a_run_is_read_as_it_is():
    execution: Any = begin(write(block(), ISOLATE), person("ana"), parameters={"why": ["ü", None, 1.5]})
    execution.case.assignee = make_user("analyst", username="bo")
    execution.case.save()
    work_off()
    held = _hold(execution.id)
    last: Any = execution.steps.last()
    assert held == rows.hold_by_step(last.id)
    stored: Any = Execution.objects.select_related("case__assignee").get(pk=execution.id)
    assert _values(held.execution) == _values(stored)
    assert [_values(step) for step in held.steps] == [_values(step) for step in stored.steps.order_by("position")]
    assert [step.approval_id for step in held.steps] == [None, Approval.objects.get().id]
    with CaptureQueriesContext(connection) as asked:
        assert {step.execution for step in held.steps} == {held.execution}
        assert (held.execution.case, held.execution.case.assignee.username) == (stored.case, "bo")
        assert (held.execution.playbook.name, held.execution.version.number) == ("drill", 1)
    assert not asked.captured_queries
    assert _values(held.execution.case) == _values(stored.case)


def test_of_several_questions_about_a_step_the_newest_is_read():
    execution = begin(write(ISOLATE), person("ana"))
    work_off()
    Approval.objects.update(status="expired")
    older = Approval.objects.get()
    newer = Approval.objects.create(**{**_values(older), "id": new_id()})
    assert [step.approval_id for step in _hold(execution.id).steps] == [newer.id]


def test_what_is_not_there_is_not_held():
    assert _hold(new_id()) is None
    assert rows.hold_by_step(new_id()) is None


def test_a_step_is_written_as_it_stands():
    execution = begin(write(block(), block("two")), ANALYST)
    held = _hold(execution.id)
    step, other = held.steps
    step.status, step.undo, step.note, step.error = "completed", "failed", "", 'a "b" \\ ü\n'
    step.parameters = {"targets": ["198.51.100.7"], "empty": None, "deep": {"is": [True, 1.5, -3]}}
    step.result, step.undo_result = {"at": "2026-01-01", "huge": 10**30}, {}
    step.settled_as, step.lease, step.lease_until = 7, uuid4(), timezone.now() + timedelta(seconds=30)
    step.queued_at, step.finished_at = None, timezone.now()
    before = _values(other)
    rows.write(held.execution, [step])
    assert _values(ExecutionStep.objects.get(pk=step.pk)) == _values(step)
    assert _values(ExecutionStep.objects.get(pk=other.pk)) == before


def test_a_run_is_written_as_it_stands():
    execution = _hold(begin(write(block()), ANALYST).id).execution
    execution.status, execution.course, execution.is_paused = "failed", "undo", True
    execution.summary, execution.settled_count = "1 of 2", 2
    execution.started_at, execution.finished_at = timezone.now(), timezone.now()
    rows.write(execution)
    assert _values(Execution.objects.get(pk=execution.pk)) == _values(execution)


@pytest.mark.parametrize(("status", "left"), [("running", ["its host", "of another"]), ("completed", ["of another"])])
def test_slots_are_given_back_with_a_step_and_the_runs_with_the_run(status, left):
    playbook = write(block())
    held, other = _hold(begin(playbook, ANALYST).id), _hold(begin(playbook, ANALYST).id)
    for name, step, is_for_run in (
        ("its call", held.steps[0], False),
        ("its host", held.steps[0], True),
        ("of another", other.steps[0], False),
    ):
        ActionSlot.objects.create(name=name, step=step, is_for_run=is_for_run)
    held.execution.status = status
    rows.write(held.execution, freed=held.steps)
    assert sorted(ActionSlot.objects.values_list("name", flat=True)) == left


def test_a_lease_counts_the_attempt_and_keeps_when_the_first_began():
    step = _hold(begin(write(block()), ANALYST).id).steps[0]
    step.status, step.parameters, began = "running", {"targets": ["a.example"]}, timezone.now()
    ExecutionStep.objects.filter(pk=step.pk).update(started_at=began, note="Waits")
    lease = uuid4()
    rows.write_lease(step, lease=lease, seconds=30)
    stored: Any = ExecutionStep.objects.get(pk=step.pk)
    assert (stored.status, stored.lease, stored.attempts, stored.note) == ("running", lease, 1, "")
    assert (stored.started_at, stored.parameters) == (began, {"targets": ["a.example"]})
    assert stored.lease_until > began + timedelta(seconds=29)


def test_of_connectors_the_first_that_is_enabled_and_serves_the_action_is_found():
    for name, more in (
        ("b", {}),
        ("a", {}),
        ("first", {"priority": 1, "enabled": False}),
        ("other", {"priority": 1, "actions": ["notify"]}),
    ):
        Connector.objects.create(**{"name": name, "kind": "webhook", "actions": ["run_scan", "block_ip"], **more})
    found = rows.connector_serving("run_scan", None)
    assert _values(found) == _values(Connector.objects.get(name="a"))
    named: Any = rows.connector_serving("run_scan", "b")
    assert named.name == "b"
    assert rows.connector_serving("run_scan", "first") is None


@pytest.mark.django_db(transaction=True)
def test_who_has_waited_for_a_run_sees_its_steps_as_they_are_by_then():
    execution = begin(write(block()), ANALYST)

    def hold():
        try:
            with transaction.atomic():
                return _hold(execution.id)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            held = _hold(execution.id)
            late = pool.submit(hold)
            until(somebody_waits_for_a_lock)
            held.steps[0].note = "changed meanwhile"
            rows.write(*held)
        assert late.result().steps[0].note == "changed meanwhile"


def test_a_step_asks_the_orm_for_its_effect_alone():
    begin(write(block(), block("two")), ANALYST)
    [(step_id, _)] = waiting()
    with CaptureQueriesContext(connection) as asked:
        engine.run_step(step_id=step_id)
    texts = [query["sql"] for query in asked.captured_queries if "SAVEPOINT" not in query["sql"]]
    assert ["agents_blocklistentry" in text for text in texts] == [True]
