"""From an alert's commit to its frame on a WebSocket: web and workers as `make run` has them, at 20 alerts a second.

An alert is posted over HTTP under a title of its own; the clock starts when the 201 is here, which is a little after the commit, and stops when
`/api/v1/ws/alerts` delivers the frame with that title to another connection. Between the two lie outbox, NOTIFY, relay, stream and fan-out.
One alert in twenty is high and so starts an investigation. The workers are up before the clock starts: their own start is not what is
measured. No peer: targets in milliseconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import installation
from benchmarks.client import Connection
from benchmarks.figures import Figure, Target, quantile
from benchmarks.installation import Installation, Running

TARGETS = (Target(50, "at most", "ours", "ms"), Target(250, "at most", "ours", "ms"))
_RATE = 20
_WARM_UP = 2 * _RATE
_TITLE = "Beacon "
_FIRST = "First of all"
_START = 60.0
"""Seconds that the workers may take until they have moved the first alert."""
_PATIENCE = 10.0
"""Seconds that the last frame may take."""


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures 5 s of alerts when quick, else 30 s."""
    alerts = _WARM_UP + _RATE * (5 if is_quick else 30)
    with opened.connect() as database:
        database.execute("TRUNCATE aurora_outboxevent")  # what other benchmarks announced without a relay
    with installation.product() as web, installation.process("work", [sys.executable, "manage.py", "work"]):
        posted, seen = asyncio.run(_exchange(opened, web, alerts))
    titles = sorted(posted)[_WARM_UP:]
    lost = [title for title in titles if title not in seen]
    assert not lost, f"{len(lost)} of {len(titles)} alerts brought no frame, the first {lost[0]}"
    took = [max(0.0, seen[title] - posted[title]) * 1000 for title in titles]
    return [
        Figure("commit to frame, p50", "ms", quantile(took, 0.5), target=TARGETS[0]),
        Figure("commit to frame, p99", "ms", quantile(took, 0.99), target=TARGETS[1]),
    ]


async def _exchange(opened: Installation, web: Running, alerts: int) -> tuple[dict[str, float], dict[str, float]]:
    """When each title was answered, and when its frame came."""
    bearer = {"Authorization": f"Bearer {opened.access_token}"}
    posted: dict[str, float] = {}
    seen: dict[str, float] = {}
    async with connect(f"ws://127.0.0.1:{web.port}/api/v1/ws/alerts", additional_headers=bearer) as socket:
        await asyncio.to_thread(_post_first, opened, web)
        async with asyncio.timeout(_START):
            while _created(await socket.recv()) != _FIRST:
                pass
        reader = asyncio.create_task(_read(socket, seen, alerts))
        await asyncio.to_thread(_post, opened, web, alerts, posted)
        done, _ = await asyncio.wait([reader], timeout=_PATIENCE)
        for finished in done:
            finished.result()  # a socket that was closed on us is an error, not a lack of frames
        reader.cancel()
    return posted, seen


async def _read(socket: ClientConnection, seen: dict[str, float], alerts: int) -> None:
    """Until as many of ours have come; frames of other benchmarks' alerts may still be on their way."""
    while len(seen) < alerts:
        title = _created(await socket.recv())
        if title.startswith(_TITLE):
            seen[title] = time.perf_counter()


def _created(message: str | bytes) -> str:
    """The title of the alert whose creation the frame tells; empty for another frame."""
    frame: dict[str, Any] = orjson.loads(message)
    return str(frame["data"]["title"]) if frame["type"] == "alert.created" else ""


def _post_first(opened: Installation, web: Running) -> None:
    with web.connect() as connection:
        _post_one(connection, _FIRST, "high", _headers(opened))


def _post(opened: Installation, web: Running, alerts: int, posted: dict[str, float]) -> None:
    """At the stated rate by the clock: an alert that took long does not put the next ones off."""
    headers = _headers(opened)
    began = time.perf_counter()
    with web.connect() as connection:
        for number in range(alerts):
            time.sleep(max(0.0, began + number / _RATE - time.perf_counter()))
            title = f"{_TITLE}{number:06}"
            _post_one(connection, title, "high" if number % 20 == 0 else "medium", headers)
            posted[title] = time.perf_counter()


def _headers(opened: Installation) -> dict[str, str]:
    return {"X-API-Key": opened.api_key, "Content-Type": "application/json"}


def _post_one(connection: Connection, title: str, severity: str, headers: dict[str, str]) -> None:
    body = {"title": title, "severity": severity, "source": "edr", "affected_assets": [f"ws-{title[-2:]}"]}
    status, answer = connection.exchange(connection.request("POST", "/api/v1/alerts", orjson.dumps(body), headers))
    assert status == 201, (status, answer[:500])
