"""Runs: their order, their failures, their way back, and what happens to them when workers die."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.playbooks import approvals, authoring, connectors, engine, executions, recovery
from agents.playbooks.actions.blocklist import in_force
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.models import ActionSlot, Approval, BlocklistEntry, Connector, ExecutionStep, Playbook
from aurora.errors import Conflict, Denied, Invalid, Missing, Unavailable
from aurora.ids import new_id
from aurora.models import AuditEntry, OutboxEvent
from cases.models import Case, CaseTask
from tests.agents.playbooks.stage import begin, block, now, person, statuses, waiting, work_off, write
from tests.cast import ANALYST, VIEWER
from tests.factories import make_alert, make_case

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]


def _say(name: str, **more):
    return {"name": name, "action": "notify", "parameters": {"text": name}, **more}


def _lines(execution):
    return [entry.text for entry in execution.case.timeline.order_by("id")]


def test_steps_run_one_after_the_other_and_the_run_completes(recorder):
    execution = begin(write(_say("first"), _say("second")), ANALYST)
    assert now(execution).status == "queued"
    work_off()
    assert (now(execution).status, statuses(execution)) == ("completed", {"first": "completed", "second": "completed"})
    assert [order.parameters["text"] for order in recorder.told] == ["first", "second"]
    assert execution.summary == "2 of 2 steps completed"


def test_a_block_reaches_the_list_and_is_lifted_by_its_rollback():
    playbook = write(
        block(on_failure="stop"), _say("fails", on_failure="rollback", parameters={"text": "{{ results.x.y }}"})
    )
    execution = begin(playbook, ANALYST)
    assert executions.find(execution.id).status == "queued"
    work_off()
    assert now(execution).status == "rolled_back"
    assert not in_force().exists()
    assert BlocklistEntry.objects.get().value == "198.51.100.7"


def test_what_was_completed_is_undone_in_reverse_order(recorder):
    steps = [block(name) for name in ("one", "two", "three")]
    execution = begin(write(*steps, _say("last", on_failure="rollback")), ANALYST)
    recorder.before = lambda order: (_ for _ in ()).throw(OSError("down")) if order.action == "notify" else None
    work_off()
    undone = [order.key for order in recorder.told if order.undo]
    ids = {step.name: str(step.id) for step in execution.steps.all()}
    assert undone == [f"{ids[name]}-undo" for name in ("three", "two", "one")]
    assert now(execution).status == "rolled_back"


def test_a_rollback_that_fails_is_left_on_the_case_as_something_to_do(recorder, caplog):
    execution = begin(write(block("one"), block("two"), _say("last", on_failure="rollback")), ANALYST)
    ids = {step.name: str(step.id) for step in execution.steps.all()}

    def fail(order):
        if order.action == "notify" or order.key == f"{ids['two']}-undo":
            raise OSError("down")

    recorder.before = fail
    work_off()
    assert now(execution).status == "failed"
    assert "NOT UNDONE, undo by hand: two" in execution.summary
    assert any(line.startswith("To do by hand: undo two (Block IP on 198.51.100.7)") for line in _lines(execution))
    left = CaseTask.objects.get(case=execution.case)
    assert (left.title, left.created_by) == ("By hand: undo two (Block IP on 198.51.100.7)", "playbooks")
    assert "playbook_rollback_failed" in caplog.text
    assert execution.steps.get(name="one").undo == "completed"


@pytest.mark.parametrize(
    ("on_failure", "status", "second"),
    [("stop", "failed", "cancelled"), ("continue", "completed", "completed"), ("rollback", "rolled_back", "cancelled")],
)
def test_what_a_failure_means_is_the_authors_to_say(recorder, on_failure, status, second):
    execution = begin(write(_say("first", on_failure=on_failure), block("second")), ANALYST)
    recorder.before = lambda order: (_ for _ in ()).throw(OSError("down")) if order.action == "notify" else None
    work_off()
    assert (now(execution).status, statuses(execution)["second"]) == (status, second)
    assert execution.steps.get(name="first").error == "OSError: down"


def test_branches_run_side_by_side_and_join(recorder):
    branches = {"parallel": [[_say("left")], [_say("right"), _say("further")]]}
    playbook = authoring.write_playbook(
        definition=authoring.defined({"name": "fork", "steps": [branches, _say("join")]})[0], source="", actor=ANALYST
    )
    execution = begin(playbook, ANALYST)
    assert statuses(execution) == {"left": "queued", "right": "queued", "further": "pending", "join": "pending"}
    work_off()
    assert [order.parameters["text"] for order in recorder.told][-1] == "join"
    assert len(recorder.effects) == 4


def test_a_step_whose_condition_does_not_hold_is_skipped(recorder):
    execution = begin(write(_say("night", condition="is_ot"), _say("day", condition='severity >= "high"')), ANALYST)
    work_off()
    assert statuses(execution) == {"night": "skipped", "day": "completed"}


def test_later_steps_see_what_earlier_ones_came_to(recorder):
    say = _say("tell", parameters={"text": "{{ results.block.status }} by {{ results.block.connector }}"})
    begin(write(block(), say), ANALYST)
    work_off()
    assert recorder.told[-1].parameters["text"] == "completed by recorder"


def test_without_a_connector_nothing_is_pretended():
    execution = begin(
        write({"name": "scan", "action": "run_scan", "parameters": {"hosts": ["ws-1"]}}, block()), ANALYST
    )
    work_off()
    assert statuses(execution) == {"scan": "not_configured", "block": "completed"}
    assert "not configured: scan" in now(execution).summary
    assert "No connector serves Run scan: nothing was done" in "".join(_lines(execution))


def test_a_dry_run_shows_what_would_happen_and_does_nothing(recorder):
    isolate = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": "{{ alert.hosts }}"}}
    alert = make_alert(affected_assets=["dc-01"], iocs=["198.51.100.7"])
    execution = begin(write(isolate, block()), ANALYST, alert_id=alert.id, dry_run=True)
    work_off()
    would = execution.steps.get(name="isolate").result["would"]
    assert (now(execution).status, recorder.told, Approval.objects.count(), Case.objects.count()) == (
        "completed",
        [],
        0,
        0,
    )
    assert (would["parameters"], would["connector"]) == ({"hosts": ["dc-01"]}, "recorder")
    assert would["approval"] == {"people": 1, "reason": "its risk is high"}


def test_an_installation_that_keeps_no_changes_rehearses_only(recorder, settings):
    settings.MODE = "dry_run"
    execution = begin(write(block()), ANALYST)
    work_off()
    assert (execution.dry_run, recorder.told, now(execution).status) == (True, [], "completed")


def test_a_run_keeps_the_version_it_began_with(recorder):
    playbook = write(_say("old"))
    execution = begin(playbook, ANALYST)
    authoring.edit_playbook(playbook_id=playbook.id, changes={"steps": [_say("new")]}, actor=ANALYST)
    work_off()
    assert statuses(execution) == {"old": "completed"}
    assert statuses(begin(playbook, ANALYST)) == {"new": "queued"}


def _die_after(execution, name):
    """A worker takes the step up and is killed before it can write how it went."""
    step = execution.steps.get(name=name)
    claim = engine._take_up(step.id, undo=bool(step.undo))
    assert claim is not None
    return claim


def test_a_step_whose_worker_died_is_done_by_another_under_the_same_key(recorder):
    execution = begin(write(block()), ANALYST)
    [(step_id, _)] = waiting()
    engine._outcome_of(_die_after(execution, "block"))
    with pytest.raises(Unavailable):
        engine.run_step(step_id=step_id)
    ExecutionStep.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    engine.run_step(step_id=step_id)
    assert now(execution).status == "completed"
    assert recorder.times() == {step_id: 2}
    assert recorder.effects == [step_id]


def test_a_worker_that_comes_back_too_late_changes_nothing(recorder, caplog):
    execution = begin(write(block()), ANALYST)
    late = _die_after(execution, "block")
    ExecutionStep.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    work_off()
    engine._settle(late, connectors.Outcome("failed", error="I was away"))
    assert statuses(execution) == {"block": "completed"}
    assert "playbook_lease_lost" in caplog.text


def test_a_message_that_comes_twice_has_one_effect(recorder):
    execution = begin(write(block()), ANALYST)
    [(step_id, undo)] = waiting()
    for _ in range(3):
        engine.run_step(step_id=step_id, undo=undo)
    assert recorder.times() == {step_id: 1}
    assert now(execution).status == "completed"


def test_what_was_begun_is_finished_though_its_condition_no_longer_holds(recorder, settings):
    execution = begin(write(_say("only", condition='case["status"] == "open"')), ANALYST)
    _die_after(execution, "only")
    Case.objects.update(status="in_progress")
    ExecutionStep.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    work_off()
    assert statuses(execution) == {"only": "completed"}


def test_a_cancelled_run_begins_nothing_more(recorder):
    execution = begin(write(block("one"), block("two")), ANALYST)
    claim = _die_after(execution, "one")
    executions.cancel(execution_id=execution.id, actor=ANALYST)
    assert now(execution).status == "running"
    engine._settle(claim, engine._outcome_of(claim))
    assert (now(execution).status, statuses(execution)["two"]) == ("cancelled", "cancelled")
    work_off()
    assert len(recorder.effects) == 1
    with pytest.raises(Conflict):
        executions.cancel(execution_id=execution.id, actor=ANALYST)


def test_a_run_that_is_cancelled_with_rollback_undoes_what_it_did(recorder):
    execution = begin(write(block("one"), _say("two")), ANALYST)
    [(step_id, _)] = waiting()
    engine.run_step(step_id=step_id)
    executions.cancel(execution_id=execution.id, rollback=True, actor=ANALYST)
    work_off()
    assert now(execution).status == "rolled_back"
    assert recorder.effects == [step_id, f"{step_id}-undo"]


def test_a_paused_run_waits_until_it_is_resumed(recorder):
    execution = begin(write(_say("one"), _say("two")), ANALYST)
    executions.pause(execution_id=execution.id, actor=ANALYST)
    work_off()
    assert recorder.told == []
    with pytest.raises(Invalid):
        executions.pause(execution_id=execution.id, actor=ANALYST)
    executions.resume(execution_id=execution.id, actor=ANALYST)
    work_off()
    assert now(execution).status == "completed"


def _isolation(name="isolate", host="ws-1"):
    return {"name": name, "action": "isolate_host", "parameters": {"hosts": [host]}}


@pytest.fixture
def _unasked(monkeypatch):
    """Isolations that need nobody's approval: these tests are about what happens at once."""
    monkeypatch.setattr("agents.playbooks.approvals.is_granted", lambda *_: True)


@pytest.mark.usefixtures("_unasked")
def test_one_isolation_is_in_flight_at_a_site(recorder):
    playbook = write(_isolation(host="{{ parameters.host }}"))
    first, second = (begin(playbook, ANALYST, case_id=make_case().id, parameters={"host": host}) for host in ("a", "b"))
    claim = _die_after(first, "isolate")
    [postponed] = work_off()[1:]
    step = second.steps.get()
    assert (postponed[0], step.status, step.note) == (str(step.id), "queued", "Waits for another run's “Isolate host”")
    engine._settle(claim, engine._outcome_of(claim))
    engine.run_step(step_id=step.id)
    assert now(second).status == "completed"
    assert not ActionSlot.objects.exists()


@pytest.mark.usefixtures("_unasked")
def test_a_host_is_isolated_by_one_run_at_a_time_until_that_run_has_ended(recorder):
    first = begin(write(_isolation(), _say("then")), ANALYST)
    [(isolation, _)] = waiting()
    engine.run_step(step_id=isolation)
    second = begin(write(_isolation(host="WS-1"), name="other"), ANALYST)
    step = second.steps.get()
    with pytest.raises(Unavailable, match="let go of ws-1"):
        engine.run_step(step_id=step.id)
    work_off()
    assert now(first).status == "completed"
    engine.run_step(step_id=step.id)
    assert now(second).status == "completed"


@pytest.mark.usefixtures("_unasked")
def test_what_waits_in_vain_fails_in_the_end(recorder):
    first = begin(write(_isolation()), ANALYST)
    _die_after(first, "isolate")
    second = begin(write(_isolation(host="ws-2"), name="other"), ANALYST)
    second.steps.update(queued_at=timezone.now() - timedelta(hours=1))
    engine.run_step(step_id=second.steps.get().id)
    assert (now(second).status, second.steps.get().error) == (
        "failed",
        "Waited in vain for another run's “Isolate host”",
    )


def test_a_connector_is_given_as_many_calls_at_once_as_it_bears(recorder):
    Connector.objects.filter(name="recorder").update(max_in_flight=1)
    playbook = write(_say("tell"))
    first, second = begin(playbook, ANALYST), begin(playbook, ANALYST)
    claim = _die_after(first, "tell")
    with pytest.raises(Unavailable, match="a free call of recorder"):
        engine.run_step(step_id=second.steps.get().id)
    engine._settle(claim, engine._outcome_of(claim))
    engine.run_step(step_id=second.steps.get().id)
    assert now(second).status == "completed"


def test_attempts_are_made_as_often_as_the_author_says(recorder):
    tries = iter([OSError("1"), OSError("2"), None])

    def fail(order):
        if error := next(tries):
            raise error

    recorder.before = fail
    execution = begin(write(_say("tell", retry={"attempts": 3, "base_seconds": 0})), ANALYST)
    work_off()
    assert (now(execution).status, len(recorder.told), len(recorder.effects)) == ("completed", 3, 1)


def test_a_lost_step_is_announced_again_once(recorder):
    execution = begin(write(block()), ANALYST)
    OutboxEvent.objects.all().delete()
    assert recovery.recover() == 0
    execution.steps.update(queued_at=timezone.now() - timedelta(hours=1))
    assert recovery.recover() == 1
    assert recovery.recover() == 0
    work_off()
    assert now(execution).status == "completed"


def test_a_lost_rollback_is_announced_again(recorder):
    execution = begin(write(block(), _say("two")), ANALYST)
    [(step_id, _)] = waiting()
    engine.run_step(step_id=step_id)
    executions.cancel(execution_id=execution.id, rollback=True, actor=ANALYST)
    OutboxEvent.objects.all().delete()
    execution.steps.update(queued_at=timezone.now() - timedelta(hours=1))
    assert recovery.recover() == 1
    work_off()
    assert now(execution).status == "rolled_back"


def test_a_step_that_no_worker_can_finish_is_ended(recorder):
    execution = begin(write(block()), ANALYST)
    engine.give_up(step_id=execution.steps.get().id, undo=False, error="its workers died")
    assert (now(execution).status, execution.steps.get().error) == (
        "failed",
        "No worker could finish it: its workers died",
    )


def test_who_may_not_execute_does_not():
    with pytest.raises(Denied, match="playbooks:execute"):
        begin(write(block()), VIEWER)


def test_what_cannot_be_run_is_refused():
    playbook = write(block())
    with pytest.raises(Missing):
        executions.execute(playbook_id=new_id(), case_id=make_case().id, actor=ANALYST)
    with pytest.raises(Missing):
        begin(playbook, ANALYST, case_id=new_id())
    with pytest.raises(Invalid):
        executions.execute(playbook_id=playbook.id, actor=ANALYST)
    with pytest.raises(Conflict, match="closed"):
        begin(playbook, ANALYST, case_id=make_case(status="closed").id)
    authoring.edit_playbook(playbook_id=playbook.id, changes={"enabled": False}, actor=ANALYST)
    with pytest.raises(Conflict, match="disabled"):
        begin(playbook, ANALYST)


def test_internal_addresses_and_public_resolvers_are_never_blocked():
    execution = begin(
        write(block(parameters={"targets": ["10.0.0.5", "8.8.8.8", "evil.example", "gibberish"]})), ANALYST
    )
    work_off()
    assert list(in_force().values_list("value", flat=True)) == ["evil.example"]
    assert execution.steps.get().result["passed_over"] == ["10.0.0.5", "8.8.8.8", "gibberish"]


def test_beginning_a_run_is_audited_and_in_the_cases_timeline(recorder):
    execution = begin(write(block()), ANALYST)
    assert AuditEntry.objects.get(action="playbook.executed").actor == "ana"
    work_off()
    assert _lines(execution)[-3:] == [
        "Playbook drill v1 started by ana",
        "block (Block IP) completed: 198.51.100.7",
        "Playbook drill completed: 1 of 1 steps completed",
    ]


def test_what_people_read_of_a_run_is_in_words():
    """A playbook's title and what its steps do, as the console writes them: raw names are for programs."""
    book = Playbook.objects.get(name="malware_response")
    execution = begin(book, ANALYST)
    work_off()
    approvals.approve(approval_id=Approval.objects.get().id, actor=person("lea"), reason="seen")
    work_off()
    told = "\n".join(_lines(execution))
    for part in ("Playbook Malware response v1 started", "isolate (Isolate host) approved", "serves Isolate host"):
        assert part in told
    assert BlocklistEntry.objects.get().reason.startswith("Malware response E-")
    assert not [name for name in (*ACTIONS, book.name) if "_" in name and name in told]


def _empty_handed(**more):
    """A run over an alert that names no host and no account."""
    return begin(
        Playbook.objects.get(name="malware_response"), ANALYST, alert_id=make_alert(severity="high").id, **more
    )


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_step_with_nothing_to_act_on_is_skipped_and_nobody_is_asked(recorder, dry_run):
    execution = _empty_handed(dry_run=dry_run)
    work_off()
    assert (now(execution).status, Approval.objects.exists()) == ("completed", False)
    assert statuses(execution) == {"isolate": "skipped", "scan": "skipped", "block": "skipped", "report": "completed"}
    assert execution.steps.get(name="isolate").result == {"reason": engine.NOTHING_TO_DO}
    assert [order.action for order in recorder.told] == ([] if dry_run else ["notify"])
    assert execution.summary == "1 of 4 steps completed; skipped: isolate, scan, block"


def test_the_timeline_says_why_a_step_was_skipped(recorder):
    execution = _empty_handed()
    work_off()
    told = "\n".join(_lines(execution))
    assert "isolate (Isolate host) skipped: there is nothing to act on" in told
    assert 'block (Block IP) skipped: not so: alert["network"] != []' in told


@pytest.mark.usefixtures("_unasked")
@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"hosts": ["", None, " "]}, "skipped"),
        ({"host": ""}, "skipped"),
        ({"hosts": [], "host": "ws-1"}, "completed"),
        ({"segment": "plant-3"}, "completed"),
        ({}, "completed"),
    ],
)
def test_what_names_no_target_by_name_is_its_connectors_to_understand(recorder, parameters, status):
    execution = begin(write({"name": "isolate", "action": "isolate_host", "parameters": parameters}), ANALYST)
    work_off()
    assert statuses(execution) == {"isolate": status}


def test_an_account_among_the_assets_is_no_host_to_be_isolated(recorder):
    accounts = {"affected_assets": ["j.doe", "ws-12", "svc@corp.example", "10.0.0.7"], "users": ["j.doe"]}
    signed_in = {"asset_type": "identity", "affected_assets": ["kim"]}
    case = make_case(alerts=[make_alert(**accounts), make_alert(**signed_in)])
    known = begin(Playbook.objects.get(name="malware_response"), ANALYST, case_id=case.id).facts["alert"]
    assert sorted(known["hosts"]) == ["10.0.0.7", "ws-12"]
    assert sorted(known["users"]) == ["j.doe", "kim", "svc@corp.example"]


def test_the_trail_tells_how_things_stood_before_somebody_took_a_hand():
    book = write(block())
    execution = begin(book, ANALYST)
    executions.pause(execution_id=execution.id, actor=ANALYST)
    executions.resume(execution_id=execution.id, actor=ANALYST)
    executions.cancel(execution_id=execution.id, actor=ANALYST)
    authoring.edit_playbook(playbook_id=book.id, changes={"enabled": False}, actor=ANALYST)
    entries = AuditEntry.objects.filter(target_id__in=[str(execution.id), str(book.id)]).order_by("id")
    told = {entry.action: (entry.before, entry.after) for entry in entries}
    assert told["execution.paused"] == ({"is_paused": False}, {"is_paused": True})
    assert told["execution.resumed"] == ({"is_paused": True}, {"is_paused": False})
    assert told["execution.cancelled"] == ({"status": "queued"}, {"rollback": False})
    assert told["playbook.disabled"] == ({"enabled": True}, {"enabled": False})
