"""One reader of the streams per process, and every socket of that process behind it.

Each event is read once (XREAD, never a consumer group: every process shows everything), encoded once and put into the queue of every client of
its channel. The reader lives from the first client to the last, on their event loop. While Redis is away the sockets stay; the reader comes
back with growing pauses and goes on after the last entry it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import redis.asyncio
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from aurora.actors import Actor
from aurora.bus import control as words
from aurora.bus import redis as clients
from aurora.bus import streams
from aurora.console import standing
from aurora.errors import Invalid, Unavailable
from aurora.resilience import availability
from aurora.resilience.availability import Standing
from realtime import control, history, metrics
from realtime.clients import TURN_FRAMES, Client, Send, WriteNow, never
from realtime.feed import Feed
from realtime.messages import CHANNELS, MODE_CHANGED, Channel, Frame, Gap, encode, gap, hello, word
from realtime.positions import START, EntryId, Position, format_entry_id, parse_position

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
"""Between attempts to reach Redis again."""
WATCH_SECONDS = 1.0
"""How often clients that stall or lag are looked for and frames are counted. One watch for all is cheaper than a timer for every frame."""
CANCEL_SECONDS = 0.1
"""A cancellation that has not taken by then is repeated: `asyncio.wait_for` of Python 3.11, which redis-py writes through, can swallow one."""

_STREAMS = tuple({name: None for channel in CHANNELS.values() for name in channel.streams})


def current() -> Broadcaster:
    """The running loop's broadcaster. It is made for the first client and forgotten with the last."""
    loop = asyncio.get_running_loop()
    if loop not in _broadcasters:
        _broadcasters[loop] = Broadcaster(loop)
    return _broadcasters[loop]


class Broadcaster:
    """Reads the streams of all channels and feeds their clients."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._feeds = {name: Feed(channel) for name, channel in CHANNELS.items()}
        self._heads: dict[str, EntryId] = {}
        self._witnesses: dict[str, EntryId] = {}
        """Of each stream that is not empty an entry read since it was last certain that the stream still holds it, or then the last."""
        self._has_asked = asyncio.Event()
        self._history = clients.async_client(clients.Purpose.COMMAND)
        self._tasks: list[asyncio.Task[None]] = []
        self._has_redis = True
        self._locates_at = 0.0

    async def join(
        self,
        channel: Channel,
        *,
        actor: Actor,
        send: Send,
        write_now: WriteNow = never,
        last_event_id: str = "",
    ) -> Client:
        """A client that misses nothing from now on; it sends once it is started. Raises Unavailable when the channel is full.

        With `last_event_id` it first gets what came after that, or a `gap`; without, only what comes.
        """
        feed = self._feeds[channel.name]
        if feed.seats >= settings.WS_MAX_CONNECTIONS:
            raise Unavailable("Max connections reached")
        feed.seats += 1
        metrics.CONNECTED.labels(channel.name).inc()
        client = Client(channel.name, send, channel.types_for(actor), self._release, write_now)
        client.actor = actor
        try:
            if not self._tasks:
                self._tasks = [
                    asyncio.create_task(self._read(), name="ws-reader"),
                    asyncio.create_task(self._watch(), name="ws-watch"),
                    asyncio.create_task(control.listen(self._hear), name="ws-control"),
                ]
            await self._has_asked.wait()
            await self._place(feed, client, last_event_id)
        except BaseException:
            await client.leave()
            raise
        if not self._has_redis and MODE_CHANGED in client.types:
            client.offer(word(MODE_CHANGED, feed.place_of(client), {"is_bus_available": False}))
        return client

    def greet(self, client: Client) -> None:
        """Sends another `hello`, behind all that waits for the client."""
        feed = self._feeds[client.channel]
        client.offer(hello(feed.channel, feed.place_of(client)))

    async def settle(self) -> None:
        """After a client has left: waits until the reader has ended, if that was the last one."""
        if _broadcasters.get(self._loop) is self:
            return
        pending = set(self._tasks)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)
            for task in pending:
                task.cancel()

    def _release(self, client: Client) -> None:
        feed = self._feeds[client.channel]
        feed.clients.discard(client)
        feed.seats -= 1
        metrics.CONNECTED.labels(client.channel).dec()
        if not any(other.seats for other in self._feeds.values()):
            _broadcasters.pop(self._loop, None)
            for task in self._tasks:
                task.cancel()

    async def _place(self, feed: Feed, client: Client, last_event_id: str) -> None:
        if not last_event_id or feed.position is None:
            # A resuming client that comes while Redis has not answered gets its `gap` when it does (`Feed.begin`).
            feed.admit(client, [hello(feed.channel, feed.position)])
            return
        try:
            start = parse_position(last_event_id, streams=len(feed.channel.streams))
            frames, reached = await self._catch_up(feed, start)
        except Invalid:
            reason = Gap.MALFORMED
        except history.Missed as missed:
            reason = missed.reason
        except (RedisError, OSError):
            reason = Gap.UNAVAILABLE
        else:
            feed.resume(client, hello(feed.channel, start), frames, start, reached)
            return
        feed.admit(client, [hello(feed.channel, feed.position), gap(feed.position, reason)])

    async def _catch_up(self, feed: Feed, position: Position) -> tuple[list[Frame], Position]:
        """Every frame after `position`: from the ring, else from the streams up to where the ring takes over. Raises Missed, RedisError."""
        frames: list[Frame] = []
        left = history.REPLAY_LIMIT
        is_joined = feed.spans(position)
        while not is_joined:
            entries, position = await history.missed(self._history, feed.channel.streams, position, limit=left)
            left -= len(entries)
            for number, entry in enumerate(entries):
                if number % TURN_FRAMES == 0:
                    await asyncio.sleep(0)
                frame = _frame_of(feed.channel, entry)
                frames += [frame] if frame else []
            is_joined = feed.covers(position) or not entries
        return frames + feed.after(position), position

    async def _read(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        async with self._history, clients.async_client(clients.Purpose.STREAM) as client:
            while True:
                try:
                    await self._locate(client)
                    self._has_asked.set()
                    self._note_redis(is_there=True)
                    pause = FIRST_PAUSE_SECONDS
                    while True:
                        await self._follow(client)
                except (RedisError, OSError) as error:
                    if pause == FIRST_PAUSE_SECONDS:
                        metrics.OUTAGES.inc()
                        log.warning("ws_reader_lost_redis", error=str(error))
                    self._note_redis(is_there=False)
                except Exception:
                    # Whatever it was, the sockets would fall silent without their reader.
                    log.exception("ws_reader_failed")
                self._has_asked.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _note_redis(self, *, is_there: bool) -> None:
        """Tells who watches the system that the bus is away, and that it is back. Whoever lost a right meanwhile was not told of: all are asked."""
        if is_there is self._has_redis:
            return
        self._has_redis = is_there
        for feed in self._feeds.values():
            feed.show(MODE_CHANGED, {"is_bus_available": is_there})
            if is_there:
                for client in feed.clients:
                    client.doubted.set()

    def _hear(self, word: dict[str, Any]) -> None:
        """A word of another process (`aurora.bus.control`)."""
        if word["about"] == words.LOOK:
            self._loop.run_in_executor(None, availability.database.make_certain)
        elif word["about"] == words.FRAME:
            for feed in self._feeds.values():
                feed.show(word["kind"], word["data"])
        elif word["about"] == words.RIGHTS:
            for client in [client for feed in self._feeds.values() for client in feed.clients]:
                if client.belongs_to(user_id=word["user_id"], key_id=word["key_id"]):
                    client.doubted.set()

    def show_mode(self) -> None:
        """Tells who watches the system how PostgreSQL stands in this process's eyes."""
        mode = standing.now()
        for feed in self._feeds.values():
            feed.show(MODE_CHANGED, mode)

    async def _locate(self, client: redis.asyncio.Redis) -> None:
        """Finds where the streams stand: at the start their ends, later whether they still hold what was read last."""
        self._locates_at = self._loop.time() + clients.BLOCK_MS / 1000
        is_start = not self._heads
        moved = await (
            history.heads_of(client, _STREAMS) if is_start else history.lost(client, self._heads, self._witnesses)
        )
        if moved and not is_start:
            log.warning("ws_streams_went_back", streams=sorted(moved))
        self._heads |= moved
        self._witnesses = {name: entry_id for name, entry_id in self._heads.items() if entry_id != START}
        for feed in self._feeds.values():
            if moved.keys() & set(feed.channel.streams):
                position = tuple(self._heads[name] for name in feed.channel.streams)
                feed.begin(position, Gap.UNAVAILABLE if is_start else Gap.TRIMMED)

    async def _follow(self, client: redis.asyncio.Redis) -> None:
        entries = await history.new_entries(client, self._heads, block_ms=clients.BLOCK_MS)
        # Also while some stream is never quiet: of the others, nothing else would tell that Redis has forgotten them.
        if not entries or self._loop.time() >= self._locates_at:
            await self._locate(client)
        for number, entry in enumerate(entries, 1):
            self._publish(entry, is_alone=len(entries) == 1)
            if number % TURN_FRAMES == 0:
                # The writers get their turn, or a burst would overflow the queues of clients that keep up.
                await asyncio.sleep(0)

    def _publish(self, entry: history.Entry, *, is_alone: bool) -> None:
        entry_id, name, _ = entry
        self._heads[name] = entry_id
        self._witnesses.setdefault(name, entry_id)
        for feed in self._feeds.values():
            if name in feed.channel.streams:
                frame = _frame_of(feed.channel, entry)
                if frame is None:
                    feed.pass_over(feed.channel.streams.index(name), entry_id)
                else:
                    feed.publish(frame, is_alone=is_alone)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = self._loop.time()
            for client in [client for feed in self._feeds.values() for client in feed.clients]:
                client.count()
                client.inspect(now)


_broadcasters: dict[asyncio.AbstractEventLoop, Broadcaster] = {}


def _tell(_standing: Standing) -> None:
    """From whatever thread found it out."""
    for loop, broadcaster in list(_broadcasters.items()):
        with contextlib.suppress(RuntimeError):  # a loop that has just been closed
            loop.call_soon_threadsafe(broadcaster.show_mode)


availability.database.on_change(_tell)


def _frame_of(channel: Channel, entry: history.Entry) -> Frame | None:
    """The entry as a frame; None for types that the channel does not show, for an event put back for one group alone (sockets had it), and
    for what cannot be encoded, which is the sender's fault alone."""
    entry_id, name, fields = entry
    if streams.text_of(fields, "type") not in channel.types or streams.text_of(fields, "addressee"):
        return None
    try:
        message = streams.decode(name, format_entry_id(entry_id), fields)
        return encode(channel, channel.streams.index(name), message)
    except (Invalid, TypeError, RecursionError) as error:
        metrics.SKIPPED.labels(name).inc()
        log.warning("ws_event_skipped", stream=name, entry_id=format_entry_id(entry_id), error=str(error))
        return None
