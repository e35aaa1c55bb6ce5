from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora.console import charts


def _bars(**series: list[int]) -> charts.StackedBars:
    names = [f"{at}:00" for at in range(len(next(iter(series.values()))))]
    return charts.stacked_bars(names, series, label_every=2)


def test_the_stack_stands_on_the_ground_and_its_parts_on_each_other():
    low, high = _bars(low=[3], high=[1]).segments
    assert low.y + low.height == pytest.approx(charts.HEIGHT)
    assert high.y + high.height == pytest.approx(low.y)


def test_heights_are_in_proportion():
    low, high = _bars(low=[3], high=[1]).segments
    assert low.height == pytest.approx(3 * high.height)


def test_nothing_draws_nothing():
    chart = _bars(low=[0, 0])
    assert chart.segments == []
    assert chart.is_empty


def test_the_last_bar_is_always_labelled():
    assert _bars(low=[1, 1, 1, 1]).labels == ["", "1:00", "", "3:00"]


def test_each_bar_tells_its_value():
    assert _bars(low=[7]).segments[0].title == "0:00: 7 low"


def test_totals_are_by_series():
    assert _bars(low=[1, 2], high=[0, 5]).totals == {"low": 3, "high": 5}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_no_bar_leaves_the_drawing_and_the_middle_tick_is_whole(values):
    chart = _bars(low=values)
    assert all(segment.y >= -1e-6 for segment in chart.segments)
    assert chart.ticks[0] == 2 * chart.ticks[1]


def test_a_ranking_is_relative_to_its_longest():
    rows = charts.ranking([("a", "", 4, ""), ("b", "", 1, "")])
    assert [row.share for row in rows] == [100.0, 25.0]


def test_a_ranking_of_nothing_is_empty():
    assert charts.ranking([]) == []
