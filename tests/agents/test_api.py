"""Agents and figures over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import redis
from django.utils import timezone

from agents import registry
from aurora.bus.direct import DirectCommands
from tests.cast import ApiClient
from tests.console_pages import signed_in
from tests.factories import make_alert, make_case, make_ioc

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _agents(redis_client) -> None:
    registry.ensure_agents()


def test_every_agent_is_listed_with_its_health_and_its_breaker():
    items = ApiClient("viewer").call("GET", "/agents").json()["items"]
    assert {item["agent_type"] for item in items} == set(registry.OFFERED)
    assert {item["health"] for item in items} == {"online"}
    assert items[0]["breaker"].keys() >= {
        "state",
        "failure_count",
        "failure_threshold",
        "reset_timeout",
        "opened_at",
        "next_probe_at",
        "last_error",
        "trips",
        "successes",
        "failures",
        "rejected",
    }


@pytest.fixture
def round_trips(monkeypatch) -> list[int]:
    """How many commands went with each round trip on Redis's direct connections and pipelines."""
    trips: list[int] = []
    exchange, execute = DirectCommands._exchange, redis.client.Pipeline.execute

    def exchanged(commands: DirectCommands, packed: bytes, number: int) -> list[Any]:
        trips.append(number)
        return exchange(commands, packed, number)

    def executed(pipeline: Any, raise_on_error: bool = True) -> list[Any]:
        trips.append(len(pipeline))
        return execute(pipeline, raise_on_error)

    monkeypatch.setattr(DirectCommands, "_exchange", exchanged)
    monkeypatch.setattr(redis.client.Pipeline, "execute", executed)
    return trips


def test_the_list_asks_redis_as_often_for_all_agents_as_for_one(round_trips):
    viewer = ApiClient("viewer")
    viewer.call("GET", "/agents")  # what is made once
    taken = []
    for limit in (1, 50):
        round_trips.clear()
        assert viewer.call("GET", f"/agents?limit={limit}").status_code == 200
        taken.append(len(round_trips))
    assert taken[0] == taken[1] <= 3  # the caller's quota, the breakers, the last calls


def test_the_consoles_list_asks_redis_as_often_for_all_agents_as_for_one(round_trips):
    client = signed_in("viewer")
    client.get("/admin/agents/agent/")
    taken = []
    for search in ("?agent_type=threat_intel", ""):
        round_trips.clear()
        assert client.get(f"/admin/agents/agent/{search}").status_code == 200
        taken.append(len(round_trips))
    assert taken[0] == taken[1]


def test_an_unknown_agent_is_missing():
    assert ApiClient("viewer").call("GET", "/agents/butler").status_code == 404


@pytest.mark.parametrize("body", [{"timeout": 0}, {"failure_threshold": 0}, {"transport": "pigeon"}, {"name": "x"}])
def test_an_agent_takes_no_setting_that_is_none(body):
    assert ApiClient("operator").call("PATCH", "/agents/threat_intel", body).status_code == 400


def test_the_figures_count_what_was_seen_today_and_what_is_open_now():
    now = timezone.now()
    make_alert(severity="high", first_seen=now)
    make_alert(severity="high", first_seen=now - timedelta(days=3))
    make_case()
    make_case(status="closed")
    make_ioc("evil.example")
    stats = ApiClient("viewer").call("GET", "/stats").json()
    assert (stats["alerts_by_severity"], stats["alerts_by_status"]) == ({"high": 1}, {"new": 1})
    assert (stats["open_cases"], stats["running_investigations"], stats["active_iocs"]) == (1, 0, 1)


RATES = {"window_seconds": 30, "minimum_calls": 5, "failure_rate": 0.5, "slow_call_seconds": 2.5, "slow_call_rate": 0.8}


def test_the_rates_that_open_an_agents_breaker_are_set_and_shown():
    answer = ApiClient("admin").call("PATCH", "/agents/threat_hunter", RATES)
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in RATES} == RATES
    conditions = registry.breaker_of(registry.find("threat_hunter")).settings.conditions
    assert conditions is not None
    assert (conditions.seconds, conditions.least_calls, conditions.failure_rate, conditions.slow_rate) == (
        30,
        5,
        0.5,
        0.8,
    )


def test_without_rates_an_agents_breaker_has_no_conditions():
    assert registry.breaker_of(registry.find("threat_hunter")).settings.conditions is None


def test_a_slow_rate_and_the_time_from_which_a_call_is_slow_need_each_other():
    answer = ApiClient("admin").call("PATCH", "/agents/threat_hunter", {"slow_call_rate": 0.5})
    assert (answer.status_code, "need each other" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    "wrong", [{"failure_rate": 1.5}, {"failure_rate": 0}, {"minimum_calls": 0}, {"window_seconds": 0.5}]
)
def test_rates_that_make_no_sense_are_refused(wrong):
    assert ApiClient("admin").call("PATCH", "/agents/threat_hunter", wrong).status_code == 400
