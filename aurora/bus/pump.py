"""Between one group and a worker's threads: reads ahead, keeps leases, acknowledges in batches, takes over, stops cleanly.

One thread, the pump, talks to the group; the others only handle. So leases are extended and orphans taken over at their time however busy
the handlers are.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import redis
import structlog
from django.db import close_old_connections

from aurora.bus import redis as clients
from aurora.bus.backoff import Backoff
from aurora.bus.groups import Entry, GroupConsumer
from aurora.bus.parking import Parking

T = TypeVar("T")

FINISH_SECONDS = 8.0
"""How long a stop waits for handlers that run; the whole stop takes no more than 10 s."""
LONGEST_TICK_SECONDS = 1.0
LOOK_FOR_DEAD_SECONDS = 15.0
"""How long a new worker, once it has reached Redis, looks for whoever was here before it and whom the supervisor replaced by it."""
TURN_SECONDS = 0.00001
"""What a handler thread that has finished many leaves the interpreter to the pump for: left to itself it would hold it until it has nothing more to do."""
PASSED_ON_SECONDS = 5.0
"""When what waits its turn comes again, if too much waits here already."""
LARGEST_KEPT = 10_000
"""Failed entries whose leases are kept; what fails beyond that comes again after the claim time."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to become of an entry that a handler has let go of."""

    is_done: bool
    """True: it is acknowledged. False: it has been seen to, or stays pending and is taken over after the claim time."""
    kept_seconds: float = 0.0
    """How long its lease is kept before that, so that it comes again later. It dies with us: then the entry comes again sooner."""
    is_early: bool = False
    """True: its turn has not come, nothing was done, and it is settled again soon."""


DONE, LEFT, EARLY = Settled(is_done=True), Settled(is_done=False), Settled(is_done=False, is_early=True)


def taken_from(items: deque[T]) -> list[T]:
    """All that was there. Others may take from it and add to it at the same time; each item is taken once."""
    taken: list[T] = []
    with contextlib.suppress(IndexError):
        taken.extend(items.popleft() for _ in range(len(items)))
    return taken


class Pump:
    """`settle` handles one entry in a handler thread, or `settle_together` up to `batch` of those that wait, when that is more than one.
    `paused` is called by a thread that finds nothing more to handle, and every tick."""

    def __init__(
        self,
        consumer: GroupConsumer,
        settle: Callable[[Entry], Settled],
        *,
        settle_together: Callable[[Sequence[Entry]], Sequence[Settled]],
        paused: Callable[[], None],
        claim_seconds: float,
        concurrency: int,
        batch: int,
        prefetch: int,
        timeout: float,
    ) -> None:
        self._consumer, self._settle, self._settle_together, self._paused = consumer, settle, settle_together, paused
        self._batch = batch
        self._concurrency, self._capacity, self._timeout = concurrency, concurrency + prefetch, timeout
        self._tick_seconds = min(LONGEST_TICK_SECONDS, claim_seconds / 3)
        self._next_tick = 0.0
        self._looks_for_dead_until = math.inf
        self._redis = Backoff("redis", consumer.group)
        self._lock = threading.Lock()
        self._held: dict[str, float] = {}
        """Entries in hand (read or taken over, and neither acknowledged nor given up), and since when."""
        self._kept: dict[str, float] = {}
        """Entries that failed, and until when their leases are kept."""
        self._parking = Parking()
        """Of those in hand, what waits its turn. It takes no room: what it waits for must be read, or taken over."""
        self._overdue: set[str] = set()
        """Entries in hand whose handlers have run longer than allowed."""
        # Ends of a deque are taken and added in one step, so these need no lock.
        self._waiting: deque[Entry] = deque()
        self._finished: deque[str] = deque()
        self._running: list[tuple[Sequence[Entry], float]] = [_NOTHING] * concurrency
        """What each handler thread has in its hands, and since when."""
        self._arrived = threading.Condition()
        self._is_closed = False
        self._finished_enough = max(1, self._capacity // 2)
        self._has_room = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. Raises RuntimeError when a handler thread died, which only something like lack of memory can bring about."""
        serve = self._serve_batches if self._batch > 1 else self._serve
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(serve, place),
                name=f"{self._consumer.group}-{place}",
                daemon=True,
            )
            for place in range(self._concurrency)
        ]
        for thread in threads:
            thread.start()
        try:
            while not stop.is_set():
                self._turn_or_wait(stop)
                if not all(thread.is_alive() for thread in threads):
                    raise RuntimeError(f"a handler thread of {self._consumer.group} died")
        finally:
            self._wind_down(threads)

    def _turn_or_wait(self, stop: threading.Event) -> None:
        try:
            self._turn()
        except redis.RedisError as error:
            stop.wait(self._redis.failed(error))
        else:
            self._redis.worked()

    def _turn(self) -> None:
        self._bring_back()
        if time.monotonic() >= self._next_tick:
            self._paused()
            self._acknowledge()
            self._extend_leases()
            if time.monotonic() < self._looks_for_dead_until:
                self._consumer.release_dead()
                self._looks_for_dead_until = min(self._looks_for_dead_until, time.monotonic() + LOOK_FOR_DEAD_SECONDS)
            is_more_to_claim = self._take_over()
            self._next_tick = time.monotonic() + (0 if is_more_to_claim else self._tick_seconds)
        remaining = max(0.0, self._next_tick - time.monotonic())
        finished = taken_from(self._finished) if len(self._finished) >= self._finished_enough else []
        if room := self._room() + len(finished):
            self._take(self._read(room, min(int(remaining * 1000), clients.BLOCK_MS), finished))
        else:
            self._has_room.wait(remaining)

    def _read(self, room: int, block_ms: int, finished: list[str]) -> list[Entry]:
        """New entries, in the place of those that are finished: both in one round trip, while the handlers go on with what they have."""
        try:
            entries = self._consumer.read(count=room, block_ms=block_ms, done=finished)
        except redis.RedisError:
            self._finished.extend(finished)
            raise
        self._forget(finished)
        return entries

    def _room(self) -> int:
        self._has_room.clear()
        return max(0, self._capacity - len(self._held) + len(self._parking))

    def _take_over(self) -> bool:
        """Whether there may be more to take over at once."""
        if not (room := self._room()):
            return False
        with self._lock:
            in_hand = set(self._held)
        entries = self._consumer.claim(count=room, in_hand=in_hand)
        self._take(entries)
        return bool(entries) or self._consumer.is_scanning

    def _take(self, entries: list[Entry]) -> None:
        now = time.monotonic()
        with self._lock:
            # A group that was made again reads what we still hold a second time.
            fresh = [entry for entry in entries if entry.entry_id not in self._held]
            self._held.update((entry.entry_id, now) for entry in fresh)
            for entry in fresh if self._kept else ():
                self._kept.pop(entry.entry_id, None)
        if fresh:
            self._waiting.extend(fresh)
            with self._arrived:
                self._arrived.notify(len(fresh))

    def _extend_leases(self) -> None:
        """For all in hand but the newest, and but those that run longer than allowed: those are left to another consumer."""
        now = time.monotonic()
        with self._lock:
            for entries, began in self._running:
                for entry in entries if now - began > self._timeout else ():
                    self._note_overdue(entry.entry_id, now - began)
            aged = [entry_id for entry_id, taken in self._held.items() if now - taken >= self._tick_seconds / 2]
            leased = [entry_id for entry_id in aged if entry_id not in self._overdue]
            leased += self._kept  # once more when its time is over, from which on the claim time counts
            self._kept = {entry_id: until for entry_id, until in self._kept.items() if until > now}
        self._consumer.extend(leased)

    def _note_overdue(self, entry_id: str, seconds: float) -> None:
        if entry_id in self._held and entry_id not in self._overdue:
            self._overdue.add(entry_id)
            names = {"stream": self._consumer.stream, "group": self._consumer.group, "entry_id": entry_id}
            log.error("handler_overdue", **names, seconds=round(seconds, 1))

    def _serve(self, place: int) -> None:
        waiting, running, settle, finish = self._waiting, self._running, self._settle, self._finish
        while True:
            try:
                entry = waiting.popleft()
            except IndexError:
                running[place] = _NOTHING
                if self._is_over_after_pause():
                    return
                continue
            running[place] = ((entry,), time.monotonic())
            finish(entry, settle(entry))

    def _serve_batches(self, place: int) -> None:
        while True:
            entries = self._pop(self._batch)
            if entries:
                self._running[place] = (entries, time.monotonic())
                for entry, settled in zip(entries, self._settle_together(entries), strict=True):
                    self._finish(entry, settled)
            else:
                self._running[place] = _NOTHING
                if self._is_over_after_pause():
                    return

    def _pop(self, most: int) -> list[Entry]:
        """Up to so many of those that wait."""
        entries: list[Entry] = []
        with contextlib.suppress(IndexError):
            while len(entries) < most:
                entries.append(self._waiting.popleft())
        return entries

    def _finish(self, entry: Entry, settled: Settled) -> None:
        if settled.is_early and self._park(entry):
            return
        if self._parking.is_used and not settled.is_early:
            self._parking.note_end(entry.entry_id)
        if not settled.is_done:
            self._let_go(entry.entry_id, settled.kept_seconds)
            return
        self._finished.append(entry.entry_id)
        if len(self._finished) >= self._finished_enough and not self._has_room.is_set():
            self._has_room.set()
            time.sleep(TURN_SECONDS)  # the pump asks for more, and while Redis answers this thread goes on

    def _is_over_after_pause(self) -> bool:
        """Brings to an end what was handled, and waits for more; whether nothing more will come."""
        close_old_connections()
        self._paused()
        self._acknowledge_or_leave()
        with self._arrived:
            while not self._waiting and not self._is_closed:
                self._arrived.wait(self._parking.seconds_left())
                self._bring_back()
            return not self._waiting

    def _park(self, entry: Entry) -> bool:
        """False when it is left to whoever takes it over."""
        if self._parking.add(entry):
            self._has_room.set()
            return True
        self._unless_redis_is_away(lambda: self._consumer.postpone(entry, seconds=PASSED_ON_SECONDS))
        return False

    def _bring_back(self) -> None:
        """Has those looked at again that wait their turn, when it is time."""
        if entries := self._parking.take_due():
            self._waiting.extend(entries)
            with self._arrived:
                self._arrived.notify(len(entries))

    def _let_go(self, entry_id: str, kept_seconds: float) -> None:
        with self._lock:
            del self._held[entry_id]
            # What ran too long has lost its lease already, and may be with another.
            if kept_seconds > 0 and entry_id not in self._overdue and len(self._kept) < LARGEST_KEPT:
                self._kept[entry_id] = time.monotonic() + kept_seconds
            self._overdue.discard(entry_id)
        self._has_room.set()

    def _acknowledge_or_leave(self) -> None:
        try:
            self._acknowledge()
        except redis.RedisError as error:
            self._redis.failed(error)  # the next tick tries again
        self._has_room.set()

    def _acknowledge(self) -> None:
        entry_ids = taken_from(self._finished)
        try:
            self._consumer.acknowledge(entry_ids)
        except redis.RedisError:
            self._finished.extend(entry_ids)
            raise
        self._forget(entry_ids)

    def _forget(self, entry_ids: list[str]) -> None:
        """They are acknowledged."""
        if entry_ids:
            with self._lock:
                for entry_id in entry_ids:
                    del self._held[entry_id]
                self._overdue.difference_update(entry_ids)
            self._has_room.set()

    def _wind_down(self, threads: list[threading.Thread]) -> None:
        self._hand_back_unstarted()
        with self._arrived:
            self._is_closed = True
            self._arrived.notify_all()
        deadline = time.monotonic() + FINISH_SECONDS
        running = threads
        while running and time.monotonic() < deadline:
            running[0].join(self._tick_seconds)
            running = [thread for thread in running if thread.is_alive()]
            self._unless_redis_is_away(self._extend_leases)
        self._unless_redis_is_away(self._acknowledge)
        self._hand_back_unstarted()  # what was found to be early since
        if running:
            log.error("handlers_abandoned", group=self._consumer.group, count=len(running))
            self._hand_back_unfinished()
        self._unless_redis_is_away(self._consumer.leave)

    def _hand_back_unstarted(self) -> None:
        entries = self._pop(self._capacity + len(self._waiting)) + self._parking.take_all()
        with self._lock:
            for entry in entries:
                del self._held[entry.entry_id]
        self._unless_redis_is_away(lambda: self._consumer.hand_back(entries))

    def _hand_back_unfinished(self) -> None:
        """What runs on ends with the process, which is about to: others need not wait for the claim time to begin it anew."""
        with self._lock:
            unfinished = [
                entry
                for entries, _ in self._running
                for entry in entries
                if entry.entry_id in self._held and entry.entry_id not in self._overdue
            ]
        self._unless_redis_is_away(lambda: self._consumer.hand_back(unfinished))

    def _unless_redis_is_away(self, command: Callable[[], None]) -> None:
        """While stopping there is no later: what stays undone, another consumer takes over after the claim time."""
        try:
            command()
        except redis.RedisError as error:
            self._redis.failed(error)


_NOTHING: tuple[Sequence[Entry], float] = ((), 0.0)
