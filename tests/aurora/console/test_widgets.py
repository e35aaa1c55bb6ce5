from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from aurora.console import widgets

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def test_a_badge_bears_its_kind_and_its_word():
    assert widgets.badge("severity", "critical") == '<span class="au-badge au-severity-critical">Critical</span>'


def test_a_badge_of_hostile_text_stays_text():
    made = widgets.badge("status", '"><script>', '"><script>')
    assert "<script>" not in made
    assert 'class="au-badge au-status--script-"' in made


def test_chips_escape_what_they_show():
    assert "<img" not in widgets.chips(["<img src=x>"])


def test_chips_say_how_many_more_there_are():
    assert "+2" in widgets.chips(["a", "b", "c", "d"], shown=2)


def test_a_moment_is_a_time_element_in_utc():
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    assert (
        widgets.when(elsewhere)
        == '<time class="au-time" datetime="2026-03-04T12:00:00Z">2026-03-04 12:00:00 UTC</time>'
    )


def test_no_moment_is_a_dash():
    assert widgets.when(None) == widgets.NOTHING


def test_an_age_tells_its_distance_and_its_moment():
    made = widgets.ago(NOON - timedelta(minutes=3), NOON)
    assert "<b>3 min ago</b>" in made
    assert "03-04 11:57 UTC" in made


def test_a_moment_to_come_is_told_as_such():
    assert "in 2 h" in widgets.ago(NOON + timedelta(hours=2), NOON)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (12000, "3 h 20 min"),
        (187200, "2 d 4 h"),
        (172800, "2 d"),
    ],
)
def test_a_duration_is_told_in_its_largest_units(seconds, text):
    assert widgets.span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(("fraction", "value"), [(0.5, 50), (-1.0, 0), (7.0, 100)])
def test_a_confidence_beyond_its_bounds_is_shown_at_them(fraction, value):
    assert f'value="{value}"' in widgets.percent(fraction)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("false_positive", "False positive"),
        ("iot_sensor", "IoT sensor"),
        ("cps", "CPS"),
        ("ATTACK", "Attack"),
        ("", ""),
    ],
)
def test_stored_words_are_shown_as_people_read_them(value, text):
    assert widgets.words(value) == text
