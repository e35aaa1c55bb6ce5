"""The engine as a state machine: whatever happens to a run, in whatever order, its promises hold.

Crashes at every point, repeated and late deliveries, failures, decisions, expiry, pauses and cancellations come in any order; at the end everything that
is owed is delivered, and the run has to have ended.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from agents.playbooks import approvals, authoring, engine, executions, recovery
from agents.playbooks.models import ActionSlot, Approval, ExecutionStep
from agents.playbooks.states import ENDED_EXECUTIONS
from aurora.actors import Actor
from aurora.errors import AuroraError, Unavailable
from aurora.models import OutboxEvent
from tests.agents.playbooks.stage import begin, now, person, waiting
from tests.agents.playbooks.targets import Recorder
from tests.cast import ANALYST

pytestmark = pytest.mark.django_db

_BLOCK = {"action": "block_ip", "parameters": {"targets": ["198.51.100.7"]}, "rollback": {"action": "block_ip"}}
_ISOLATE = {"action": "isolate_host", "parameters": {"hosts": ["ws-1"]}, "rollback": {"action": "isolate_host"}}
_STEPS = [
    {"name": "one", **_BLOCK, "on_failure": "continue"},
    {"parallel": [[{"name": "left", **_BLOCK}], [{"name": "right", **_ISOLATE, "on_failure": "rollback"}]]},
    {"name": "last", **_BLOCK, "on_failure": "rollback"},
]


class Run(RuleBasedStateMachine):
    """One run, its messages, and the claims of workers that were killed or are slow."""

    recorder: Recorder
    people: list[Actor]

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.recorder.told.clear()
        self.recorder.effects.clear()
        self.fails: set[str] = set()
        self.recorder.before = self._fail
        definition, source = authoring.defined({"name": "machine", "steps": _STEPS})
        self.execution = begin(authoring.write_playbook(definition=definition, source=source, actor=ANALYST), ANALYST)
        self.names = {str(step.id): step.name for step in self.execution.steps.all()}
        self.messages: list[tuple[Any, bool]] = []
        self.claims: list[engine.Claim] = []

    def teardown(self) -> None:
        try:
            self._finish()
            self._has_ended_well()
        finally:
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)

    @rule(place=st.integers(0, 9))
    def a_message_is_handled(self, place: int) -> None:
        self._collect()
        if self.messages:
            step_id, undo = self.messages.pop(place % len(self.messages))
            self._handle(step_id, undo)

    @rule(is_approved=st.booleans(), then_fails=st.booleans())
    def all_goes_well_for_a_while(self, is_approved: bool, then_fails: bool) -> None:
        """Without it most runs would never come as far as their rollback."""
        for _ in range(3):
            self._collect()
            messages, self.messages = self.messages, []
            for step_id, undo in messages:
                self._handle(step_id, undo)
        if is_approved:
            self.somebody_decides(who=0, is_yes=True)
        if then_fails:
            self.fails |= {"right", "last"}

    @rule(place=st.integers(0, 9))
    def a_message_is_delivered_once_more(self, place: int) -> None:
        self._collect()
        if self.messages:
            self._handle(*self.messages[place % len(self.messages)])

    @rule(place=st.integers(0, 9), has_acted=st.booleans())
    def a_worker_is_killed_or_slow(self, place: int, has_acted: bool) -> None:
        self._collect()
        if not self.messages:
            return
        step_id, undo = self.messages[place % len(self.messages)]
        try:
            claim = engine._take_up(step_id, undo=undo)
        except Unavailable:
            return
        if claim is not None:
            if has_acted:
                engine._outcome_of(claim)
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule()
    def leases_run_out(self) -> None:
        ExecutionStep.objects.filter(lease__isnull=False).update(lease_until=timezone.now() - timedelta(seconds=1))

    @precondition(lambda self: self.claims)
    @rule()
    def a_slow_worker_comes_back(self) -> None:
        claim = self.claims.pop()
        engine._settle(claim, engine._outcome_of(claim))

    @rule(name=st.sampled_from(["one", "left", "right", "last"]))
    def a_target_fails_from_now_on(self, name: str) -> None:
        self.fails.add(name)

    @rule()
    def targets_work_again(self) -> None:
        self.fails.clear()

    @rule(who=st.integers(0, 1), is_yes=st.booleans())
    def somebody_decides(self, who: int, is_yes: bool) -> None:
        approval = Approval.objects.filter(execution=self.execution).last()
        if approval is not None:
            verb = approvals.approve if is_yes else approvals.reject
            self._try(lambda: verb(approval_id=approval.id, actor=self.people[who], reason="because"))

    @rule()
    def the_time_to_decide_is_over(self) -> None:
        Approval.objects.filter(status="pending").update(expires_at=timezone.now() - timedelta(seconds=1))
        approvals.expire_overdue()

    @rule()
    def it_is_paused(self) -> None:
        self._try(lambda: executions.pause(execution_id=self.execution.id, actor=ANALYST))

    @rule()
    def it_is_resumed(self) -> None:
        self._try(lambda: executions.resume(execution_id=self.execution.id, actor=ANALYST))

    @rule(rollback=st.booleans())
    def it_is_cancelled(self, rollback: bool) -> None:
        self._try(lambda: executions.cancel(execution_id=self.execution.id, rollback=rollback, actor=ANALYST))

    @rule()
    def redis_forgets_everything(self) -> None:
        OutboxEvent.objects.filter(type="playbook.step").delete()
        self.messages.clear()

    @invariant()
    def each_effect_is_had_once_a_key(self) -> None:
        assert len(self.recorder.effects) == len(set(self.recorder.effects))

    @invariant()
    def nothing_risky_happens_unapproved(self) -> None:
        isolated = [order for order in self.recorder.told if order.action == "isolate_host"]
        assert not isolated or Approval.objects.filter(execution=self.execution, status="approved").exists()

    @invariant()
    def nothing_is_undone_that_was_not_completed(self) -> None:
        undone = {order.done_under for order in self.recorder.told if order.undo}
        completed = {str(step.id) for step in self.execution.steps.filter(status="completed")}
        assert undone <= completed

    @invariant()
    def rollbacks_go_backwards(self) -> None:
        places = {str(step.id): step.settled_as or 0 for step in self.execution.steps.all()}
        first = list(dict.fromkeys(order.done_under for order in self.recorder.told if order.undo))
        assert [places[key] for key in first] == sorted((places[key] for key in first), reverse=True)

    def _fail(self, order: Any) -> None:
        if not order.undo and self.names[order.key] in self.fails:
            raise OSError("down")

    def _collect(self) -> None:
        self.messages += waiting()

    def _handle(self, step_id: Any, undo: bool) -> None:
        try:
            engine.run_step(step_id=step_id, undo=undo)
        except Unavailable:
            self.messages.append((step_id, undo))

    def _try(self, work: Any) -> None:
        with contextlib.suppress(AuroraError):  # not now: the state forbids it
            work()

    def _finish(self) -> None:
        """The workers are alive, the operator resumes, the clock goes on: everything owed is done."""
        for _ in range(40):
            if now(self.execution).status in ENDED_EXECUTIONS:
                return
            self.leases_run_out()
            self.execution.steps.filter(queued_at__isnull=False).update(queued_at=timezone.now() - timedelta(minutes=1))
            if self.execution.is_paused:
                self.it_is_resumed()
            self.the_time_to_decide_is_over()
            recovery.recover()
            self._collect()
            messages, self.messages = self.messages, []
            for step_id, undo in messages:
                self._handle(step_id, undo)

    def _has_ended_well(self) -> None:
        status = now(self.execution).status
        assert status in ENDED_EXECUTIONS, f"stuck: {status}"
        steps = list(self.execution.steps.all())
        assert not [step for step in steps if step.status in ("pending", "queued", "running", "awaiting_approval")]
        assert {str(step.id) for step in steps if step.status == "completed"} <= set(self.recorder.effects)
        if status == "rolled_back":
            assert all(step.undo == "completed" for step in steps if step.status == "completed")
        if status == "completed":
            assert all(step.status in ("completed", "failed") for step in steps)
        assert not ActionSlot.objects.exists()
        assert not Approval.objects.filter(status="pending").exists()


def test_whatever_happens_to_a_run_its_promises_hold(recorder, settings, monkeypatch):
    # Breakers have tests of their own: here a target that fails only fails.
    settings.BREAKER_FAILURES = 1_000
    monkeypatch.setattr(Run, "recorder", recorder, raising=False)
    monkeypatch.setattr(Run, "people", [person("lea"), person("max")], raising=False)
    run_state_machine_as_test(
        Run,
        settings=hypothesis.settings(
            max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
        ),
    )
