"""A short seeded run of the fault bench; `make faults` is the long one."""

from __future__ import annotations

import pytest

from tests.faults.bench import Bench

pytestmark = pytest.mark.group


def test_whatever_is_taken_away_nothing_accepted_is_lost_or_doubled(tmp_path):
    with Bench(tmp_path) as bench:
        wrong, line = bench.round(seed=4, faults=3)
    assert not wrong, f"{line}\n" + "\n".join(wrong)
