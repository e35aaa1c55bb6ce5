"""Noise of many kinds, drawn at random: whoever has to be silent about it is, and still speaks of the same with evidence."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from cases.models import AlertSighting
from tests.agents.builtin.world import ask, intrusion
from tests.factories import NOW, make_alert

pytestmark = pytest.mark.django_db

_SILENT = (
    "network_security",
    "endpoint_security",
    "malware_analyst",
    "forensic_analyst",
    "threat_hunter",
    "threat_intel",
)
_HOSTS = [f"10.20.{net}.{host}" for net in (5, 6, 7) for host in range(10, 22)]
_SERVERS = [f"10.10.{net}.{host}" for net in (0, 2) for host in (11, 12, 21, 22)]


@pytest.mark.parametrize("seed", range(12))
def test_random_noise_gets_no_finding(seed):
    alerts = _noise(random.Random(seed))
    loud = [
        (agent, finding["title"], finding["detail"])
        for alert in alerts[::7]
        for agent in _SILENT
        for finding in ask(agent, alert=alert).output["findings"]
    ]
    assert loud == []


def test_one_session_of_an_administrator_is_no_movement_of_an_intruder():
    session, *_ = [_session("10.10.4.41", server, hour) for hour, server in enumerate(_SERVERS[:1])]
    assert _findings("threat_hunter", session) == _findings("network_security", session) == []


def test_an_administrators_round_over_servers_is_none_either():
    sessions = [_session("10.10.4.41", server, hour, users=["a.admin"]) for hour, server in enumerate(_SERVERS)]
    assert _findings("network_security", sessions[0]) == []


def test_the_same_session_told_gravely_is_a_finding():
    session = _session("10.20.6.12", _SERVERS[0], 1, severity="high")
    assert any("Lateral movement" in title for title in _findings("network_security", session))


def test_low_sessions_count_as_soon_as_a_graver_witness_agrees():
    low = _session("10.20.6.12", _SERVERS[0], 1)
    _session("10.20.6.12", _SERVERS[0], 1, title="New service runs from a share", severity="medium")
    assert any("Lateral movement" in title for title in _findings("threat_hunter", low))


def test_updates_by_the_clock_that_sensors_rate_low_are_no_beacon():
    assert _findings("network_security", _updater("low")) == []
    assert any("beaconing" in title for title in _findings("network_security", _updater("medium")))


def test_triage_cites_no_low_alert_that_merely_shares_the_host():
    story = intrusion()
    strangers = [
        make_alert(
            title=f"Console log-in failed {n}", severity="low", affected_assets=["ws-hr-02"],
            first_seen=story.macro.first_seen + timedelta(minutes=n),
        )
        for n in range(3)
    ]  # fmt: skip
    cited = {
        cited["id"]
        for finding in ask("security_analyst", alert=story.macro).output["findings"]
        for cited in finding["evidence"]
    }
    assert str(story.beacon.id) in cited
    assert not cited & {str(alert.id) for alert in strangers}


def _findings(agent, alert):
    return [finding["title"] for finding in ask(agent, alert=alert).output["findings"]]


def _session(source, target, hour, *, title="WinRM session", severity="low", **fields):
    return make_alert(
        title=f"{title} {target}", severity=severity, affected_assets=[source, target],
        first_seen=NOW + timedelta(hours=hour), mitre_techniques=["T1021.006"],
        metadata={"src_ip": source, "dest_ip": target}, **fields,
    )  # fmt: skip


def _updater(severity):
    place = "192.0.2.80" if severity == "low" else "192.0.2.81"
    return _calls(place, "10.20.6.12", [600.0 * n for n in range(20)], severity)


def _calls(place, host, seconds, severity):
    at = [NOW + timedelta(seconds=second) for second in seconds]
    told = {"src_ip": host, "dest_ip": place}
    alert = make_alert(
        title=f"HTTP to {place}", severity=severity, iocs=[place], affected_assets=[host], count=len(at),
        first_seen=at[0], last_seen=at[-1], metadata=told,
    )  # fmt: skip
    AlertSighting.objects.bulk_create(AlertSighting(alert=alert, seen_at=when, metadata=told) for when in at[1:])
    return alert


def _noise(rng):
    """A day: people's calls at exponential intervals, sessions of administrators, failed log-ins, scripts of the management, scans."""
    alerts = []
    for number in range(12):
        moment, seconds = rng.uniform(0, 60_000), []
        for _ in range(rng.randint(5, 9)):
            moment += rng.expovariate(1 / 600)
            seconds.append(moment)
        alerts.append(
            _calls(f"192.0.2.{number + 1}", rng.choice(_HOSTS), seconds, rng.choice(["low", "medium", "high"]))
        )
    sessions = [
        _session("10.10.4.41", rng.choice(_SERVERS), rng.uniform(0, 20), title=f"WinRM session {number}")
        for number in range(6)
    ]
    return [*alerts, *sessions, *(_one(rng, number) for number in range(14))]


def _one(rng, number):
    title, severity, techniques = rng.choice(
        [
            ("Log-in failed, wrong password", "low", ["T1110.001"]),
            ("Script started by the management agent", "medium", ["T1059.001"]),
            ("Probe of a closed port", "low", ["T1595.001"]),
            ("TLS 1.0 inside the company", "low", []),
            ("Antivirus removed a file", "high", []),
            ("Removable disk connected", "medium", ["T1091"]),
        ]
    )
    host = rng.choice(_HOSTS)
    return make_alert(
        title=f"{title} {number}", severity=severity, affected_assets=[host], users=[f"user{rng.randint(0, 40)}"],
        first_seen=NOW + timedelta(minutes=rng.uniform(0, 1_200)), mitre_techniques=techniques,
    )  # fmt: skip
