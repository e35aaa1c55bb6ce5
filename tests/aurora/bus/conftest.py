"""The bus under test: quick claim times, real servers, runners in threads that are always stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis

from aurora.bus import registry
from aurora.bus.registry import Runner

CLAIM_SECONDS = 0.2
MAX_DELIVERIES = 3


@pytest.fixture(autouse=True)
def _bus(redis_client: redis.Redis, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BUS_CLAIM_SECONDS = CLAIM_SECONDS
    settings.BUS_MAX_DELIVERIES = MAX_DELIVERIES
    # What the apps registered is not what these tests are about.
    monkeypatch.setattr(registry, "_types", {})


Start = Callable[[Runner], "Running"]


class Running:
    """A runner in a thread."""

    def __init__(self, runner: Runner) -> None:
        self.stop_event = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(runner,))
        self.thread.start()

    def _run(self, runner: Runner) -> None:
        try:
            runner.run(self.stop_event)
        except Exception as error:  # noqa: BLE001 - raised in stop()
            self.error = error

    def stop(self) -> None:
        """Stops it as a signal would; raises what it raised."""
        self.stop_event.set()
        self.thread.join(10)
        assert not self.thread.is_alive(), "did not stop within 10 s"
        if self.error:
            raise self.error


@pytest.fixture
def start(_bus: None, transactional_db: None) -> Iterator[Start]:
    """Starts runners; they are stopped when the test ends."""
    with ExitStack() as stack:

        def begin(runner: Runner) -> Running:
            running = Running(runner)
            stack.callback(running.stop)
            return running

        yield begin


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[dict[str, Any]]]:
    """The log lines of one event so far."""

    def named(event: str) -> list[dict[str, Any]]:
        return [
            record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg.get("event") == event
        ]

    return named


@contextmanager
def registered(name: str, factory: Callable[[], Runner]) -> Iterator[None]:
    registry.register(name, factory)
    try:
        yield
    finally:
        registry._factories.pop(name)
