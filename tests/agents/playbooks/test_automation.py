"""Rules: what sets them off, what holds them back, that none runs twice for an alert, and who may then decide."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from agents.playbooks import approvals, authoring, automation
from agents.playbooks.models import Approval, AutomationRule, Execution
from agents.playbooks.workers import AutomationWorker
from aurora.actors import Actor
from aurora.bus.streams import Message
from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.ids import new_id
from aurora.models import AuditEntry
from cases.models import Alert
from tests.agents.playbooks.stage import begin, block, now, person, work_off, write
from tests.cast import ANALYST, VIEWER, ApiClient
from tests.console_pages import signed_in, text_of
from tests.factories import make_alert

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

ISOLATE = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": "{{ alert.hosts }}"}}
BLOCK = {"name": "block", "action": "block_ip", "parameters": {"targets": "{{ alert.network }}"}}


def _rule(condition="True", steps=(BLOCK,), name="rule", actor: Actor = ANALYST, **changes: Any) -> AutomationRule:
    playbook = write(*steps, name=f"book-of-{name}")
    return automation.write_rule(
        name=name, playbook_id=playbook.id, condition=condition, actor=actor, changes={"enabled": True} | changes
    )


def _arrives(alert: Alert | None = None, at: datetime | None = None, **fields: Any) -> list[Execution]:
    found = alert or make_alert(**{"affected_assets": ["ws-12"], "iocs": ["198.51.100.7"]} | fields)
    return automation.respond(alert_id=found.pk, arrived_at=at or timezone.now())


# ---- what sets a rule off


def test_an_alert_of_the_kind_begins_the_playbook_in_its_case():
    rule = _rule('severity == "high"')
    [execution] = _arrives(severity="high")
    work_off()
    assert now(execution).status == "completed"
    assert (execution.rule, execution.requested_by, execution.case is not None) == (rule, "rule rule", True)
    assert AuditEntry.objects.get(action="playbook.executed").actor == "rule rule"


@pytest.mark.parametrize(
    ("condition", "fields"),
    [
        ('severity >= "high"', {"severity": "critical"}),
        ('source == "wazuh"', {"source": "wazuh"}),
        ('category == "identity"', {"category": "identity"}),
        ('"T1110" in techniques', {"mitre_techniques": ["T1110.003"]}),
        ('"T1110.003" in techniques', {"mitre_techniques": ["T1110.003"]}),
        ('asset_criticality >= "high"', {"affected_assets": ["dc-01"]}),
        ("is_ot", {"asset_type": "cps_controller"}),
        ('"ws-12" in alert["hosts"]', {}),
    ],
)
def test_a_condition_speaks_of_the_alerts_kind(condition, fields):
    _rule(condition)
    assert len(_arrives(**fields)) == 1


@pytest.mark.parametrize(
    "condition",
    ['severity >= "critical"', 'source == "zeek"', '"T1566" in techniques', "is_ot", 'alert["hosts"] == []'],
)
def test_an_alert_of_another_kind_begins_nothing(condition):
    _rule(condition)
    assert _arrives(severity="high", source="suricata", mitre_techniques=["T1110"]) == []


def test_a_rule_is_off_until_somebody_switches_it_on():
    rule = automation.write_rule(name="r", playbook_id=write(block()).id, condition="True", actor=ANALYST)
    assert (rule.enabled, _arrives()) == (False, [])
    automation.edit_rule(rule_id=rule.id, changes={"enabled": True}, actor=ANALYST)
    assert len(_arrives()) == 1


def test_what_arrived_before_a_rule_was_switched_on_is_left_alone():
    _rule()
    assert _arrives(at=timezone.now() - timedelta(hours=1)) == []


def test_several_rules_each_begin_their_playbook():
    _rule(name="one"), _rule(name="two"), _rule('severity == "info"', name="three")
    assert {execution.rule.name for execution in _arrives() if execution.rule} == {"one", "two"}


def test_a_rule_may_rehearse():
    _rule(dry_run=True)
    [execution] = _arrives()
    work_off()
    assert (now(execution).status, execution.dry_run, execution.case) == ("completed", True, None)


# ---- what holds it back


def test_an_alert_that_comes_again_begins_nothing_again():
    _rule()
    alert = make_alert(affected_assets=["ws-12"])
    assert [len(_arrives(alert)) for _ in range(3)] == [1, 0, 0]


def test_a_playbook_runs_once_for_an_alert_though_two_rules_name_it():
    first = _rule(name="one")
    changes = {"enabled": True}
    automation.write_rule(name="two", playbook_id=first.playbook_id, condition="True", actor=ANALYST, changes=changes)
    assert len(_arrives()) == 1


def test_what_an_analyst_ran_by_hand_is_no_matter_of_rules():
    rule = _rule()
    alert = make_alert(affected_assets=["ws-12"])
    begin(rule.playbook, ANALYST, alert_id=alert.pk)
    begin(rule.playbook, ANALYST, alert_id=alert.pk)
    assert len(_arrives(alert)) == 1


def test_a_rule_begins_no_more_a_minute_than_it_may_and_counts_the_rest():
    rule = _rule(max_per_minute=2)
    begun = [len(_arrives(affected_assets=[f"ws-{number}"])) for number in range(5)]
    rule.refresh_from_db()
    assert (begun, rule.held_back) == ([1, 1, 0, 0, 0], 3)
    Execution.objects.update(created_at=timezone.now() - timedelta(seconds=61))
    assert len(_arrives(affected_assets=["ws-9"])) == 1


def test_the_echo_of_a_response_does_not_set_it_off_again():
    """An isolated host is a host that went away, of which the sensors tell."""
    rule = _rule(steps=(ISOLATE,))
    assert len(_arrives(affected_assets=["ws-12"], users=["jo"], iocs=[])) == 1
    assert _arrives(title="Agent disconnected", affected_assets=["WS-12"], iocs=[]) == []
    assert _arrives(title="Names nothing", affected_assets=[], iocs=[]) == []
    assert len(_arrives(title="Another host", affected_assets=["ws-12", "ws-13"], iocs=[])) == 1
    rule.refresh_from_db()
    assert rule.held_back == 2


def test_once_the_run_is_over_and_it_has_been_quiet_the_same_host_is_responded_to_again():
    _rule()
    [first] = _arrives()
    long_ago = timezone.now() - automation.QUIET - timedelta(seconds=1)
    Execution.objects.update(created_at=long_ago)
    assert _arrives() == []  # it has not ended
    Execution.objects.filter(pk=first.pk).update(status="completed")
    assert len(_arrives()) == 1


def test_a_condition_that_cannot_be_told_is_not_so_and_is_said():
    rule = _rule('alert["title"] > 5')
    other = _rule(name="other")
    assert [execution.rule for execution in _arrives()] == [other]
    rule.refresh_from_db()
    assert "cannot be told" in rule.error


def test_a_playbook_that_is_switched_off_is_not_run_and_the_rule_says_so():
    rule = _rule()
    authoring.edit_playbook(playbook_id=rule.playbook_id, changes={"enabled": False}, actor=ANALYST)
    assert _arrives() == []
    rule.refresh_from_db()
    assert "is disabled" in rule.error
    automation.edit_rule(rule_id=rule.id, changes={}, actor=ANALYST)
    assert automation.find(rule.id).error == ""


def test_an_alert_that_is_gone_begins_nothing():
    _rule()
    assert automation.respond(alert_id=new_id(), arrived_at=timezone.now()) == []


@pytest.mark.django_db(transaction=True)
def test_of_two_deliveries_at_once_one_begins_the_run(redis_client):
    authoring.ensure_library()
    _rule()
    alert, barrier = make_alert(affected_assets=["ws-12"]), threading.Barrier(2)

    def deliver():
        barrier.wait()
        _arrives(alert)
        connections.close_all()

    threads = [threading.Thread(target=deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Execution.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_bound_holds_for_alerts_that_arrive_at_once(redis_client):
    authoring.ensure_library()
    rule = _rule(max_per_minute=2)
    alerts, barrier = [make_alert(affected_assets=[f"ws-{number}"]) for number in range(5)], threading.Barrier(5)

    def deliver(alert):
        barrier.wait()
        _arrives(alert)
        connections.close_all()

    threads = [threading.Thread(target=deliver, args=(alert,)) for alert in alerts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rule.refresh_from_db()
    assert (Execution.objects.count(), rule.held_back) == (2, 3)


# ---- who decides


def test_whoever_says_what_a_rule_does_decides_nothing_that_it_asks(recorder):
    author, other = person("ana"), person("lea")
    _rule(steps=(ISOLATE,), actor=author)
    [execution] = _arrives()
    work_off()
    approval = Approval.objects.get(execution=execution)
    with pytest.raises(Denied, match="Whoever asked"):
        approvals.approve(approval_id=approval.id, actor=author)
    approvals.approve(approval_id=approval.id, actor=other)
    work_off()
    assert now(execution).status == "completed"


def test_whoever_changes_a_rule_answers_for_it(recorder):
    rule = _rule(steps=(ISOLATE,), actor=person("ana"))
    automation.edit_rule(rule_id=rule.id, changes={"max_per_minute": 9}, actor=person("lea"))
    [execution] = _arrives()
    assert execution.requester == "lea"


# ---- writing


def test_writing_a_rule_takes_the_right_to_run_playbooks():
    rule = _rule()
    for call in (
        lambda: automation.write_rule(name="x", playbook_id=rule.playbook_id, condition="True", actor=VIEWER),
        lambda: automation.edit_rule(rule_id=rule.id, changes={}, actor=VIEWER),
        lambda: automation.remove_rule(rule_id=rule.id, actor=VIEWER),
    ):
        with pytest.raises(Denied):
            call()


@pytest.mark.parametrize("condition", ["", "  ", "severity.upper()", "__import__('os')", "nobody == 1", "severity >"])
def test_what_is_no_condition_is_no_rule(condition):
    with pytest.raises(Invalid) as caught:
        _rule(condition)
    assert caught.value.problems[0]["loc"] == ["body", "condition"]


def test_a_rule_of_no_playbook_and_a_second_of_the_name_are_refused():
    with pytest.raises(Invalid, match="no such playbook"):
        automation.write_rule(name="x", playbook_id=new_id(), condition="True", actor=ANALYST)
    rule = _rule()
    with pytest.raises(Conflict):
        automation.write_rule(name="rule", playbook_id=rule.playbook_id, condition="True", actor=ANALYST)


def test_a_rule_that_is_removed_leaves_its_runs():
    rule = _rule()
    [execution] = _arrives()
    automation.remove_rule(rule_id=rule.id, actor=ANALYST)
    assert now(execution).rule is None
    with pytest.raises(Missing):
        automation.find(rule.id)


def test_every_change_of_a_rule_is_in_the_trail():
    rule = _rule()
    automation.edit_rule(rule_id=rule.id, changes={"enabled": False}, actor=ANALYST)
    automation.remove_rule(rule_id=rule.id, actor=ANALYST)
    actions = AuditEntry.objects.filter(action__startswith="rule.").order_by("id")
    assert [entry.action for entry in actions] == ["rule.created", "rule.changed", "rule.removed"]
    assert (actions[1].before["enabled"], actions[1].after["enabled"]) == (True, False)


def test_a_preview_counts_and_begins_nothing():
    rule = _rule('severity == "high"')
    make_alert(severity="high", title="This one"), make_alert(severity="low")
    found = automation.preview(rule)
    assert (found["looked_at"], found["matching"], found["examples"][0]["title"]) == (2, 1, "This one")
    assert Execution.objects.count() == 0


def test_rules_over_the_api(redis_client):
    analyst, playbook = ApiClient("analyst"), write(block())
    body = {"name": "brute force", "playbook_id": str(playbook.id), "condition": 'severity >= "high"'}
    made = analyst.call("POST", "/automation-rules", body)
    assert (made.status_code, made.json()["enabled"]) == (201, False)
    path = f"/automation-rules/{made.json()['id']}"
    assert analyst.call("PATCH", path, {"enabled": True}).json()["enabled"] is True
    assert analyst.call("GET", f"{path}/preview").json()["matching"] == 0
    assert analyst.call("GET", "/automation-rules").json()["total"] == 1
    assert analyst.call("POST", "/automation-rules", body).status_code == 409
    assert analyst.call("PATCH", path, {"condition": "a.b"}).status_code == 400
    assert ApiClient("viewer").call("PATCH", path, {"enabled": False}).status_code == 403
    assert analyst.call("DELETE", path).status_code == 204
    assert analyst.call("GET", path).status_code == 404


# ---- the worker


def _message(kind: str, data: dict[str, Any], timestamp: str = "") -> Message:
    stamp = timestamp or timezone.now().isoformat()
    return Message("aurora:alerts", "1-0", str(new_id()), kind, stamp, data, "")


@pytest.mark.parametrize(
    ("kind", "data", "does"),
    [
        ("alert.created", {}, True),
        ("alert.updated", {"is_raised": True}, True),
        ("alert.updated", {}, False),
    ],
)
def test_new_alerts_and_graver_ones_concern_the_worker(kind, data, does):
    assert AutomationWorker().concerns(_message(kind, data)) is does


def test_the_worker_begins_what_the_rules_say():
    _rule()
    alert = make_alert(affected_assets=["ws-12"])
    AutomationWorker().handle(_message("alert.created", {"id": str(alert.pk)}))
    assert Execution.objects.count() == 1


def test_a_message_of_no_alert_is_refused():
    with pytest.raises(Invalid):
        AutomationWorker().handle(_message("alert.created", {"id": "7"}))


# ---- the console


def test_a_rule_is_written_looked_at_and_switched_in_the_console():
    client, playbook = signed_in("analyst"), write(block())
    form = {"name": "loud", "playbook": str(playbook.pk), "condition": 'severity == "high"', "max_per_minute": "3"}
    make_alert(severity="high", title="It would be for this <b>one</b>")
    shown = client.post("/admin/agents/automationrule/add/", form, follow=True)
    page = text_of(shown)
    assert "It would be for this &lt;b&gt;one&lt;/b&gt;" in page
    rule = AutomationRule.objects.get()
    assert (rule.enabled, rule.dry_run, rule.max_per_minute) == (False, False, 3)
    client.post(f"/admin/agents/automationrule/{rule.pk}/do/enable/")
    rule.refresh_from_db()
    assert rule.enabled
    assert "loud" in text_of(client.get("/admin/agents/automationrule/"))
    gone = client.post(f"/admin/agents/automationrule/{rule.pk}/do/remove/", follow=True)
    assert "Rule removed." in text_of(gone)


def test_a_rule_is_rewritten_in_its_form():
    client, rule = signed_in("analyst"), _rule()
    page = f"/admin/agents/automationrule/{rule.pk}/"
    assert f"{page}edit/" in text_of(client.get(f"{page}change/"))
    wanted = {"condition": 'severity == "low"', "max_per_minute": "7"}
    client.post(f"{page}edit/", wanted)
    rule.refresh_from_db()
    assert (rule.condition, rule.max_per_minute) == ('severity == "low"', 7)
    for wrong in ({"condition": "a.b"}, {"condition": " "}, {"max_per_minute": "0"}, {"max_per_minute": "x"}):
        shown = text_of(client.post(f"{page}edit/", wanted | wrong))
        assert 'role="alert"' in shown
    rule.refresh_from_db()
    assert (rule.condition, rule.max_per_minute) == ('severity == "low"', 7)


def test_the_form_says_what_is_wrong_with_a_condition():
    form = {"name": "x", "playbook": str(write(block()).pk), "condition": "a.b", "max_per_minute": "5"}
    answer = signed_in("analyst").post("/admin/agents/automationrule/add/", form)
    assert "A condition cannot hold Attribute" in text_of(answer)


def test_a_viewer_sees_rules_and_writes_none():
    client, rule = signed_in("viewer"), _rule()
    assert "/do/disable/" not in text_of(client.get(f"/admin/agents/automationrule/{rule.pk}/change/"))
    assert client.get("/admin/agents/automationrule/add/").status_code == 403
    assert client.post(f"/admin/agents/automationrule/{rule.pk}/do/disable/").status_code == 403
    assert client.get(f"/admin/agents/automationrule/{rule.pk}/edit/").status_code == 403
