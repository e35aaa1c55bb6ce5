"""One client of the broadcaster: a bounded queue and the task that empties it. A client that fails or falls behind harms nobody but itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from aurora.actors import Actor
from realtime import metrics
from realtime.messages import WireMessage
from realtime.positions import EntryId, Position

QUEUE_FRAMES = 256
"""What may wait for a client before it is dropped with 4008, beside what the transport and the kernel buffer already.

Nobody loses by it: the client comes back with `last_event_id`, and a replay does not count against the queue."""
SEND_SECONDS = 10.0
"""How long one frame may take to be taken by the transport before the client counts as stalled."""
CLOSE_SECONDS = 2.0
"""How long a dropped client is given to take the close frame."""
TURN_FRAMES = 64
"""Frames written without giving the event loop to the others; a server's `send` need not suspend."""

TOO_SLOW = 4008

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
WriteNow = Callable[[bytes], bool]


def never(_frame: bytes) -> bool:
    """The `write_now` of a server that has none."""
    return False


class Client:
    """A socket that has joined a channel. Nothing is sent before `start`; what comes meanwhile is queued.

    `types` are the event types it may see. `on_end` is called once, when the client is no longer served, whatever the cause. `write_now` is the
    server's way to take a ready frame at once, or to say that it cannot.
    """

    def __init__(
        self,
        channel: str,
        send: Send,
        types: frozenset[str],
        on_end: Callable[[Client], None],
        write_now: WriteNow = never,
    ) -> None:
        self.channel, self.types = channel, types
        self.after: Position | None = None
        """Where a resumed client stands: frames up to here it has had, or gets from its replay."""
        self.actor: Actor | None = None
        self.doubted = asyncio.Event()
        """Set when it may have lost its right to be here."""
        self.ended = asyncio.Event()
        self._send, self._on_end, self._write_now = send, on_end, write_now
        self._queue: deque[WireMessage] = deque()
        self._replay: deque[WireMessage] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._sending_since: float | None = None
        self._sent = 0
        self._farewell: dict[str, Any] | None = None
        self._is_served, self._is_started = True, False

    def replay(self, messages: Iterable[WireMessage]) -> None:
        """Gives the client what comes before the queue, whose bound it does not count against. To be called before `start`."""
        self._replay = deque(messages)

    def start(self) -> None:
        """Begins to send; or says farewell, if the client was dropped before it began."""
        self._is_started = True
        if self._is_served:
            self._writer = asyncio.create_task(self._write(), name="ws-writer")
        else:
            self._closer = asyncio.create_task(self._close(), name="ws-closer")

    def belongs_to(self, *, user_id: int | None, key_id: str | None) -> bool:
        """Whether it is a socket of this account, or of this API key."""
        if self.actor is None:
            return False
        is_accounts = user_id is not None and self.actor.user_id == user_id
        return is_accounts or (key_id is not None and self.actor.key_id == key_id)

    def has_had(self, stream: int, entry_id: EntryId) -> bool:
        return self.after is not None and entry_id <= self.after[stream]

    def offer_now(self, message: WireMessage) -> None:
        """Writes the frame if nothing waits before it and the server takes it, else queues it. For a frame that comes alone: of many, each
        would keep the others waiting for all receivers of the one before."""
        is_idle = self._wake is not None and not self._wake.done()
        if is_idle and self._write_now(message["frame"]):
            self._sent += 1
        else:
            self.offer(message)

    def offer(self, message: WireMessage) -> None:
        """Queues a frame; never waits. Too much that waits drops the client."""
        if len(self._queue) >= QUEUE_FRAMES:
            self.drop("slow", code=TOO_SLOW, text="Too slow: come back with last_event_id")
            return
        self._queue.append(message)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def inspect(self, now: float) -> None:
        """Drops the client when one frame has waited too long for the transport. To be called every second or so; `now` is the loop's time."""
        if self._sending_since is not None and now - self._sending_since > SEND_SECONDS:
            self.drop("stalled", code=TOO_SLOW)

    def count(self) -> None:
        """Moves what was sent since the last call into the metrics: now and then, because a labelled counter is slow beside a send."""
        metrics.SENT.labels(self.channel).inc(self._sent)
        self._sent = 0

    def drop(self, reason: str, *, code: int | None = None, text: str = "") -> None:
        """Stops serving the client, counts it under `reason`, and closes its socket with `code` and `text`, if it still takes that. Never waits."""
        if not self._is_served:
            return
        metrics.DROPPED.labels(self.channel, reason).inc()
        self._end()
        self._farewell = {"type": "websocket.close", "code": code, "reason": text} if code is not None else None
        if self._is_started:
            self._closer = asyncio.create_task(self._close(), name="ws-closer")

    async def leave(self) -> None:
        """The peer is gone or was sent away: stops serving it, and waits until nothing of it runs any more."""
        self._end()
        tasks = [task for task in (self._writer, self._closer) if task is not None]
        if tasks:
            await asyncio.wait(tasks)

    def _end(self) -> None:
        if self._is_served:
            self._is_served = False
            self._queue.clear()
            self.count()
            self._on_end(self)
        if self._writer is not None and self._writer is not asyncio.current_task():
            self._writer.cancel()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                queue = self._replay or self._queue
                if not queue:
                    self._wake = loop.create_future()
                    await self._wake
                    continue
                for _ in range(min(len(queue), TURN_FRAMES)):
                    self._sending_since = loop.time()
                    await self._send(queue.popleft())
                    self._sent += 1
                self._sending_since = None
                if queue:
                    await asyncio.sleep(0)
        except (OSError, RuntimeError):
            # ASGI: sending to a closed socket raises an OSError; uvicorn adds RuntimeError after its own close. The peer is gone.
            self.drop("gone")
        except Exception:
            self.drop("error")
            raise

    async def _close(self) -> None:
        if self._writer is not None:
            await asyncio.wait([self._writer])
        if self._farewell is not None:
            # A stalled peer takes no close frame either (the timeout is an OSError).
            with contextlib.suppress(OSError, RuntimeError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._send(self._farewell)
        self.ended.set()
