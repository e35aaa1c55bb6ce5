"""Listening to the channel layer: one subscription a process, however many sockets it has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import structlog
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from aurora.bus import control

PAUSE_SECONDS = 1.0
"""Between attempts to subscribe."""
LEAVE_SECONDS = 2.0

log = structlog.get_logger(__name__)


async def listen(hear: Callable[[dict[str, Any]], None]) -> None:
    """Hands every word to `hear`, until it is cancelled. What is said while Redis is away is missed."""
    while True:
        layer: Any = get_channel_layer()  # type: ignore[no-untyped-call]
        try:
            channel = await layer.new_channel()
            await layer.group_add(control.GROUP, channel)
            while True:
                _hear(hear, await layer.receive(channel))
        except (RedisError, OSError) as error:
            log.info("control_not_heard", error=str(error))
        except Exception:
            # Whatever it was, this process would hear of no right that is lost until its sockets have all gone.
            log.exception("control_listener_failed")
        finally:
            await _leave(layer)
        await asyncio.sleep(PAUSE_SECONDS)


def _hear(hear: Callable[[dict[str, Any]], None], word: dict[str, Any]) -> None:
    try:
        hear(word)
    except Exception:  # a word of another version must not silence the rest
        log.exception("control_not_understood")


async def _leave(layer: Any) -> None:
    """The layer would go on asking Redis ten times a second for a loop that has nobody to tell."""
    with contextlib.suppress(RedisError, OSError):
        async with asyncio.timeout(LEAVE_SECONDS):
            await layer.flush()
