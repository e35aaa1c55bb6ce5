"""Counters and times of dispatches and of questions to the model; `/metrics` adds up all processes."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

DISPATCHED = Counter("aurora_agent_dispatches", "Dispatches by how they ended.", ["agent_type", "outcome"])
MODEL_CALLS = Counter("aurora_model_calls", "Questions to the language model by how they ended.", ["outcome"])
MODEL_TOKENS = Counter("aurora_model_tokens", "What those questions cost at most, in tokens.")
MODEL_DROPPED = Counter("aurora_model_dropped_sentences", "Sentences of the model that its citations did not bear out.")
MODEL_SECONDS = Histogram(
    "aurora_model_seconds",
    "From the question to the reading of the answer, or to giving up.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120),
)
SECONDS = Histogram(
    "aurora_agent_dispatch_seconds",
    "From the question to the answer, all attempts included.",
    ["agent_type"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
