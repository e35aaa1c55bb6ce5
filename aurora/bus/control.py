"""A word to every web process at once, by the channel layer: heard by who listens now, kept nowhere.

What must not be missed is an event on a stream. This is for what must be known at once and mends itself if it is missed: whether somebody may
still watch (sockets ask again once a minute anyway), and what changed while PostgreSQL is away, so that no outbox can hold it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

from aurora.identity import known_good

GROUP = "control"
RIGHTS, FRAME, LOOK = "rights", "frame", "look"
"""What a word is about."""
TELL_SECONDS = 1.0
"""How long a frozen Redis is given. A request that has changed an account tells in a thread and waits for nothing."""

log = structlog.get_logger(__name__)


def rights_changed(*, user_id: int | None = None, key_id: str | None = None) -> None:
    """Once the current transaction has committed, has the sockets of an account or of a key asked again whether they may stay."""
    transaction.on_commit(partial(known_good.revoked, user_id=user_id, key_id=key_id))
    word = {"type": "control", "about": RIGHTS, "user_id": user_id, "key_id": key_id}
    transaction.on_commit(lambda: threading.Thread(target=_tell, args=(word,), name="rights-changed").start())


def show(kind: str, data: Mapping[str, Any]) -> None:
    """Puts a frame before those who watch the system. It has no place on a stream: who is away now, misses it."""
    _tell({"type": "control", "about": FRAME, "kind": kind, "data": dict(data)})


def look_at_postgres() -> None:
    """Has every web process find out how PostgreSQL stands, so that the pages of an idle one learn of it."""
    _tell({"type": "control", "about": LOOK})


def _tell(word: dict[str, Any]) -> None:
    """Never raises: what was to be told has happened, whether it is heard or not."""
    try:
        async_to_sync(_send)(word)
    except (RedisError, OSError) as error:  # a TimeoutError is an OSError
        log.warning("control_not_told", about=word["about"], error=str(error) or type(error).__name__)


async def _send(word: dict[str, Any]) -> None:
    layer: Any = get_channel_layer()  # type: ignore[no-untyped-call]
    async with asyncio.timeout(TELL_SECONDS):
        await layer.group_send(GROUP, word)
