"""Investigations and runs go where their case goes, and go on there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
import pytest
from django.db import connection, transaction

from agents import investigations, registry
from agents.playbooks import executions, runs
from agents.playbooks.models import Approval, Execution
from aurora.errors import Conflict
from aurora.models import OutboxEvent
from cases import merging
from cases.models import Case
from tests.agents.playbooks.stage import begin, block, now, person, statuses, work_off, write
from tests.cast import ADMIN, ANALYST, ApiClient
from tests.factories import make_alert, make_case
from tests.waiting import somebody_waits_for_a_lock, until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

ISOLATE = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": ["ws-12"]}}


@pytest.fixture(autouse=True)
def _agents(library):
    registry.ensure_agents()


def _merge(source: Case, target: Case) -> Case:
    return merging.merge_case(case_id=source.id, into=target.id, actor=ANALYST)


def test_an_investigation_goes_along_and_its_steps_ask_about_the_other_case():
    source, target = make_case(alerts=[make_alert()]), make_case()
    investigation = investigations.start(case_id=source.id, actor=ANALYST)
    OutboxEvent.objects.all().delete()
    _merge(source, target)
    investigation.refresh_from_db()
    assert investigation.case == target
    told = OutboxEvent.objects.get(type="investigation.updated")
    assert orjson.loads(told.data)["case_id"] == str(target.id)
    page = ApiClient("viewer").call("GET", f"/investigations?case_id={target.id}").json()
    assert [item["id"] for item in page["items"]] == [str(investigation.id)]


def test_a_run_goes_along_and_tells_the_other_case_how_it_ends():
    execution = begin(write(block()), ANALYST)
    source, target = execution.case, make_case()
    assert source is not None
    _merge(source, target)
    work_off()
    assert (now(execution).case, execution.status) == (target, "completed")
    assert target.timeline.filter(kind="playbook", text__startswith="Playbook drill completed").exists()
    assert source.timeline.count() == 1


def test_a_case_about_which_somebody_is_asked_goes_nowhere():
    execution = begin(write(ISOLATE), person("ana"))
    work_off()
    approval = Approval.objects.get()
    assert execution.case is not None
    with pytest.raises(Conflict, match=str(approval.id)):
        _merge(execution.case, make_case())
    _merge(make_case(), execution.case)


def test_a_merged_case_starts_no_run():
    source, target = make_case(), make_case()
    _merge(source, target)
    with pytest.raises(Conflict, match="merged into"):
        executions.execute(playbook_id=write(block()).id, case_id=source.id, actor=ADMIN)


@pytest.mark.django_db(transaction=True)
def test_a_run_whose_case_goes_while_it_waits_for_its_row_writes_into_the_other_case():
    execution = begin(write(block()), ANALYST)
    source, target = execution.case, make_case()
    assert source is not None
    taken: list[Execution] = []

    def settle() -> None:
        with transaction.atomic():
            taken.append(runs.held(execution.id).execution)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            _merge(source, target)
            waiting = pool.submit(settle)
            until(somebody_waits_for_a_lock)
        waiting.result()
    assert taken[0].case == target


@pytest.mark.django_db(transaction=True)
def test_an_investigation_that_begins_while_its_case_goes_is_not_left_behind():
    for _ in range(5):
        alert = make_alert(severity="low")
        source, target = make_case(alerts=[alert]), make_case()
        with ThreadPoolExecutor(2) as pool:
            gate = threading.Barrier(2)
            both = [pool.submit(_on_its_own, gate, call) for call in _calls(alert, source, target)]
            outcomes = [one.result() for one in both]
        assert outcomes == ["done", "done"]
        assert target.investigations.count() == 1


def _calls(alert: Any, source: Case, target: Case) -> list[Any]:
    return [
        lambda: _merge(source, target),
        lambda: investigations.start(alert_id=alert.id, actor=ANALYST),
    ]


def _on_its_own(gate: threading.Barrier, call: Any) -> str:
    gate.wait()
    try:
        call()
        return "done"
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_steps_that_end_during_a_merge_end_in_the_other_case():
    for number in range(5):
        playbook = write(block("one"), block("two", target="198.51.100.8"), name=f"drill-{number}")
        execution = begin(playbook, ANALYST)
        source, target = execution.case, make_case()
        assert source is not None
        gate = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(_on_its_own, gate, partial(_merge, source, target)),
                pool.submit(_on_its_own, gate, work_off),
            ]
            assert [one.result() for one in both] == ["done", "done"]
        work_off()
        assert set(statuses(execution).values()) == {"completed"}
        assert (now(execution).case, source.timeline.count()) == (target, 1)
