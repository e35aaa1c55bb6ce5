"""Is a container's process well? `python -m aurora.observability.probe web|work|spool` ends with 0 or 1, for health checks.

It runs every few seconds beside the process, so it loads neither Django nor the settings.
"""

from __future__ import annotations

import fcntl
import http.client
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis

from aurora import env, redis_url
from aurora.bus import streams

TIMEOUT_SECONDS = 3.0
SILENT_SECONDS = 30.0
"""Workers give a sign of life every few seconds, however busy their handlers are."""

LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""Where to ask a server that listens on all addresses."""


def web() -> bool:
    """Whether `/health/live` answers, asked under a name that the host check lets in."""
    listening = env.text("AURORA_HOST", "127.0.0.1")
    name = env.names("AURORA_ALLOWED_HOSTS", ["localhost"])[0].lstrip(".").replace("*", "localhost")
    web_process = http.client.HTTPConnection(
        LOOPBACK_OF.get(listening, listening), env.integer("AURORA_PORT", 8000), timeout=TIMEOUT_SECONDS
    )
    try:
        web_process.request("GET", "/health/live", headers={"Host": name})
        return web_process.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        web_process.close()


def work() -> bool:
    """Whether some consumer of this machine has asked its group for work just now. True while Redis is away: that is Redis's illness."""
    location = redis_url.parse(env.text("REDIS_URL"))
    try:
        client = _client(location)
        return any(_consumes(client, location.key(stream)) for stream in streams.STREAMS)
    except (redis.ConnectionError, redis.TimeoutError):
        return True


def spool() -> bool:
    """Whether somebody drains this machine's spool: who does holds its lock (`aurora.resilience.spool`)."""
    try:
        with Path(env.text("AURORA_DATA_DIR"), "spool", "drain").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def main(arguments: Sequence[str]) -> int:
    probes: dict[str, Callable[[], bool]] = {"web": web, "work": work, "spool": spool}
    return 0 if probes[arguments[0]]() else 1


def _client(location: redis_url.Location) -> Any:
    if location.kind is redis_url.Kind.SERVER:
        return redis.Redis.from_url(location.url, socket_timeout=TIMEOUT_SECONDS)
    from aurora.bus import redis as clients  # loads a part of Django, which takes its time

    return clients.client(url=location.url)


def _consumes(client: Any, stream: str) -> bool:
    ours = f"{socket.gethostname()}:".encode()  # as aurora.bus.groups names its consumers
    return any(
        consumer["name"].startswith(ours) and consumer["idle"] < SILENT_SECONDS * 1000
        for group in streams.groups_of(client, stream)
        for consumer in client.xinfo_consumers(stream, group["name"])
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
