"""What the bus counts in batches is what it would have counted one by one."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Histogram

from aurora.bus.metrics import BatchHistogram


@pytest.mark.parametrize("amounts", [[], [0.3], [0.005, 0.0, 7.5, 0.005, 1e9, 0.1, 10.0, 0.025]])
def test_many_observations_at_once_are_the_same_as_one_by_one(amounts):
    batched = BatchHistogram("seconds", "Batched.", ["group"], registry=CollectorRegistry())
    single = Histogram("seconds", "One by one.", ["group"], registry=CollectorRegistry())
    batched.labels("x").observe_all(amounts)
    for amount in amounts:
        single.labels("x").observe(amount)
    assert _counts(batched.labels("x")) == _counts(single.labels("x"))


def _counts(histogram):
    return [bucket.get() for bucket in histogram._buckets], round(histogram._sum.get(), 6)
