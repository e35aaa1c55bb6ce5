"""What is even, and what merely looks so: the chances hold on simulated callers without a clock, and clocks are still found."""

from __future__ import annotations

import math
import random
import statistics
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agents.builtin.rhythm import EVEN, SIGNIFICANT, chance_of_nearness, chance_of_spread, measure
from tests.factories import NOW

_ROWS = 4_000
_COUNTS = (4, 6, 9, 14)


def _rhythm(intervals):
    moments = [NOW]
    for seconds in intervals:
        moments.append(moments[-1] + timedelta(seconds=seconds))
    rhythm = measure(moments)
    assert rhythm is not None
    return rhythm


def _without_a_clock(count, seed):
    rng = random.Random(seed)
    return [_rhythm([1 + rng.expovariate(1 / 300) for _ in range(count)]) for _ in range(_ROWS)]


def _by_the_clock(count, jitter, seed):
    rng = random.Random(seed)
    return [_rhythm([300 * rng.uniform(1 - jitter, 1 + jitter) for _ in range(count)]) for _ in range(200)]


@pytest.mark.parametrize("count", _COUNTS)
def test_callers_without_a_clock_are_hardly_ever_even(count):
    even = sum(rhythm.is_even() for rhythm in _without_a_clock(count, seed=1))
    assert even <= 3 * SIGNIFICANT * _ROWS


def test_four_intervals_look_even_by_chance_far_too_often_to_believe_it():
    looking = sum(rhythm.looks_even for rhythm in _without_a_clock(4, seed=2))
    assert looking > 0.03 * _ROWS


@pytest.mark.parametrize("count", _COUNTS)
@pytest.mark.parametrize("spread", [0.1, 0.2, EVEN])
def test_the_chance_of_a_spread_is_what_simulation_says(count, spread):
    seen = sum(rhythm.spread <= spread for rhythm in _without_a_clock(count, seed=3)) / _ROWS
    told = chance_of_spread(spread, count)
    assert seen <= told + 4 * (told / _ROWS) ** 0.5 + 2 / _ROWS


@pytest.mark.parametrize(("count", "jitter"), [(6, 0.1), (9, 0.2), (14, 0.33)])
def test_a_clock_with_the_jitter_of_beacons_is_found_after_a_few_calls(count, jitter):
    found = sum(rhythm.is_even(among=5) for rhythm in _by_the_clock(count, jitter, seed=4))
    assert found >= 190


@pytest.mark.parametrize("missed", [600, 3_600, 86_400])
def test_a_clock_that_missed_calls_is_still_found(missed):
    assert _rhythm([300, 301, 299, 300, 298, missed, 300, 302, 300, 299]).is_even(among=20)


def test_the_more_rhythms_are_looked_at_the_less_any_of_them_proves():
    rhythm = _rhythm([300, 310, 290, 330, 280, 320, 300])
    assert rhythm.is_even()
    assert not rhythm.is_even(among=10_000_000)


@given(st.lists(st.floats(1, 1e6), min_size=4, max_size=60), st.floats(0.01, 1000))
def test_chances_are_probabilities_and_know_no_unit(intervals, unit):
    median = statistics.median(intervals)
    # On the edge of what is near, a rounding decides.
    assume(not any(math.isclose(abs(value - median), 0.175 * median, rel_tol=1e-9) for value in intervals))
    near = chance_of_nearness(intervals)
    assert 0 <= near <= 1
    scaled = chance_of_nearness([value * unit for value in intervals])
    assert scaled == pytest.approx(near)
    assert 0 <= chance_of_spread(0.3, len(intervals)) <= 1


@given(st.integers(4, 5_000), st.floats(0, 5))
def test_a_lesser_spread_is_never_likelier(count, spread):
    assert chance_of_spread(spread / 2, count) <= chance_of_spread(spread, count) <= 1
