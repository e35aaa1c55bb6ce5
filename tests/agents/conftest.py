"""Agents as a fresh process meets them."""

from __future__ import annotations

import pytest

from agents import dispatch
from aurora.resilience import breakers
from aurora.resilience.bulkhead import Bulkheads
from aurora.resilience.retry import RetryBudgets


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breakers and retry budgets live as long as their process: what one test broke would stay open for the next."""
    if breakers._store is not None:
        breakers._store._members.clear()  # they would tell a Redis that was emptied for the next test what they know
    monkeypatch.setattr(breakers, "_breakers", {})
    monkeypatch.setattr(dispatch, "_budgets", RetryBudgets())
    monkeypatch.setattr(dispatch, "_bulkheads", Bulkheads())
