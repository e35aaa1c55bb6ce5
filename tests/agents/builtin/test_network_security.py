"""The network's side: beacons, tunnels, movement and uploads staged in rows; silence where there are none."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agents.builtin.reachability import Passage, furthest
from agents.builtin.rhythm import measure
from cases.models import AlertSighting
from tests.agents.builtin.world import C2, DROP, ask, dangling, intrusion, noise
from tests.factories import NOW, make_alert

_STATION = "10.20.6.12"


def _ask(alert):
    return ask("network_security", alert=alert)


def _kinds(answer):
    return {one["kind"] for one in answer.data["hypotheses"]}


def _of_kind(answer, kind):
    return next(one for one in answer.data["hypotheses"] if one["kind"] == kind)


def _calls(minutes, *, sizes=None):
    """One alert with its repetitions at the given minutes, as intake merges them."""
    at = [NOW + timedelta(minutes=minute) for minute in minutes]
    told = [{"src_ip": _STATION, "dest_ip": C2, "bytes_toserver": size} for size in sizes or [700] * len(at)]
    alert = make_alert(
        severity="medium", iocs=[C2], affected_assets=[_STATION], count=len(at), first_seen=at[0], last_seen=at[-1],
        metadata=told[0],
    )  # fmt: skip
    AlertSighting.objects.bulk_create(
        AlertSighting(alert=alert, seen_at=when, metadata=metadata)
        for when, metadata in zip(at[1:], told[1:], strict=True)
    )
    return alert


def _moves(*hops):
    """Lateral movement between addresses, an hour after each other."""
    return [
        make_alert(
            title=f"Administrative share {n}", severity="high", users=["svc-backup"], affected_assets=[there, here],
            first_seen=NOW + timedelta(hours=n), mitre_techniques=["T1021.002"],
            metadata={"src_ip": here, "dest_ip": there},
        )
        for n, (here, there) in enumerate(hops)
    ]  # fmt: skip


def _furthest(passages):
    return furthest(passages)


@pytest.mark.django_db
def test_a_days_noise_yields_nothing_and_says_why():
    answers = [_ask(alert) for alert in noise(12)]
    assert all(answer.output["findings"] == [] for answer in answers)
    assert all(answer.data["silent_because"] in answer.summary for answer in answers)


@pytest.mark.django_db
def test_the_intrusions_beacon_movement_and_upload_are_found_and_its_noise_is_not():
    quiet = {str(alert.id) for alert in noise()}
    story = intrusion()
    answer = _ask(story.beacon)
    assert _kinds(answer) >= {"beaconing", "lateral_movement"}
    assert "exfiltration" in _kinds(_ask(story.theft))
    cited = {alert_id for one in answer.data["hypotheses"] for alert_id in one["alert_ids"]}
    assert str(story.beacon.id) in cited
    assert not cited & quiet
    assert dangling(answer.output) == []


@pytest.mark.django_db
def test_a_beacon_is_told_with_its_period_jitter_and_bytes():
    answer = _ask(_calls([5 * n for n in range(10)]))
    [talk] = answer.data["conversations"]
    assert (talk["place"], talk["contacts"], talk["bytes_out"]) == (C2, 10, 7000)
    assert (talk["periodicity"]["period"], talk["periodicity"]["jitter"], talk["periodicity"]["is_even"]) == (
        300,
        0,
        True,
    )
    assert "calls of the same size" in str(_of_kind(answer, "beaconing")["terms"])


@pytest.mark.django_db
def test_a_beacon_whose_host_slept_for_hours_is_still_a_beacon():
    answer = _ask(_calls([0, 5, 10, 15, 20, 25, 400, 405, 410, 415, 420, 425]))
    assert "beaconing" in _kinds(answer)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "minutes", [[n**3 for n in range(9)], [0, 1, 2, 50, 51, 130, 131, 132, 300]], ids=["slowing", "bursts"]
)
def test_a_persons_uneven_calls_are_no_beacon(minutes):
    assert _ask(_calls(minutes)).output["findings"] == []


@pytest.mark.django_db
def test_coded_names_under_one_domain_are_a_tunnel_and_plain_ones_are_not():
    def looked_up(host, names):
        return [
            make_alert(
                severity="medium", iocs=[f"{name}.tunnel{host[-1]}.example"], affected_assets=[host],
                first_seen=NOW + timedelta(minutes=n), metadata={"src_ip": host},
            )
            for n, name in enumerate(names)
        ]  # fmt: skip

    coded = looked_up("10.20.6.1", [f"q7z{n}m4x9k2vb8w5ytr1p" for n in range(6)])
    plain = looked_up("10.20.6.2", ["www", "mail", "static", "images", "login", "downloads"])
    answer = _ask(coded[0])
    assert set(_of_kind(answer, "dns_tunnel")["alert_ids"]) == {str(alert.id) for alert in coded}
    assert "dns_tunnel" not in _kinds(_ask(plain[0]))


@pytest.mark.django_db
def test_movement_is_followed_over_hosts_in_the_order_of_time():
    first, *_ = _moves(("10.20.6.12", "10.10.2.21"), ("10.10.2.21", "10.10.3.31"))
    answer = _ask(first)
    assert answer.data["reach"]["entry"] == "10.20.6.12"
    assert answer.data["reach"]["hosts"][-1]["path"] == ["10.20.6.12", "10.10.2.21", "10.10.3.31"]
    [finding] = [one for one in answer.output["findings"] if "ateral movement" in one["title"]]
    assert "10.20.6.12 → 10.10.2.21 → 10.10.3.31" in finding["detail"]


@pytest.mark.django_db
def test_a_large_upload_is_told_with_its_volume_and_its_place():
    story = intrusion()
    answer = _ask(story.theft)
    assert DROP in _of_kind(answer, "exfiltration")["iocs"]
    assert any("1.4 GB" in finding["detail"] for finding in answer.output["findings"])


def test_nobody_reaches_a_host_over_a_door_that_closed_before_they_came():
    def passage(here, there, hour):
        return Passage(here, there, (NOW + timedelta(hours=hour),), ())

    reached = _furthest([passage("a", "b", 2), passage("b", "c", 1), passage("a", "d", 3)])
    assert [arrival.path for arrival in reached.arrivals] == [("a", "b"), ("a", "d")]
    reached = _furthest([passage("a", "b", 1), passage("b", "c", 2)])
    assert (reached.entry, reached.depth) == ("a", 2)
    assert furthest([]) is None


def test_four_contacts_have_no_rhythm_and_five_have_one():
    at = [NOW + timedelta(minutes=10 * n) for n in range(5)]
    assert measure(at[:4]) is None
    rhythm = measure(at)
    assert rhythm is not None
    assert (rhythm.period, rhythm.spread, rhythm.is_even()) == (600, 0, True)
