"""The library's facts and the rules of approval."""

from __future__ import annotations

import pytest

from agents.playbooks.catalog import ACTIONS, PLAYBOOKS, Risk, approval_for


def test_the_eight_actions_are_there():
    assert set(ACTIONS) == {
        "isolate_host",
        "block_ip",
        "disable_user",
        "revoke_certificate",
        "run_scan",
        "collect_forensics",
        "enrich_ioc",
        "notify",
    }


def test_the_six_playbooks_ask_where_the_domain_says():
    asking = {name: [step.name for step in book.steps if step.asks] for name, book in PLAYBOOKS.items()}
    assert asking == {
        "malware_response": ["isolate"],
        "phishing_response": [],
        "ransomware_emergency": ["isolate all"],
        "brute_force_mitigation": ["reset credentials"],
        "data_exfiltration": ["block egress"],
        "cps_anomaly": ["quarantine segment"],
    }


def test_every_step_is_a_known_action():
    assert {step.action for book in PLAYBOOKS.values() for step in book.steps} <= set(ACTIONS)


def test_only_revoking_cannot_be_taken_back():
    assert [name for name, action in ACTIONS.items() if not action.is_reversible] == ["revoke_certificate"]
    assert all(action.undo for action in ACTIONS.values() if action.risk in (Risk.HIGH,))


@pytest.mark.parametrize(
    ("action", "ordinary", "critical"),
    [
        ("enrich_ioc", 0, 0),
        ("notify", 0, 0),
        ("collect_forensics", 0, 0),
        ("run_scan", 0, 1),
        ("block_ip", 0, 1),
        ("isolate_host", 1, 1),
        ("disable_user", 1, 1),
        ("revoke_certificate", 2, 2),
    ],
)
def test_risk_and_criticality_decide_how_many_people_have_to_agree(action, ordinary, critical):
    asked = [approval_for(action=action, is_target_critical=is_critical).people for is_critical in (False, True)]
    assert asked == [ordinary, critical]


def test_a_playbook_can_ask_for_more_than_the_risk_does():
    assert approval_for(action="block_ip", is_target_critical=False, playbook="data_exfiltration").people == 1
    assert approval_for(action="block_ip", is_target_critical=False, playbook="malware_response").people == 0
