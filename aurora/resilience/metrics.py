"""Counters of what the breakers do; `/metrics` adds up all processes."""

from __future__ import annotations

from prometheus_client import Counter

TRANSITIONS = Counter(
    "aurora_breaker_transitions", "Moves of a breaker from one state to another.", ["breaker", "after"]
)
REFUSALS = Counter("aurora_breaker_refusals", "Calls that an open breaker refused.", ["breaker"])
