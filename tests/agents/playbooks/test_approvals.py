"""Approvals: who is asked, who may answer, when it is too late, and that two answers at once are one."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from agents.playbooks import approvals, executions
from agents.playbooks.models import Approval
from aurora.actors import Actor
from aurora.errors import AuroraError, Conflict, Denied, Invalid
from aurora.ids import new_id
from aurora.models import AuditEntry, OutboxEvent
from cases import lifecycle
from tests.agents.playbooks.stage import begin, block, now, person, statuses, work_off, write
from tests.cast import ANALYST, VIEWER

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

ISOLATE = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": "{{ alert.hosts }}"}}
REVOKE = {"name": "revoke", "action": "revoke_certificate", "parameters": {"serial": "4711"}}


def _asked(step, **more):
    """A run that waits for an answer, and the question."""
    execution = begin(write(step, block("after")), ANALYST, **more)
    work_off()
    return execution, Approval.objects.get(execution=execution, status="pending")


def test_a_risky_step_asks_and_acts_only_when_somebody_else_agrees(recorder):
    execution, approval = _asked(ISOLATE)
    assert (now(execution).status, statuses(execution)["isolate"], recorder.told) == (
        "awaiting_approval",
        "awaiting_approval",
        [],
    )
    assert (approval.parameters, approval.needed, approval.is_reversible, approval.requested_by) == (
        {"hosts": ["ws-12"]},
        1,
        True,
        "ana",
    )
    assert approval.reason == "Cut a host off the network: its risk is high"
    approvals.approve(approval_id=approval.id, actor=person("lea"), reason="seen it")
    work_off()
    assert now(execution).status == "completed"
    assert recorder.told[0].parameters == {"hosts": ["ws-12"]}


def test_whoever_asked_does_not_decide(recorder):
    _, approval = _asked(ISOLATE)
    for decide in (approvals.approve, approvals.reject):
        with pytest.raises(Denied, match="Whoever asked"):
            decide(approval_id=approval.id, actor=ANALYST, reason="mine")


def test_who_may_not_decide_does_not(recorder):
    _, approval = _asked(ISOLATE)
    with pytest.raises(Denied, match="approvals:decide"):
        approvals.approve(approval_id=approval.id, actor=VIEWER)


def test_a_rejection_ends_the_step_with_its_reason(recorder):
    execution, approval = _asked(ISOLATE)
    with pytest.raises(Invalid):
        approvals.reject(approval_id=approval.id, actor=person("lea"), reason=" ")
    approvals.reject(approval_id=approval.id, actor=person("max"), reason="a false alarm")
    work_off()
    assert now(execution).status == "failed"
    assert execution.steps.get(name="isolate").error == "Its approval was rejected by max: a false alarm"
    assert recorder.told == []


def test_what_cannot_be_undone_needs_two_different_people(recorder):
    execution, approval = _asked(REVOKE)
    assert (approval.needed, approval.is_reversible) == (2, False)
    first = person("lea")
    approvals.approve(approval_id=approval.id, actor=first)
    work_off()
    assert recorder.told == []
    with pytest.raises(Conflict, match="another person"):
        approvals.approve(approval_id=approval.id, actor=first)
    approvals.approve(approval_id=approval.id, actor=person("max"))
    work_off()
    assert now(execution).status == "completed"


def test_a_program_does_not_decide_on_what_cannot_be_undone(recorder):
    _, approval = _asked(REVOKE)
    with pytest.raises(Denied, match="people"):
        approvals.approve(approval_id=approval.id, actor=Actor("key:bot", "analyst", key_id=str(new_id())))


def test_a_decided_approval_is_decided(recorder):
    _, approval = _asked(ISOLATE)
    approvals.approve(approval_id=approval.id, actor=person("lea"))
    with pytest.raises(Conflict, match="approved already"):
        approvals.reject(approval_id=approval.id, actor=person("max"), reason="too late")


def test_a_medium_risk_asks_only_for_a_critical_asset(recorder):
    quiet = begin(write(block()), ANALYST)
    work_off()
    assert now(quiet).status == "completed"
    scan = {"name": "scan", "action": "run_scan", "parameters": {"hosts": ["dc-01"]}}
    loud = begin(write(scan, name="other"), ANALYST)
    work_off()
    assert now(loud).status == "awaiting_approval"


def test_a_playbook_may_ask_for_more_and_waive_only_what_is_slight(recorder):
    always = begin(write(block(requires_approval="always")), ANALYST)
    never = begin(
        write(
            {"name": "scan", "action": "run_scan", "parameters": {"hosts": ["dc-01"]}, "requires_approval": "never"},
            name="n",
        ),
        ANALYST,
    )
    work_off()
    assert (now(always).status, now(never).status) == ("awaiting_approval", "completed")


def test_what_nobody_decides_expires_which_is_a_decision_of_its_own(recorder):
    execution, approval = _asked(ISOLATE)
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Conflict, match="expired"):
        approvals.approve(approval_id=approval.id, actor=person("lea"))
    assert approvals.expire_overdue() == 1
    assert approvals.expire_overdue() == 0
    approval.refresh_from_db()
    assert (approval.status, approval.decisions[0]["verdict"]) == ("expired", "expired")
    assert AuditEntry.objects.filter(action="approval.expired", actor="clock").count() == 1
    assert (now(execution).status, execution.steps.get(name="isolate").error) == (
        "failed",
        "Its approval was not decided in time",
    )


def test_at_half_time_it_is_called_for_once_more(recorder, caplog):
    _asked(ISOLATE)
    approvals.expire_overdue()
    assert Approval.objects.get().escalated_at is None
    Approval.objects.update(
        created_at=timezone.now() - timedelta(minutes=16), expires_at=timezone.now() + timedelta(minutes=14)
    )
    approvals.expire_overdue()
    approvals.expire_overdue()
    assert Approval.objects.get().escalated_at is not None
    assert OutboxEvent.objects.filter(type="approval.requested").count() == 2
    assert "approval_escalated" in caplog.text


def test_an_approval_is_worth_nothing_once_its_giver_may_not_decide_any_more(recorder):
    execution, approval = _asked(ISOLATE)
    approvals.approve(approval_id=approval.id, actor=person("lea"))
    User.objects.filter(username="lea").update(is_active=False)
    work_off()
    assert (now(execution).status, recorder.told) == ("failed", [])
    assert "no longer holds" in execution.steps.get(name="isolate").error


def test_an_approval_holds_for_exactly_what_was_approved(recorder):
    execution, approval = _asked(ISOLATE)
    approvals.approve(approval_id=approval.id, actor=person("lea"))
    execution.facts["alert"]["hosts"] = ["dc-01"]
    execution.save()
    work_off()
    assert (now(execution).status, recorder.told) == ("failed", [])


def test_a_run_that_is_called_off_asks_nobody_any_more(recorder):
    execution, approval = _asked(ISOLATE)
    executions.cancel(execution_id=execution.id, actor=ANALYST)
    approval.refresh_from_db()
    assert (now(execution).status, approval.status) == ("cancelled", "expired")
    with pytest.raises(Conflict):
        approvals.approve(approval_id=approval.id, actor=person("lea"))


def test_asking_and_deciding_are_announced_audited_and_in_the_timeline(recorder):
    execution, approval = _asked(ISOLATE)
    approvals.approve(approval_id=approval.id, actor=person("lea"), reason="seen it")
    lines = list(execution.case.timeline.filter(kind="approval").order_by("id").values_list("text", flat=True))
    assert lines == [
        "Approval asked for isolate (Isolate host) by ana: its risk is high",
        "isolate (Isolate host) approved by lea: seen it",
    ]
    assert {row.type for row in OutboxEvent.objects.all()} >= {
        "approval.requested",
        "approval.decided",
        "execution.updated",
    }
    entry = AuditEntry.objects.get(action="approval.approved")
    assert (entry.actor, entry.before["status"], entry.after["status"]) == ("lea", "pending", "approved")


@pytest.mark.django_db(transaction=True)
def test_of_two_decisions_at_once_one_wins_and_the_other_hears_of_it(recorder):
    _, approval = _asked(ISOLATE)
    people = [person("lea"), person("max")]
    barrier, results = threading.Barrier(2), list[object]()

    def decide(actor, verb, reason):
        barrier.wait()
        try:
            verb(approval_id=approval.id, actor=actor, reason=reason)
            results.append("won")
        except AuroraError as error:
            results.append(type(error))
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=decide, args=(people[0], approvals.approve, "")),
        threading.Thread(target=decide, args=(people[1], approvals.reject, "no")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == sorted(["won", str(Conflict)])
    approval.refresh_from_db()
    assert len(approval.decisions) == 1


def test_a_case_is_not_closed_while_somebody_is_asked(recorder):
    execution, approval = _asked(ISOLATE)
    case = now(execution).case
    assert case is not None
    with pytest.raises(Conflict, match=str(approval.id)):
        lifecycle.change_status(case_id=case.id, status="closed", reason="done", actor=ANALYST)
    approvals.reject(approval_id=approval.id, actor=person("lea"), reason="not needed")
    assert lifecycle.change_status(case_id=case.id, status="closed", reason="done", actor=ANALYST).status == "closed"
