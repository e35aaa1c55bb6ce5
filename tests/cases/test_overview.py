"""The figures of the first page and of the live page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aurora.resilience import spool
from aurora.roles import permissions_of
from cases import overview
from cases.models import AlertPivot, IngestReceipt
from tests.aurora.resilience.test_spool import entry
from tests.console_pages import make_alert, signed_in, text_of

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)


def _figure(label: str) -> str:
    part = overview.part(permissions=permissions_of("analyst"), now=NOW)
    return next(figure.value for figure in part.figures if figure.label == label)


def test_today_begins_at_midnight_utc():
    make_alert(severity="low", last_seen=NOW.replace(hour=0, minute=0))
    make_alert(severity="low", last_seen=NOW.replace(hour=0, minute=0) - timedelta(seconds=1))
    assert overview.today(NOW).by_severity["low"] == 1


def test_every_severity_is_counted_even_at_none():
    assert overview.today(NOW).by_severity == {"critical": 0, "high": 0, "medium": 0, "low": 0, "info": 0}


def test_unacknowledged_are_the_open_ones_that_no_person_has_acknowledged():
    make_alert(status="new")
    make_alert(status="new", acknowledged_at=NOW)
    make_alert(status="resolved")
    make_alert(status="false_positive")
    assert overview.today(NOW).unacknowledged == 1


def test_a_critical_alert_that_agents_took_up_still_waits_for_a_person():
    make_alert(status="investigating", severity="critical")
    assert overview.today(NOW).unacknowledged == 1
    assert overview.new_critical_alerts() == 1


def test_the_figure_of_the_unacknowledged_leads_to_them():
    make_alert(title="Taken up by agents", status="investigating")
    make_alert(title="Acknowledged", acknowledged_at=NOW)
    part = overview.part(permissions=permissions_of("analyst"), now=NOW)
    url = next(figure.url for figure in part.figures if figure.label == "Unacknowledged")
    shown = text_of(signed_in("viewer").get(url))
    assert "Taken up by agents" in shown
    assert "<b>Acknowledged</b>" not in shown


def test_minutes_end_with_the_current_one():
    make_alert(last_seen=NOW)
    make_alert(last_seen=NOW - timedelta(minutes=59))
    make_alert(last_seen=NOW - timedelta(minutes=60))
    minutes = overview.alerts_per_minute(NOW)
    assert (len(minutes), minutes[-1], minutes[0], sum(minutes)) == (60, 1, 1, 2)


def test_the_time_to_acknowledge_is_a_mean_of_the_last_day():
    for minutes in (10, 20):
        make_alert(created_at=NOW - timedelta(minutes=minutes), acknowledged_at=NOW, updated_at=NOW)
    assert _figure("Time to acknowledge") == "15 min"


def test_nobody_having_acknowledged_is_a_dash():
    assert _figure("Time to acknowledge") == "—"


def test_merged_duplicates_are_todays():
    for stored_at in (NOW, NOW - timedelta(days=1)):
        IngestReceipt.objects.create(
            source="x", received=9, created=2, merged=7, ignored=0, rejected=0, stored_at=stored_at
        )
    assert _figure("Merged duplicates") == "7"


def test_what_the_spool_holds_and_what_is_wrong_with_it_is_shown(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    spooled = spool.shared()
    viewer = permissions_of("viewer")
    assert "Spool" not in {figure.label for figure in overview.part(permissions=viewer, now=NOW).figures}
    for _ in range(3):
        spooled.put(entry())
    spooled.set_aside(spooled.oldest(at_most=1, size=1)[0], "DataError")
    (tmp_path / "spool" / "intake.damaged-20261120.sqlite3").touch()
    figure = next(item for item in overview.part(permissions=viewer, now=NOW).figures if item.label == "Spool")
    assert (figure.value, figure.hint) == ("2", "1 set aside, damaged file intake.damaged-20261120.sqlite3")


def test_top_techniques_are_ranked_with_their_names():
    for _ in range(2):
        AlertPivot.objects.create(alert=make_alert(last_seen=NOW), kind="technique", value="T1110")
    AlertPivot.objects.create(alert=make_alert(last_seen=NOW), kind="technique", value="T9999")
    part = overview.part(permissions=permissions_of("viewer"), now=NOW)
    rows = next(panel for panel in part.panels if panel.title == "Top ATT&CK techniques").context["rows"]
    assert [(row.label, row.hint, row.value) for row in rows] == [
        ("T1110", "Brute Force", 2),
        ("T9999", "not in ATT&CK 18", 1),
    ]


def test_counting_stops_where_it_no_longer_matters(monkeypatch):
    monkeypatch.setattr("aurora.console.overview.COUNTED_UP_TO", 3)
    for _ in range(5):
        make_alert()
    assert _figure("Unacknowledged") == "3+"


def test_readers_who_may_not_see_alerts_get_none_of_it():
    assert overview.part(permissions=frozenset(), now=NOW).figures == []
