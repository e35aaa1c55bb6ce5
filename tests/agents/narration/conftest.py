"""A model's server on loopback that the settings name, with a budget of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agents import registry
from agents.narration import narrate
from tests.agents.narration.model_server import ModelServer, model_server


@pytest.fixture
def model(settings: Any, redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    settings.RETRY_BASE_SECONDS = 0.001
    registry.ensure_agents()
    monkeypatch.setattr(narrate, "_limiter", None)
    with model_server() as server:
        settings.LLM_BASE_URL, settings.LLM_MODEL, settings.LLM_API_KEY = server.url, "little-model", "sk-verysecret"
        yield server
