"""Alerts that belong together, and those that only look so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cases.correlation import Relation, bearers, rarity, related_alerts
from cases.models import Alert
from tests.factories import NOW, make_alert, make_ioc

pytestmark = pytest.mark.django_db

QUARTER = timedelta(minutes=15)
HOUR = timedelta(hours=1)


def _found(alert, window=QUARTER, **options):
    return [one.alert for one in related_alerts(alert=alert, window=window, **options)]


@pytest.mark.parametrize(
    ("field", "value", "relation"),
    [
        ("iocs", "203.0.113.77", Relation("ioc", "203.0.113.77")),
        ("affected_assets", "WS-01", Relation("asset", "ws-01")),
        ("users", "CORP\\J.Doe", Relation("user", "corp\\j.doe")),
        ("mitre_techniques", "T1071.001", Relation("technique", "T1071.001")),
    ],
)
def test_each_kind_of_thing_shared_relates_two_alerts(field, value, relation):
    one, other = make_alert(**{field: [value]}), make_alert(**{field: [value]})
    [found] = related_alerts(alert=one, window=QUARTER)
    assert (found.alert, found.relations) == (other, (relation,))


def test_an_address_and_a_host_shared_relate_twenty_minutes_apart_days_ago_in_both_directions():
    past = datetime(2026, 2, 20, 9, 0, tzinfo=UTC)
    shared = {"iocs": ["203.0.113.77"], "affected_assets": ["ws-01"]}
    one = make_alert(first_seen=past, **shared)
    other = make_alert(first_seen=past + timedelta(minutes=20), **shared)
    for alert, expected in ((one, other), (other, one)):
        assert _found(alert) == []
        [found] = related_alerts(alert=alert, window=HOUR)
        assert found.alert == expected
        assert found.relations == (Relation("ioc", "203.0.113.77"), Relation("asset", "ws-01"))
        assert found.seconds_apart == 1200


def test_an_alert_that_went_on_for_hours_relates_to_what_happened_meanwhile():
    beacon = make_alert(iocs=["203.0.113.77"], first_seen=NOW - 4 * HOUR, last_seen=NOW)
    during = make_alert(iocs=["203.0.113.77"], first_seen=NOW - 2 * HOUR)
    [found] = related_alerts(alert=during, window=QUARTER)
    assert (found.alert, found.seconds_apart) == (beacon, 0)
    assert _found(beacon) == [during]


def test_the_time_of_storing_decides_nothing():
    one = make_alert(users=["jdoe"], created_at=NOW - timedelta(days=30))
    other = make_alert(users=["jdoe"], created_at=NOW)
    assert _found(one) == [other]


def test_an_alert_is_not_related_to_itself_or_to_strangers():
    alert = make_alert(iocs=["203.0.113.77"], users=["jdoe"])
    make_alert(iocs=["203.0.113.78"], users=["asmith"])
    assert _found(alert) == []


def test_an_alert_that_names_nothing_has_no_relations():
    assert _found(make_alert()) == []


def test_the_rarer_relation_comes_first_and_equals_come_newest_first():
    alert = make_alert(iocs=["203.0.113.77"], mitre_techniques=["T1071.001"])
    weak = make_alert(mitre_techniques=["T1071.001"])
    early = make_alert(iocs=["203.0.113.77"], first_seen=NOW - timedelta(minutes=3))
    late = make_alert(iocs=["203.0.113.77"], first_seen=NOW - timedelta(minutes=1))
    assert _found(alert) == [late, early, weak]


def test_no_more_than_the_limit_are_returned_and_those_are_the_strongest():
    alert = make_alert(iocs=["203.0.113.77"], mitre_techniques=["T1071.001"])
    for _ in range(6):
        make_alert(mitre_techniques=["T1071.001"])
    strong = make_alert(iocs=["203.0.113.77"])
    found = _found(alert, limit=3)
    assert len(found) == 3
    assert found[0] == strong


def test_what_many_alerts_bear_is_worth_less_than_what_two_bear():
    for _ in range(40):
        make_alert(affected_assets=["proxy-01"])
    for _ in range(2):
        make_alert(affected_assets=["ws-01"])
    worth = rarity(relations=[Relation("asset", "proxy-01"), Relation("asset", "ws-01")])
    assert worth[Relation("asset", "ws-01")] == 0.7
    assert 0 < worth[Relation("asset", "proxy-01")] < 0.6


def test_a_technique_alone_is_weak_evidence():
    alert = make_alert(mitre_techniques=["T1071.001"])
    make_alert(mitre_techniques=["T1071.001"])
    [found] = related_alerts(alert=alert, window=QUARTER)
    assert found.strength <= 0.25


def test_several_things_shared_are_stronger_than_the_strongest_of_them():
    alert = make_alert(affected_assets=["ws-01"], users=["jdoe"])
    both = make_alert(affected_assets=["ws-01"], users=["jdoe"])
    make_alert(users=["jdoe"])
    first, second = related_alerts(alert=alert, window=QUARTER)
    assert first.alert == both
    assert first.strength > second.strength


def test_an_indicator_cleared_as_a_false_positive_relates_nothing():
    ioc = make_ioc("203.0.113.77", status="false_positive")
    alert, _ = make_alert(iocs=[ioc]), make_alert(iocs=[ioc])
    assert _found(alert) == []
    assert bearers(relations=[Relation("ioc", "203.0.113.77")]) == {Relation("ioc", "203.0.113.77"): 0}


def test_the_number_of_queries_does_not_grow_with_what_is_found():
    def queries(others: int, number: int) -> int:
        names = {"iocs": [f"203.0.113.{number}"], "users": [f"user-{number}"]}
        alert = make_alert(**names)
        for _ in range(others):
            make_alert(**names)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert len(related_alerts(alert=alert, window=QUARTER)) == others
        return len(captured)

    assert queries(1, 1) == queries(20, 2) <= 7


def test_a_value_of_two_types_is_one_relation():
    names = [("domain", "evil.example"), ("user_agent", "evil.example")]
    alert, other = make_alert(iocs=names), make_alert(iocs=names)
    [found] = related_alerts(alert=alert, window=QUARTER)
    assert (found.alert, found.relations) == (other, (Relation("ioc", "evil.example"),))


def test_a_common_relation_is_walked_by_its_index_and_not_sorted():
    """With the planner's figures of 10,000 links among other pivots: 1,000 are taken in the order of the index."""
    make_alert(mitre_techniques=["T1071.001"])
    with connection.cursor() as cursor:
        cursor.execute("""
            INSERT INTO cases_alert SELECT (jsonb_populate_record(a, jsonb_build_object(
                'id', uuidv7(), 'dedup_hash', md5(n::text)))).* FROM cases_alert a, generate_series(1, 10000) n""")
        cursor.execute(
            "INSERT INTO cases_alertpivot (alert_id, kind, value) SELECT id, kind, value FROM cases_alert,"
            " LATERAL (VALUES ('technique', 'T1071.001'), ('asset', id::text)) AS pivot (kind, value)"
            " ON CONFLICT DO NOTHING"
        )
        cursor.execute("ANALYZE cases_alert, cases_alertpivot")
    with CaptureQueriesContext(connection) as captured:
        related_alerts(alert=Alert.objects.latest("id"), window=QUARTER)
    near = next(query["sql"] for query in captured if "AS number" in query["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {near}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Backward using alert_pivot_once" in plan, plan


def test_the_nearest_in_time_are_kept_of_a_common_thing():
    alert = make_alert(users=["jdoe"], first_seen=NOW)
    far = [make_alert(users=["jdoe"], first_seen=NOW - timedelta(minutes=10, seconds=n)) for n in range(210)]
    near = make_alert(users=["jdoe"], first_seen=NOW - timedelta(minutes=1))
    found = _found(alert, limit=500)
    assert near in found
    assert far[-1] not in found
    assert len(found) == 200


@pytest.mark.parametrize("user", ["root", "NT AUTHORITY\\SYSTEM", "Administrator"])
def test_an_account_that_every_machine_has_is_worth_as_little_as_a_technique(user):
    alert, _ = make_alert(users=[user]), make_alert(users=[user])
    [found] = related_alerts(alert=alert, window=QUARTER)
    assert found.strength <= 0.25


@pytest.mark.parametrize(
    "shared",
    [
        {"iocs": ["8.8.8.8"]},
        {"iocs": [("hash_md5", "0" * 32)], "metadata": {"process_name": "C:\\Windows\\System32\\cmd.exe"}},
    ],
)
def test_public_resolvers_and_programs_of_the_system_relate_nothing(shared):
    alert, _ = make_alert(**shared), make_alert(**shared)
    assert _found(alert) == []


def test_a_library_that_a_program_of_the_system_loaded_relates():
    loaded = {"iocs": [("hash_md5", "0" * 32)], "metadata": {"process_name": "rundll32.exe", "event_id": 7}}
    alert, other = make_alert(**loaded), make_alert(**loaded)
    assert _found(alert) == [other]
