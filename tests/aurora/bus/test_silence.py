"""A Redis that hangs, frozen for real: one caller finds out for all."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis

from aurora.bus import silence
from aurora.bus.direct import DirectCommands
from aurora.bus.redis import Purpose, client


def _in_a_pipeline(asked: redis.Redis) -> object:
    with asked.pipeline(transaction=False) as pipe:
        pipe.get("there")
        return pipe.execute()


WAYS: list[Callable[[Any], object]] = [
    lambda asked: asked.get("there"),
    _in_a_pipeline,
    lambda asked: DirectCommands(asked).ask("GET", "there"),
]


@pytest.fixture
def asked(own_redis, monkeypatch) -> redis.Redis:
    monkeypatch.setattr(silence, "SECONDS", 3600.0)
    return client(Purpose.REQUEST)


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("then", WAYS)
def test_whoever_waited_in_vain_the_next_does_not_wait_however_it_asks(asked, own_redis, first, then):
    own_redis.process.send_signal(signal.SIGSTOP)
    with pytest.raises(redis.TimeoutError, match=r"(?i)timeout|in time"):
        first(asked)
    own_redis.process.send_signal(signal.SIGCONT)
    with pytest.raises(redis.TimeoutError, match="a moment ago"):
        then(asked)
    asked.silence._until = 0.0
    then(asked)


def test_a_server_that_refuses_is_asked_again_at_once(asked, own_redis):
    own_redis.stop()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            asked.get("there")
    own_redis.start()
    assert asked.get("there") is None
