"""Playbooks and connectors as a fresh installation has them."""

from __future__ import annotations

import pytest

from agents.playbooks import authoring, connectors
from agents.playbooks.actions import KINDS, contract
from aurora.resilience.retry import RetryBudgets
from tests.agents.playbooks.targets import Recorder


@pytest.fixture(autouse=True)
def _nothing_retried_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget of retries lives as long as its process."""
    monkeypatch.setattr(connectors, "_budgets", RetryBudgets())


@pytest.fixture
def library(db: None, redis_client: object) -> None:
    """What `migrate` makes: tests that truncate tables have taken it away."""
    authoring.ensure_library()
    connectors.ensure_own()


@pytest.fixture
def recorder(library: None, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A target for every action that keeps what it is told, and may fail when asked to."""
    found = Recorder()
    monkeypatch.setattr(connectors, "KINDS", {**KINDS, "webhook": found})
    found.install()
    assert isinstance(found.Settings(), contract.ConnectorSettings)
    return found
