"""One intrusion, one case: what a chain joins, and what it must not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents import incidents, investigations, registry
from cases.models import Alert
from cases.states import URGENT
from tests.agents.builtin.world import intrusion, noise
from tests.factories import NOW, make_alert, make_case

pytestmark = pytest.mark.django_db

WEB, STATION, FILES = "10.10.1.11", "10.20.6.12", "10.10.2.21"


@pytest.mark.parametrize("seed", [7, 11])
def test_the_demo_story_is_one_case_of_its_eleven_grave_alerts_and_nothing_else(seed):
    registry.ensure_agents()
    call_command("load_demo", seed=seed, verbosity=0)
    for alert in Alert.objects.filter(severity__in=URGENT).order_by("id"):
        investigations.start(alert_id=alert.id, actor=investigations.ORCHESTRATOR)
    case = Alert.objects.get(title__startswith="EgressVolumeHigh").case
    assert case is not None
    titles = sorted(case.alerts.values_list("title", flat=True))
    assert len(titles) == 11, titles
    assert not any("BitTorrent" in title or "Antivirus" in title for title in titles)


def _at(minutes: float):
    return NOW + timedelta(minutes=minutes)


def _act(*assets: str, minutes: float = 0, technique: str = "T1059.001", **fields):
    """A high alert that shows an intruder at work on the assets."""
    fields = {"severity": "high", "mitre_techniques": [technique]} | fields
    return make_alert(affected_assets=list(assets), first_seen=_at(minutes), **fields)


def _cases(alert):
    return [tie.case_id for tie in incidents.ties(alert=alert)]


def test_every_grave_alert_of_an_intrusion_finds_the_case_that_holds_the_others():
    story = intrusion()
    noise()
    Alert.objects.filter(pk=story.lure.pk).update(severity="medium")
    grave = [alert for alert in story.alerts if alert.severity in ("high", "critical")]
    for alert in grave:
        case = make_case(alerts=[other for other in grave if other != alert])
        assert _cases(alert) == [case.id], alert.title
        case.alerts.update(case=None)


def test_what_ties_two_cases_ends_may_lie_in_alerts_that_are_in_no_case():
    case = make_case(alerts=[_act("web-01", WEB, technique="T1190")])
    make_alert(
        severity="medium",
        affected_assets=["web-01", WEB],
        iocs=["a" * 64],
        first_seen=_at(2),
        mitre_techniques=["T1505.003"],
    )
    make_alert(severity="medium", iocs=["a" * 64], users=["l.brandt"], first_seen=_at(10))
    alert = _act("ws-hr-02", STATION, users=["l.brandt"], minutes=20)
    [tie] = incidents.ties(alert=alert)
    assert (tie.case_id, tie.hops) == (case.id, 3)


def test_the_chain_is_as_strong_as_its_weakest_link():
    case = make_case(alerts=[_act("web-01", iocs=["203.0.113.77"])])
    make_alert(severity="medium", iocs=["203.0.113.77", "203.0.113.78"])
    far = _act("ws-9", iocs=["203.0.113.78"], minutes=12 * 60)
    [tie] = incidents.ties(alert=far)
    assert tie.case_id == case.id
    assert tie.strength == pytest.approx(0.95 * 0.5**0.5, abs=0.01)


def test_a_host_alone_ties_no_alert_that_shows_no_act_unless_it_comes_at_once():
    make_case(alerts=[_act("ws-1", minutes=0)])
    late = make_alert(severity="high", affected_assets=["ws-1"], first_seen=_at(60))
    soon = make_alert(severity="high", affected_assets=["ws-1"], first_seen=_at(10))
    assert _cases(late) == []
    assert len(_cases(soon)) == 1


def test_during_a_beacon_of_hours_not_all_that_happens_on_its_host_belongs_to_it():
    make_case(alerts=[_act("ws-1", technique="T1071.001", last_seen=_at(300))])
    assert _cases(make_alert(severity="high", affected_assets=["ws-1"], first_seen=_at(200))) == []


def test_a_scan_from_outside_does_not_tie_what_happens_on_a_host():
    make_case(alerts=[_act("web-01", technique="T1595.002", iocs=["198.51.100.9"])])
    assert _cases(_act("web-01", minutes=30)) == []


@pytest.mark.parametrize("field", ["affected_assets", "users"])
def test_what_meets_very_many_hosts_is_a_crossroads(field):
    """A proxy, a scanner, a resolver; a busy service account."""
    shared = {"affected_assets": "10.0.0.53", "users": "svc-backup"}[field]
    make_case(alerts=[_alert_with(field, shared, "10.20.1.1")])
    alert = _alert_with(field, shared, "10.20.1.2")
    assert len(_cases(alert)) == 1
    for number in range(3, 12):
        _alert_with(field, shared, f"10.20.1.{number}", severity="low")
    assert _cases(alert) == []


def _alert_with(field: str, shared: str, host: str, **fields):
    if field == "users":
        return _act(host, users=[shared], **fields)
    return _act(host, shared, **fields)


def test_a_sweep_over_many_hosts_makes_crossroads_of_none_and_is_no_bridge():
    swept = [f"10.20.1.{number}" for number in range(1, 12)]
    make_alert(severity="high", affected_assets=swept, mitre_techniques=["T1046"])
    case = make_case(alerts=[_act(swept[0])])
    assert _cases(_act(swept[0], minutes=30, technique="T1003.001")) == [case.id]
    assert _cases(_act(swept[1], minutes=30)) == []


def test_a_slight_alert_is_no_bridge():
    make_case(alerts=[_act("ws-1")])
    bridge = make_alert(severity="low", affected_assets=["ws-1", "ws-2"], mitre_techniques=["T1021.001"])
    alert = _act("ws-2", minutes=5)
    assert _cases(alert) == []
    bridge.severity = "medium"
    bridge.save()
    assert len(_cases(alert)) == 1


def test_an_alert_judged_a_false_positive_leads_nowhere():
    make_case(alerts=[_act("ws-1", iocs=["203.0.113.77"], status="false_positive")])
    assert _cases(_act("ws-2", iocs=["203.0.113.77"])) == []


@pytest.mark.parametrize(
    "shared",
    [
        {"mitre_techniques": ["T1003.001"]},
        {"iocs": [("user_agent", "curl/8.5.0")]},
        {"iocs": [("hash_md5", "0" * 32)], "metadata": {"process_name": "C:\\Windows\\System32\\cmd.exe"}},
    ],
)
def test_what_is_everybodys_ties_nobody(shared):
    make_case(alerts=[_act("ws-1", **shared)])
    assert _cases(_act("ws-2", **shared)) == []


def test_what_many_alerts_of_the_day_bear_ties_nobody():
    make_case(alerts=[_act("ws-1", iocs=["203.0.113.77"])])
    for number in range(60):
        make_alert(severity="low", affected_assets=[f"ws-{number}"], iocs=["203.0.113.77"])
    assert _cases(_act("ws-99", iocs=["203.0.113.77"])) == []


def test_a_day_later_it_is_another_story():
    make_case(alerts=[_act("ws-1", iocs=["203.0.113.77"])])
    assert _cases(_act("ws-1", iocs=["203.0.113.77"], minutes=25 * 60)) == []


def test_closed_cases_are_not_joined_and_the_strongest_open_one_comes_first():
    weak, strong = (
        make_case(alerts=[_act(name, iocs=["203.0.113.77"], users=users)])
        for name, users in (("ws-1", []), ("ws-2", ["jdoe"]))
    )
    make_case(alerts=[_act("ws-3", iocs=["203.0.113.77"], users=["jdoe"])], status="closed")
    assert _cases(_act("ws-9", iocs=["203.0.113.77"], users=["jdoe"])) == [strong.id, weak.id]


def test_an_alert_that_names_nothing_or_three_hundred_things_is_answered_with_few_queries():
    assert _cases(make_alert(severity="high")) == []
    make_case(alerts=[_act("ws-1")])
    alert = _act("ws-1", iocs=[f"203.0.{n // 250}.{n % 250 + 1}" for n in range(300)])
    with CaptureQueriesContext(connection) as captured:
        assert len(_cases(alert)) == 1
    assert len(captured) <= 3 * 10
