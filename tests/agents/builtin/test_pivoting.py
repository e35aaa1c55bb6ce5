"""How far the hunt's web reaches, and how strongly."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agents.builtin.contract import Task
from agents.builtin.hypotheses import suppose
from agents.builtin.pivoting import bare_account, follow
from agents.builtin.scope import scope_of
from tests.factories import NOW, make_alert

pytestmark = pytest.mark.django_db


def _web(alert, **options):
    return follow(scope_of(Task("t", "threat_hunter", "", str(alert.id), None, {})), **options)


def _strength(web, alert):
    return web.reached[alert.id].strength


def test_what_lies_further_apart_in_time_hangs_together_less():
    start = make_alert(severity="high", affected_assets=["ws-01"])
    near, far = (
        make_alert(severity="high", affected_assets=["ws-01"], first_seen=NOW + timedelta(hours=hours))
        for hours in (1, 7)
    )
    web = _web(start)
    assert _strength(web, near) > 1.5 * _strength(web, far)


def test_an_address_ties_for_longer_than_a_host():
    later = NOW + timedelta(hours=12)
    start = make_alert(severity="high", affected_assets=["ws-01"], iocs=["203.0.113.77"])
    by_host = make_alert(severity="high", affected_assets=["ws-01"], first_seen=later)
    by_address = make_alert(severity="high", iocs=["203.0.113.77"], first_seen=later)
    web = _web(start)
    assert _strength(web, by_address) > 2 * _strength(web, by_host)


def test_small_alerts_carry_the_web_less_far_than_grave_ones():
    start = make_alert(severity="high", users=["jdoe"])
    low, high = (make_alert(severity=severity, users=["jdoe"]) for severity in ("low", "high"))
    web = _web(start)
    assert _strength(web, low) == pytest.approx(_strength(web, high) / 2, abs=0.001)


def test_each_hop_costs_strength_and_is_counted():
    first, second, third = (
        make_alert(severity="high", iocs=[f"198.18.0.{n}", f"198.18.0.{n + 1}"]) for n in range(1, 4)
    )
    web = _web(first)
    assert [web.reached[alert.id].hops for alert in (first, second, third)] == [0, 1, 2]
    assert 1 == _strength(web, first) > _strength(web, second) > _strength(web, third)


def test_the_web_is_cut_at_its_limit_and_says_so():
    start = make_alert(severity="high", users=["jdoe"])
    for _ in range(10):
        make_alert(severity="high", users=["jdoe"])
    web = _web(start, max_alerts=5)
    assert (len(web.alerts), web.is_cut) == (5, True)


def test_what_hangs_on_by_a_thread_is_another_story():
    """The chain is an attack of its own, but all that ties it to the start is a host five hours later."""
    start = make_alert(severity="low", affected_assets=["ws-01"])
    make_alert(
        severity="medium", iocs=["203.0.113.77"], affected_assets=["ws-01"], mitre_techniques=["T1071.001"], count=50,
        first_seen=NOW + timedelta(hours=5), last_seen=NOW + timedelta(hours=9),
    )  # fmt: skip
    web = _web(start)
    assert len(web.alerts) == 2
    assert suppose(web) == []


def test_a_host_agents_alert_tells_whose_address_it_is():
    alert = make_alert(
        affected_assets=["ws-01", "10.20.6.12", "10.10.0.11"], metadata={"agent_id": "7", "src_ip": "10.10.0.11"}
    )
    web = _web(alert)
    assert web.hosts(alert) == ["ws-01", "10.10.0.11"]
    assert web.host("10.20.6.12") == "ws-01"


@pytest.mark.parametrize("name", ["corp\\j.doe", "j.doe@corp.example", "j.doe"])
def test_an_account_is_known_by_its_bare_name(name):
    assert bare_account(name) == "j.doe"
