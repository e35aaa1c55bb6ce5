"""The hunt: what hangs together, what it means, and silence where there is nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cases.models import AlertSighting
from tests.agents.builtin.world import C2, C2_NAME, DROP, SCANNER, ask, case_of, intrusion, noise
from tests.factories import NOW, make_alert

pytestmark = pytest.mark.django_db


def _hunt(alert):
    return ask("threat_hunter", alert=alert)


def _kinds(answer):
    return {one["kind"] for one in answer.data["hypotheses"]}


def _of_kind(answer, kind):
    return next(one for one in answer.data["hypotheses"] if one["kind"] == kind)


def _calls(count, *, minutes, **fields):
    """Single contacts of one host with one address, at the given minutes."""
    return [
        make_alert(
            title=f"TLS session {n}", iocs=[C2], affected_assets=["10.20.6.12"], severity="medium",
            first_seen=NOW + timedelta(minutes=minutes(n)), metadata={"src_ip": "10.20.6.12", "dest_ip": C2}, **fields,
        )
        for n in range(count)
    ]  # fmt: skip


def _merged(*, count, minute, **fields):
    """One alert with its repetitions, as intake merges them."""
    at = [NOW + timedelta(minutes=minute(n)) for n in range(count)]
    metadata = {"src_ip": "10.20.6.12", "dest_ip": C2}
    alert = make_alert(
        iocs=[C2], affected_assets=["10.20.6.12"], count=count, first_seen=at[0], last_seen=at[-1], metadata=metadata,
        **fields,
    )  # fmt: skip
    AlertSighting.objects.bulk_create(AlertSighting(alert=alert, seen_at=when, metadata=metadata) for when in at[1:])
    return alert


def test_an_isolated_low_alert_yields_no_hypothesis_and_says_so():
    noise()
    answer = _hunt(make_alert(severity="low", iocs=["192.0.2.200"], affected_assets=["ws-hr-09"]))
    assert answer.data["hypotheses"] == answer.output["findings"] == answer.data["gaps"] == []
    assert "stands alone" in answer.summary
    assert "no hypothesis" in answer.summary


def test_low_alerts_of_one_host_are_no_attack():
    alerts = [
        make_alert(
            severity="low",
            affected_assets=["ws-hr-09"],
            mitre_techniques=["T1595"],
            first_seen=NOW + timedelta(minutes=n),
        )
        for n in range(5)
    ]
    assert _kinds(_hunt(alerts[0])) == set()


def test_the_noise_of_a_day_is_silent():
    assert all(_kinds(_hunt(alert)) == set() for alert in noise(12))


def test_an_intrusion_is_found_from_its_beacon_and_told_from_the_noise():
    quiet = {str(alert.id) for alert in noise()}
    story = intrusion()
    answer = _hunt(story.beacon)
    assert _kinds(answer) >= {"beaconing", "lateral_movement", "stolen_credentials", "intrusion"}
    reached = {alert_id for one in answer.data["hypotheses"] for alert_id in one["alert_ids"]}
    assert not reached & quiet
    assert reached >= {str(alert.id) for alert in (story.macro, story.beacon, story.dump, story.move)}


@pytest.mark.parametrize("start", ["beacon", "dump", "move"])
def test_the_chain_is_in_order_of_time_and_names_hosts_users_and_tactics(start):
    chain = _hunt(getattr(intrusion(), start)).data["chain"]
    assert [link["at"] for link in chain] == sorted(link["at"] for link in chain)
    assert {"ws-hr-02", "fs-01"} <= {host for link in chain for host in link["hosts"]}
    assert "svc-backup" in {user for link in chain for user in link["users"]}
    assert "lateral-movement" in {tactic for link in chain for tactic in link["tactics"]}


def test_a_beacon_of_merged_contacts_is_told_with_its_mean_period():
    answer = _hunt(intrusion().beacon)
    beacon = _of_kind(answer, "beaconing")
    assert beacon["hosts"] == ["ws-hr-02"]
    assert {C2, C2_NAME} <= set(beacon["iocs"])
    [finding] = [one for one in answer.output["findings"] if "beaconing" in one["title"]]
    assert "one every 5.5 min on average" in finding["detail"]


def test_even_single_contacts_are_a_beacon_without_any_technique():
    first, *_ = _calls(8, minutes=lambda n: 10 * n)
    assert "even intervals" in str(_of_kind(_hunt(first), "beaconing")["terms"])


@pytest.mark.parametrize(("minute", "is_beacon"), [(lambda n: 5.5 * n + n % 2, True), (lambda n: 2.0**n / 4, False)])
def test_the_repetitions_of_one_alert_have_a_rhythm_of_their_own(minute, is_beacon):
    alert = _merged(count=10, minute=minute, severity="medium")
    assert ("beaconing" in _kinds(_hunt(alert))) is is_beacon


def test_the_rhythm_is_told_in_figures():
    answer = _hunt(_merged(count=10, minute=lambda n: 5 * n, severity="medium"))
    assert (
        "one every 5 min on average, 9 intervals spread by 0% of their mean" in answer.output["findings"][0]["detail"]
    )


def test_hosts_of_repetitions_are_callers_too():
    alert = _merged(count=10, minute=lambda n: 5 * n, severity="medium")
    AlertSighting.objects.filter(alert=alert).earliest("seen_at").delete()
    AlertSighting.objects.create(alert=alert, seen_at=NOW, metadata={"src_ip": "10.20.9.21"})
    assert set(_of_kind(_hunt(alert), "beaconing")["hosts"]) == {"10.20.6.12", "10.20.9.21"}


def test_uneven_contacts_without_a_technique_are_no_beacon():
    first, *_ = _calls(8, minutes=lambda n: n**3)
    assert "beaconing" not in _kinds(_hunt(first))


def test_two_contacts_are_no_beacon_even_with_a_technique():
    first, _ = _calls(2, minutes=lambda n: 30 * n, mitre_techniques=["T1071.001"])
    assert "beaconing" not in _kinds(_hunt(first))


def test_a_scanner_that_knocks_evenly_is_no_beacon():
    knocks = [
        make_alert(
            iocs=[SCANNER], affected_assets=["10.10.1.11"], first_seen=NOW + timedelta(minutes=10 * n),
            mitre_techniques=["T1595.001"], metadata={"src_ip": SCANNER, "dest_ip": "10.10.1.11"},
        )
        for n in range(8)
    ]  # fmt: skip
    assert "beaconing" not in _kinds(_hunt(knocks[0]))


def test_a_second_host_that_calls_the_same_address_is_counted():
    first, *_ = _calls(6, minutes=lambda n: 10 * n)
    make_alert(
        iocs=[C2], affected_assets=["10.20.9.21"], severity="medium", first_seen=NOW + timedelta(minutes=70),
        metadata={"src_ip": "10.20.9.21", "dest_ip": C2},
    )  # fmt: skip
    assert set(_of_kind(_hunt(first), "beaconing")["hosts"]) == {"10.20.6.12", "10.20.9.21"}


def test_lateral_movement_names_source_target_and_account():
    answer = _hunt(intrusion().move)
    movement = _of_kind(answer, "lateral_movement")
    assert movement["title"] == "Lateral movement ws-hr-02 → fs-01 as svc-backup"
    assert movement["users"] == ["svc-backup"]


def test_a_scan_and_an_exploit_of_one_host_by_one_address_belong_together():
    story = intrusion()
    entry = _of_kind(_hunt(story.upload), "scan_then_exploit")
    assert {str(story.scan.id), str(story.upload.id)} <= set(entry["alert_ids"])
    assert SCANNER in entry["title"]
    assert "web-01" in entry["hosts"]


def test_an_exploit_before_the_scan_is_no_consequence_of_it():
    common = {"iocs": [SCANNER], "affected_assets": ["10.10.1.11"], "severity": "high"}
    exploit = make_alert(mitre_techniques=["T1190"], **common)
    make_alert(mitre_techniques=["T1595.001"], first_seen=NOW + timedelta(minutes=30), **common)
    assert "scan_then_exploit" not in _kinds(_hunt(exploit))


def test_exfiltration_tells_how_much_went_where_and_what_was_gathered_before():
    answer = _hunt(intrusion().theft)
    theft = _of_kind(answer, "exfiltration")
    assert theft["title"] == f"Data leaving fs-01 to {DROP}"
    detail = next(one["detail"] for one in answer.output["findings"] if one["title"] == theft["title"])
    assert "1.4 GB" in detail
    assert "T1560.001" in detail


def test_a_large_upload_alone_is_no_exfiltration():
    upload = make_alert(
        iocs=[DROP], affected_assets=["10.10.2.21"], severity="high",
        metadata={"src_ip": "10.10.2.21", "dest_ip": DROP, "bytes_toserver": 5_000_000_000},
    )  # fmt: skip
    assert "exfiltration" not in _kinds(_hunt(upload))


@pytest.mark.parametrize(("failures", "is_found"), [(4, False), (5, True)])
def test_guessed_credentials_take_five_failed_log_ins(failures, is_found):
    common = {"users": ["svc-backup"], "affected_assets": ["fs-01"], "severity": "high"}
    guess = make_alert(mitre_techniques=["T1110.001"], count=failures, last_seen=NOW + timedelta(minutes=1), **common)
    make_alert(mitre_techniques=["T1021.002"], first_seen=NOW + timedelta(minutes=9), **common)
    assert ("stolen_credentials" in _kinds(_hunt(guess))) is is_found


def test_accounts_with_and_without_their_domain_are_one():
    make_alert(users=["CORP\\j.doe"], affected_assets=["ws-01"], mitre_techniques=["T1003.001"], severity="high")
    use = make_alert(
        users=["j.doe"], affected_assets=["fs-01", "ws-01"], mitre_techniques=["T1021.002"], severity="high",
        first_seen=NOW + timedelta(minutes=20),
    )  # fmt: skip
    assert _of_kind(_hunt(use), "stolen_credentials")["users"] == ["j.doe"]


def test_stages_that_nobody_saw_are_gaps_with_hosts_and_hours():
    story = intrusion()
    story.script.delete()
    gap = next(one for one in _hunt(story.beacon).data["gaps"] if one["tactic"] == "persistence")
    assert "ws-hr-02" in gap["hosts"]
    assert gap["since"] < gap["until"]
    assert gap["hunt"] in _hunt(story.beacon).data["hunts"]


def test_a_stage_that_was_seen_is_no_gap():
    assert "persistence" not in {gap["tactic"] for gap in _hunt(intrusion().beacon).data["gaps"]}


def test_a_false_positive_is_no_link_of_the_chain():
    story = intrusion()
    story.move.status = "false_positive"
    story.move.save()
    assert str(story.move.id) not in {link["id"] for link in _hunt(story.beacon).data["chain"]}


def test_the_hash_of_a_program_that_every_host_has_ties_nothing():
    digest = ("hash_sha256", "ab" * 32)
    system = {"process_name": "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"}
    one, _ = (
        make_alert(iocs=[digest], severity="high", affected_assets=[f"ws-{n}"], metadata=system) for n in range(2)
    )
    assert _hunt(one).data["alerts_reached"] == 1
    dropped, _ = (
        make_alert(iocs=[("hash_sha256", "cd" * 32)], severity="high", affected_assets=[f"ws-{n}"]) for n in (3, 4)
    )
    assert _hunt(dropped).data["alerts_reached"] == 2


def test_what_very_many_alerts_bear_is_not_followed_and_said_to_be():
    for n in range(65):
        make_alert(affected_assets=["dns-01", f"ws-{n}"], severity="medium", first_seen=NOW + timedelta(minutes=n))
    answer = _hunt(make_alert(affected_assets=["dns-01"], severity="high"))
    assert answer.data["alerts_reached"] == 1
    assert answer.data["not_followed"] == [{"kind": "asset", "value": "dns-01", "alerts": 65}]


def test_three_hops_are_the_limit():
    chain = [
        make_alert(iocs=[f"198.18.0.{n + 1}", f"198.18.0.{n + 2}"], severity="high", title=f"Link {n}")
        for n in range(6)
    ]
    reached = {link.id for link in chain[:4]}
    answer = _hunt(chain[0])
    assert answer.data["alerts_reached"] == len(reached)


def test_alerts_of_another_week_are_another_story():
    alert = make_alert(iocs=[C2], severity="high")
    make_alert(iocs=[C2], severity="high", first_seen=NOW - timedelta(days=7))
    assert _hunt(alert).data["alerts_reached"] == 1


def test_a_case_is_hunted_from_all_of_its_alerts():
    story = intrusion()
    answer = ask("threat_hunter", case=case_of([story.scan, story.theft]))
    assert {"scan_then_exploit", "exfiltration"} <= _kinds(answer)


def test_another_open_case_that_overlaps_is_named_with_what_both_share():
    other = case_of([make_alert(severity="high", affected_assets=["ws-1"], first_seen=NOW)])
    case_of([make_alert(severity="high", affected_assets=["ws-1"], first_seen=NOW)], status="closed")
    mine = make_alert(severity="high", affected_assets=["ws-1"], first_seen=NOW + timedelta(hours=2))
    case_of([mine])
    answer = ask("threat_hunter", alert=mine)
    [finding] = answer.output["findings"]
    assert finding["title"] == f"Overlaps with open case {other.reference}"
    assert "asset ws-1" in finding["detail"]
    assert [cited["id"] for cited in finding["evidence"] if cited["kind"] == "case"] == [str(other.id)]
    assert other.reference in answer.summary
    assert not answer.data["hypotheses"]


def test_a_faint_overlap_is_not_worth_a_word():
    case_of([make_alert(severity="low", affected_assets=["ws-1"], first_seen=NOW)])
    mine = make_alert(severity="high", affected_assets=["ws-1"], first_seen=NOW + timedelta(hours=40))
    assert ask("threat_hunter", alert=mine).output["findings"] == []


def test_a_scanners_round_is_neither_a_bridge_nor_a_stage_of_the_intrusion():
    story = intrusion()
    sweep = make_alert(title="Internal scan", severity="medium", mitre_techniques=["T1046"], first_seen=story.upload.first_seen,
                       affected_assets=["10.10.9.90", "10.10.1.11", "10.10.1.12", "10.10.1.13"])  # fmt: skip
    beyond = make_alert(severity="high", mitre_techniques=["T1059.001"], affected_assets=["10.10.1.13"],
                        first_seen=story.upload.first_seen)  # fmt: skip
    answer = ask("threat_hunter", alert=story.upload)
    assert str(beyond.id) not in {link["id"] for link in answer.data["chain"]}
    told = [one for one in answer.data["hypotheses"] if one["kind"] == "intrusion"]
    assert all(str(sweep.id) not in one["alert_ids"] for one in told)
