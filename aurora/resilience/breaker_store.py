"""One breaker for every process: its state as a text in Redis, changed by one Lua call, pushed to all who
hold it.

A store is one per process. `ask` costs one round trip and is called only when something may change. One
daemon thread per store listens for the changes that other processes make, reads every state again whenever it
(re)connects, and writes pending counts at most once a tick. Redis refused, frozen or flushed is no error
here: `ask` answers None, the caller goes on by itself, and nobody tries again before `retry_seconds` have
passed, so that one dead Redis costs one timeout a second and not one a call. How long that timeout is (50 ms
at most) belongs to the injected client.
"""

from __future__ import annotations

import functools
import hashlib
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import redis
import structlog
from redis.client import PubSub
from redis.exceptions import NoScriptError, RedisError

from aurora.bus.direct import DirectCommands
from aurora.resilience.breaker_machine import (
    Answer,
    BreakerSettings,
    Counts,
    Event,
    Known,
    State,
    Status,
    View,
)
from aurora.resilience.breaker_window import SLOTS, Conditions

PREFIX = "aurora:breaker"
SCRIPT = Path(__file__).with_name("breaker.lua").read_text(encoding="utf-8")
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
VIEW_LINES = 14
_KNOWN_STATE, _ONE_FAILURE_MORE = 6, 6  # the place of an argument, the length of a reply
LONGEST_WAIT = 1.0  # of the listener for a message: `stop` waits for it
SILENCE_SECONDS = 2.0  # an unanswered ping on the subscription is a dead connection after this

log = structlog.get_logger(__name__)


class Member(Protocol):
    """What the listener thread needs of a breaker."""

    name: str

    def adopt(self, view: View) -> None: ...
    def read_shared(self) -> bool: ...
    def write_counts(self) -> None: ...


class Question(NamedTuple):
    """What a breaker tells with the question how it is."""

    name: str
    settings: BreakerSettings
    known: Known
    counts: Counts

    def told(self) -> dict[str, Any]:
        return {"settings": self.settings, "known": self.known, "counts": self.counts}


class BreakerStore:
    """The process's door to shared breakers. Redis calls use `client` as it is: timeouts and retries are the
    caller's."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        prefix: str = PREFIX,
        retry_seconds: float = 1.0,
        tick_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client: Any = client  # redis-py leaves half of its methods without types
        self._prefix = prefix
        # Pub/sub ignores database numbers; two installations on one Redis must not hear each other.
        pool = getattr(client, "connection_pool", None)  # a Cluster has one for each node, and one database
        self._channel = f"{prefix}:{(pool and pool.connection_kwargs.get('db')) or 0}:changes"
        self._retry_seconds = retry_seconds
        self._tick_seconds = tick_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()
        self._listener: threading.Thread | None = None
        self._stopping = threading.Event()
        self._retry_at = -math.inf
        self._is_down = False
        # Straight on a connection: what redis-py does for commands of every kind takes as long as the round trip itself.
        self._direct = None if pool is None else DirectCommands(client)
        self._command: Callable[..., Any] = self._direct.ask if self._direct else self._client.execute_command

    def join(self, member: Member) -> None:
        """Push changes of `member.name` to it from now on. Starts the listener thread."""
        self._stopping.clear()
        with self._lock:
            self._members.add(member)
        self._keep_listening()

    def ask(
        self, name: str, event: Event | None, *, settings: BreakerSettings, known: Known, counts: Counts
    ) -> Answer | None:
        """Apply `event` (None only reads) and add `counts`, in one call. None when Redis gives no answer:
        nothing is known to have happened there, and the caller decides alone."""
        if not self._may_try():
            return None
        if self._listener is not None and not self._stopping.is_set():
            self._keep_listening()
        arguments = _arguments(name, event, settings=settings, known=known, counts=counts, channel=self._channel)
        key = f"{self._prefix}:{name}"
        try:
            reply = self._run(key, arguments)
            if not reply:
                # Flushed, or restored from an older file: it has to be told what was known here.
                arguments[_KNOWN_STATE] = _lines(known.state)
                reply = self._run(key, arguments)
            if event is not None and len(reply) == _ONE_FAILURE_MORE:
                answer = _one_failure_more(name, event, reply)
            else:
                answer = _read_answer(reply)
        except (RedisError, OSError, ValueError) as error:
            self._note_down(error)
            return None
        if self._is_down:
            self._note_up()
        return answer

    def read_all(self, questions: Sequence[Question]) -> list[Answer | None]:
        """As `ask` without an event for several breakers, in one round trip; in a Cluster, where each may be elsewhere, in one for each."""
        if self._direct is None or not self._may_try():
            return [self._read(question) for question in questions]
        commands: list[tuple[bytes | str | int, ...]] = [
            ("EVALSHA", SCRIPT_SHA, 1, f"{self._prefix}:{name}", *_arguments(name, None, channel=self._channel, **told))
            for name, told in ((question.name, question.told()) for question in questions)
        ]
        try:
            replies = self._direct.ask_all(commands)
            # Whoever is not known there, or asks before the script is, asks again by itself and tells more.
            answers = [
                _read_answer(reply) if isinstance(reply, list) and reply else self._read(question)
                for question, reply in zip(questions, replies, strict=True)
            ]
        except (RedisError, OSError, ValueError) as error:
            self._note_down(error)
            return [None] * len(questions)
        if self._is_down:
            self._note_up()
        return answers

    def _read(self, question: Question) -> Answer | None:
        return self.ask(question.name, None, **question.told())

    def stop(self) -> None:
        """End the listener thread. The store stays usable: the next `join` starts another one."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.join()
        if self._direct is not None:
            self._direct.close()

    def _keep_listening(self) -> None:
        # Also in the child of a fork, where the parent's thread is not.
        if self._listener is not None and self._listener.is_alive():
            return
        with self._lock:
            if self._listener is None or not self._listener.is_alive():
                self._listener = threading.Thread(target=self._listen, name="breaker-listener", daemon=True)
                self._listener.start()

    def _run(self, key: str, arguments: list[str]) -> list[Any]:
        try:
            found: list[Any] = self._command("EVALSHA", SCRIPT_SHA, 1, key, *arguments)
        except NoScriptError:
            # First use, or Redis was restarted or flushed since; EVAL also loads it for the next caller.
            found = self._command("EVAL", SCRIPT, 1, key, *arguments)
        return found

    def _may_try(self) -> bool:
        if not self._is_down:
            return True
        with self._lock:
            now = self._clock()
            if now < self._retry_at:
                return False
            # One caller finds out for all.
            self._retry_at = now + self._retry_seconds
            return True

    def _note_down(self, error: Exception) -> None:
        with self._lock:
            was_down, self._is_down = self._is_down, True
            self._retry_at = self._clock() + self._retry_seconds
        if not was_down:
            log.warning("breaker_store_unreachable", error=f"{type(error).__name__}: {error}")

    def _note_up(self) -> None:
        with self._lock:
            was_down, self._is_down = self._is_down, False
            self._retry_at = -math.inf
        if was_down:
            log.info("breaker_store_reachable")

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._client.pubsub() as subscription:
                    subscription.subscribe(self._channel)
                    self._follow(subscription)
            except (RedisError, OSError) as error:
                self._note_down(error)
            except Exception:
                # Without this thread the process would miss every change from now on, in silence.
                log.exception("breaker_listener_failed")
            self._stopping.wait(self._tick_seconds)

    def _follow(self, subscription: PubSub) -> None:
        pinged_at: float | None = None
        write_at = 0.0
        while not self._stopping.is_set():
            message = subscription.get_message(timeout=min(self._tick_seconds, LONGEST_WAIT))
            if message is not None:
                pinged_at = None
                self._hear(message)
            elif pinged_at is None:
                subscription.ping()
                pinged_at = time.monotonic()
            elif time.monotonic() - pinged_at > SILENCE_SECONDS:
                # A peer that vanished without a reset would otherwise be listened to for ever.
                raise redis.ConnectionError("the subscription went silent")
            # Real time, as a stuck injected clock must not turn this into a write per message.
            if time.monotonic() >= write_at:
                write_at = time.monotonic() + self._tick_seconds
                self._write_counts()

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            # Whatever was pushed while nobody listened is caught up here, also after a reconnect.
            self._note_up()
            for member in self._current_members():
                member.read_shared()
        elif message["type"] == "message":
            try:
                view = read_view(message["data"])
            except ValueError as error:
                log.warning("breaker_push_unreadable", error=str(error))
                return
            for member in self._current_members():
                if member.name == view.name:
                    member.adopt(view)

    def _write_counts(self) -> None:
        for member in self._current_members():
            member.write_counts()

    def _current_members(self) -> list[Member]:
        with self._lock:
            return list(self._members)


def _read_answer(reply: list[Any]) -> Answer:
    return Answer(read_view(reply[3]), Status(_text(reply[2])), reply[0] == 1, reply[1] == 1)


def read_view(payload: bytes | str) -> View:
    """A view as `breaker.lua` writes it. Raises ValueError on anything else."""
    # The error comes last, for it alone may hold line breaks; too few lines are a ValueError by themselves.
    name, version, status, generation, failure_count, forced, opened, probe, trips, reopened, *counts, error = _text(
        payload
    ).split("\n", VIEW_LINES - 1)
    state = State(
        Status(status),
        int(generation),
        int(failure_count),
        forced == "1",
        -int(opened) / 1e6 if opened else None,
        int(probe) / 1e6 if probe else math.inf,
        int(trips),
        int(reopened),
        error,
    )
    successes, failures, rejected = counts
    return View(name, int(version), state, Counts(int(successes), int(failures), int(rejected)))


def _arguments(
    name: str, event: Event | None, *, settings: BreakerSettings, known: Known, counts: Counts, channel: str
) -> list[str]:
    kind, generation, error, draw = (
        (event.kind, event.generation, event.error, event.draw) if event else ("sync", 0, "", 0.0)
    )
    threshold, times = _told_settings(settings)
    return [
        kind,
        str(generation),
        error,
        threshold,
        str(known.version),
        "1" if known.differs else "0",
        _lines(known.state) if known.differs else "",
        _conditions(settings.conditions, event) if settings.conditions else "",
        str(counts.successes),
        str(counts.failures),
        str(counts.rejected),
        times,
        f"{draw:.6f}" if settings.longest_reset else "0",
        f"{channel}\n{name}",
    ]


@functools.lru_cache(maxsize=256)
def _told_settings(settings: BreakerSettings) -> tuple[str, str]:
    times = (settings.reset_timeout, settings.probe_lease, settings.longest_reset)
    return str(settings.failure_threshold), ",".join(map(_micros, times))


def _one_failure_more(name: str, event: Event, reply: list[Any]) -> Answer:
    """The answer to a failure that changed nothing but the count, of which the script tells no more than that."""
    version, failure_count, successes, failures, rejected, lines = reply
    trips, reopened = lines.split()
    state = State(
        Status.CLOSED,
        event.generation,
        failure_count,
        trips=int(trips),
        reopened=int(reopened),
        last_error=event.error,
    )
    view = View(name, version, state, Counts(successes, failures, rejected))
    return Answer(view, Status.CLOSED, is_admitted=False, is_transition=False)


def _conditions(wanted: Conditions, event: Event | None) -> str:
    slot = max(1, round(wanted.seconds / SLOTS * 1_000_000))
    failure_share, slow_share = wanted.shares
    return f"{slot},{wanted.least_calls},{failure_share},{slow_share},{event.succeeded if event else 0}"


def _lines(state: State) -> str:
    opened = "" if state.opened_at is None else _micros(-state.opened_at)
    probe = "" if math.isinf(state.probe_at) else _micros(state.probe_at)
    return (
        f"{state.status.value}\n{state.generation}\n{state.failure_count}\n{int(state.is_forced)}\n{opened}\n{probe}\n"
        f"{state.trips}\n{state.reopened}\n{state.last_error}"
    )


def _micros(seconds: float) -> str:
    return str(round(seconds * 1_000_000))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
