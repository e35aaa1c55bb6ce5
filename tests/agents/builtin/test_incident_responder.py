"""The playbook that fits, and the plan."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agents.playbooks.catalog import ACTIONS, PLAYBOOKS
from tests.agents.builtin.world import C2, DROP, ask, case_of, intrusion, investigate
from tests.factories import NOW, make_alert, make_ioc

pytestmark = pytest.mark.django_db


def _respond(alert, **options):
    return ask("incident_responder", alert=alert, **options)


def _chosen(**fields):
    playbook = _respond(make_alert(**fields)).data["playbook"]
    return playbook and playbook["name"]


def _steps(answer, action):
    return [row for row in answer.data["plan"] if row["action"] == action]


@pytest.mark.parametrize(
    ("playbook", "fields"),
    [
        ("malware_response", {"mitre_techniques": ["T1071.001", "T1059.001"], "title": "Trojan checks in"}),
        ("phishing_response", {"mitre_techniques": ["T1566.002"], "category": "email"}),
        ("ransomware_emergency", {"mitre_techniques": ["T1486"]}),
        ("ransomware_emergency", {"mitre_techniques": ["T1490"], "title": "vssadmin deletes shadow copies"}),
        ("brute_force_mitigation", {"mitre_techniques": ["T1110.001"], "count": 7}),
        ("data_exfiltration", {"mitre_techniques": ["T1048.002"]}),
        ("cps_anomaly", {"category": "cps", "asset_type": "cps_controller"}),
    ],
)
def test_each_playbook_is_chosen_by_its_trigger(playbook, fields):
    assert _chosen(severity="high", **fields) == playbook


def test_no_playbook_is_forced_upon_an_alert_without_signs_of_any():
    answer = _respond(make_alert(severity="low", affected_assets=["ws-01"]))
    assert answer.data["playbook"] is None
    assert "No playbook fits" in answer.summary
    assert [row["action"] for row in answer.data["plan"]] == ["notify"]


def test_fewer_than_five_failed_log_ins_are_no_brute_force():
    assert _chosen(mitre_techniques=["T1110.001"], count=3) is None


def test_the_runner_up_is_named_with_its_reasons():
    answer = _respond(
        make_alert(mitre_techniques=["T1566.002", "T1204.002", "T1059.001"], category="email", severity="high")
    )
    assert answer.data["playbook"]["name"] == "phishing_response"
    assert answer.data["runner_up"]["name"] == "malware_response"
    assert "Malware response" in answer.summary


def test_the_plan_uses_only_known_actions_and_names_risk_and_way_back():
    answer = investigate(alert=intrusion().beacon)["incident_responder"]
    for row in answer.data["plan"]:
        action = ACTIONS[row["action"]]
        assert (row["risk"], row["is_reversible"], row["undo"]) == (action.risk, action.is_reversible, action.undo)
    assert [row["order"] for row in answer.data["plan"]] == list(range(1, len(answer.data["plan"]) + 1))


def test_the_hunts_hosts_accounts_and_addresses_are_contained():
    answer = investigate(alert=intrusion().move)["incident_responder"]
    assert {"ws-hr-02", "fs-01"} <= {row["target"] for row in _steps(answer, "isolate_host")}
    assert "svc-backup" in {row["target"] for row in _steps(answer, "disable_user")}
    assert DROP in {row["target"] for row in _steps(answer, "block_ip")}


def test_evidence_is_kept_before_anything_is_touched():
    answer = investigate(alert=intrusion().beacon)["incident_responder"]
    actions = [row["action"] for row in answer.data["plan"]]
    assert answer.data["first"]["action"] == actions[0] == "collect_forensics"
    assert max(n for n, name in enumerate(actions) if name == "collect_forensics") < actions.index("isolate_host")
    assert any("ws-hr-02" in line for line in answer.data["keep_before"])


def test_under_ransomware_isolation_comes_first():
    alert = make_alert(severity="critical", mitre_techniques=["T1486"], affected_assets=["fs-01"])
    answer = _respond(alert)
    assert answer.data["first"]["action"] == "isolate_host"
    assert answer.data["first"]["target"] == "fs-01"


def test_isolating_and_disabling_always_need_approval():
    answer = investigate(alert=intrusion().move)["incident_responder"]
    risky = _steps(answer, "isolate_host") + _steps(answer, "disable_user")
    assert risky
    assert all(row["people"] == 1 for row in risky)
    assert set(map(str, risky)) <= set(map(str, answer.data["actions_needing_approval"]))


@pytest.mark.parametrize(("host", "people"), [("ws-hr-02", 0), ("dc-01", 1)])
def test_blocking_an_address_asks_only_for_critical_assets(host, people):
    bad = make_ioc(C2, source="abuse.ch", confidence=0.95)
    answer = _respond(
        make_alert(iocs=[bad], affected_assets=[host], severity="high", title="Trojan", mitre_techniques=["T1059"])
    )
    [block] = _steps(answer, "block_ip")
    assert block["people"] == people


def test_the_playbook_itself_may_ask_for_what_its_risk_would_not():
    alert = make_alert(
        severity="high", mitre_techniques=["T1048.002"], iocs=[DROP], affected_assets=["ws-hr-02"],
    )  # fmt: skip
    [block] = _steps(_respond(alert), "block_ip")
    assert (block["people"], "Data exfiltration" in block["approval_reason"]) == (1, True)


def test_stolen_certificates_take_two_people():
    alert = make_alert(severity="high", mitre_techniques=["T1649"], users=["jdoe"], affected_assets=["ca-01"])
    [step] = _steps(_respond(alert), "revoke_certificate")
    assert (step["people"], step["is_reversible"]) == (2, False)


def test_a_benign_address_is_not_blocked():
    known = make_ioc(C2, status="false_positive")
    answer = _respond(
        make_alert(iocs=[known], severity="high", mitre_techniques=["T1071.001"], affected_assets=["ws-01"])
    )
    assert _steps(answer, "block_ip") == []


def test_a_host_that_was_only_scanned_is_not_isolated():
    answer = _respond(make_alert(severity="high", mitre_techniques=["T1595.001"], affected_assets=["web-01"]))
    assert _steps(answer, "isolate_host") == []


def test_domains_and_urls_go_to_the_block_list():
    bad = make_ioc("evil.example", source="abuse.ch", confidence=0.95)
    answer = _respond(make_alert(iocs=[bad], severity="high", mitre_techniques=["T1566.002"], category="email"))
    [step] = _steps(answer, "enrich_ioc")
    assert (step["target"], "block list" in step["why"]) == ("evil.example", True)


def test_assets_come_with_criticality_and_its_reason():
    alert = make_alert(severity="high", mitre_techniques=["T1003.001"], affected_assets=["dc-01", "ws-hr-02"])
    assets = {row["asset"]: row for row in _respond(alert).data["assets"]}
    assert (assets["dc-01"]["level"], assets["dc-01"]["role"]) == ("critical", "domain controller")
    assert assets["ws-hr-02"]["level"] == "ordinary"


def test_nothing_is_claimed_to_have_been_done():
    assert _respond(intrusion().beacon).data["actions_taken"] == []


def test_the_timeline_is_in_order_with_sources():
    story = intrusion()
    timeline = ask("incident_responder", case=case_of(story.alerts)).data["timeline"]
    assert [row["at"] for row in timeline] == sorted(row["at"] for row in timeline)
    assert {row["source"] for row in timeline} == {"suricata", "wazuh"}


def test_alerts_judged_false_positives_are_not_acted_upon():
    good = make_alert(severity="high", affected_assets=["ws-01"], mitre_techniques=["T1059.001"])
    wrong = make_alert(
        severity="high", affected_assets=["ws-02"], mitre_techniques=["T1059.001"], status="false_positive",
        first_seen=NOW + timedelta(minutes=1),
    )  # fmt: skip
    answer = _respond(good, case=case_of([good, wrong]))
    assert "ws-02" not in str(answer.data["plan"])


def test_the_steps_of_the_chosen_playbook_are_told():
    steps = _respond(make_alert(severity="high", mitre_techniques=["T1486"])).data["playbook"]["steps"]
    assert [step["name"] for step in steps] == [step.name for step in PLAYBOOKS["ransomware_emergency"].steps]


def test_an_account_is_disabled_and_never_isolated_as_if_it_were_a_host():
    cloud = make_alert(
        severity="high",
        asset_type="cloud_resource",
        users=["ci-bot"],
        mitre_techniques=["T1098.001"],
        affected_assets=["arn:aws:iam::123456789012:user/ci-bot"],
    )
    login = make_alert(severity="high", asset_type="identity", users=["j.doe"], mitre_techniques=["T1078.004"],
                       affected_assets=["j.doe"])  # fmt: skip
    for alert, account in ((cloud, "ci-bot"), (login, "j.doe")):
        answer = _respond(alert)
        assert _steps(answer, "isolate_host") == _steps(answer, "collect_forensics") == []
        [step] = _steps(answer, "disable_user")
        assert (step["target"], step["people"]) == (account, 1)


def test_isolating_a_domain_controller_says_what_it_costs():
    answer = _respond(make_alert(severity="critical", affected_assets=["dc-01"], mitre_techniques=["T1486"]))
    [step] = _steps(answer, "isolate_host")
    assert "log-ins of its domain fail" in step["why"]
    assert step["people"] == 1


def test_a_controller_of_a_plant_is_quarantined_with_an_approval_and_verified_without_probing():
    answer = _respond(
        make_alert(severity="high", category="cps", asset_type="cps_controller", affected_assets=["plc-1"])
    )
    assert [row["action"] for row in answer.data["plan"]] == ["isolate_host", "run_scan", "notify"]
    quarantine, verify, _ = answer.data["plan"]
    assert quarantine["people"] == verify["people"] == 1
    assert "operators" in quarantine["why"]
    assert "not by probing" in verify["why"]


@pytest.mark.parametrize(
    "value",
    [
        "8.8.8.8",
        "10.0.0.53",
        "mail.corp.example",
        "http://web-01.corp.example/a",
        "http://a[b@web-01.corp.example/",
        "files.corp.example",
    ],
)
def test_what_is_ours_or_everybodys_is_not_blocked(value):
    alert = make_alert(
        severity="high", mitre_techniques=["T1071.004", "T1566.002"], iocs=[value],
        affected_assets=["files.corp.example", "j.doe@corp.example"],
    )  # fmt: skip
    answer = _respond(alert)
    assert _steps(answer, "block_ip") == []
    assert not any("hostile" in row["why"] for row in answer.data["plan"])


def test_a_name_that_is_made_to_look_like_ours_is_acted_on():
    alert = make_alert(
        severity="high", mitre_techniques=["T1071.001"], iocs=["fs-01.evil.example"], affected_assets=["fs-01"]
    )
    assert [row["target"] for row in _steps(_respond(alert), "enrich_ioc")] == ["fs-01.evil.example"]


@pytest.mark.parametrize(
    ("technique", "value", "action"),
    [
        ("T1110.001", "198.51.100.9", "block_ip"),
        ("T1190", "198.51.100.9", "block_ip"),
        ("T1566.002", "http://login.evil.example/a", "enrich_ioc"),
    ],
)
def test_the_place_that_an_entry_came_from_is_cut_off(technique, value, action):
    answer = _respond(
        make_alert(severity="high", iocs=[value], mitre_techniques=[technique], affected_assets=["web-01"])
    )
    [step] = _steps(answer, action)
    assert (step["target"], "from it" in step["why"] or "mail names it" in step["why"]) == (value, True)


def test_the_playbook_follows_what_the_leading_alert_is_about_and_not_its_surroundings():
    story = intrusion()
    egress = make_alert(title="EgressVolumeHigh", severity="critical", source="alertmanager", iocs=[DROP],
                        affected_assets=["10.10.2.21"], first_seen=story.theft.first_seen)  # fmt: skip
    assert investigate(alert=egress)["incident_responder"].data["playbook"]["name"] == "data_exfiltration"


def test_an_alert_that_names_nothing_is_told_to_whoever_runs_its_sensor():
    [step] = _respond(make_alert(severity="high", source="zabbix")).data["plan"]
    assert step["target"] == "whoever runs the sensor zabbix"


def test_a_backup_that_goes_on_while_its_account_is_guessed_at_is_no_use_of_stolen_credentials():
    story = intrusion()
    make_alert(severity="info", affected_assets=["10.10.5.51", "fs-01"], users=["svc-backup"], source="wazuh",
               mitre_techniques=["T1078.002"], first_seen=story.move.first_seen)  # fmt: skip
    answer = investigate(alert=story.dump)["incident_responder"]
    assert "10.10.5.51" not in {row["target"] for row in answer.data["plan"]}
