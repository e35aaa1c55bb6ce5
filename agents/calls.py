"""The last calls of each agent, for the console: in Redis, so that all processes' are seen; while it is away, this process's."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson
import redis
from django.utils import timezone

from aurora.bus.redis import Purpose, client

KEPT = 50
_PREFIX = "aurora:agent:calls"

_lock = threading.Lock()
_own: dict[str, deque[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """One dispatch that reached its agent, or tried to. `outcome` is `answered`, `failed` or `declined` (the task was at fault)."""

    at: datetime
    task_id: str
    case_id: str | None
    outcome: str
    attempts: int
    duration_ms: float
    error: str = ""


def note(
    agent_type: str, *, task_id: str, case_id: str | None, outcome: str, attempts: int, duration_ms: float, error: str
) -> None:
    """Keeps a call that has just ended."""
    call = Call(timezone.now(), task_id, case_id, outcome, attempts, duration_ms, error)
    line, key = orjson.dumps(asdict(call)), _key(agent_type)
    with _lock:
        _own.setdefault(agent_type, deque(maxlen=KEPT)).appendleft(line)
    try:
        with client(Purpose.REQUEST).pipeline(transaction=False) as pipe:
            pipe.lpush(key, line)
            pipe.ltrim(key, 0, KEPT - 1)
            pipe.execute()
    except redis.RedisError:
        return  # what the console shows then is said to be of this process alone


def latest(agent_type: str) -> tuple[list[Call], bool]:
    """The last calls, newest first; and whether they are those of all processes."""
    try:
        lines, is_shared = client(Purpose.REQUEST).lrange(_key(agent_type), 0, KEPT - 1), True
    except redis.RedisError:
        with _lock:
            lines, is_shared = list(_own.get(agent_type, ())), False
    return [_read(line) for line in lines], is_shared


def latest_of(agent_types: Collection[str]) -> dict[str, list[Call]]:
    """As `latest` of several agents, in one round trip."""
    try:
        with client(Purpose.REQUEST).pipeline(transaction=False) as pipe:
            for agent_type in agent_types:
                pipe.lrange(_key(agent_type), 0, KEPT - 1)
            found = dict(zip(agent_types, pipe.execute(), strict=True))
    except redis.RedisError:
        with _lock:
            found = {agent_type: list(_own.get(agent_type, ())) for agent_type in agent_types}
    return {agent_type: [_read(line) for line in lines] for agent_type, lines in found.items()}


def _read(line: bytes | str) -> Call:
    fields = orjson.loads(line)
    return Call(**fields | {"at": datetime.fromisoformat(fields["at"])})


def _key(agent_type: str) -> str:
    return f"{_PREFIX}:{agent_type}"
