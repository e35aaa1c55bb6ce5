"""Counters and times of dispatches; `/metrics` adds up all processes."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

DISPATCHED = Counter("aurora_agent_dispatches", "Dispatches by how they ended.", ["agent_type", "outcome"])
SECONDS = Histogram(
    "aurora_agent_dispatch_seconds",
    "From the question to the answer, all attempts included.",
    ["agent_type"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
