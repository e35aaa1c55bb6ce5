"""A worker: one handler, one verdict a message. The subclass says what it reads and writes `handle`; all else is here.

What becomes of a message, by how `handle` ended:

| it                                                   | the message                                                        |
|------------------------------------------------------|--------------------------------------------------------------------|
| returned                                             | is acknowledged                                                    |
| raised Invalid or Denied (or is no readable message) | is buried at once: it stays wrong                                  |
| raised Unavailable, or a Redis connection error      | comes again, after `retry_after` or the claim time; not counted    |
| found PostgreSQL away                                | is tried again here until PostgreSQL is back; not counted          |
| raised anything else, Missing and Conflict too       | comes again, each time later; buried after the last delivery       |

Missing and Conflict are tried again because a state may still change: the other transaction commits, the replica catches up.
"""

from __future__ import annotations

import enum
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import redis
import structlog
from django.conf import settings
from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from aurora.bus import dead_letters, metrics, registry, streams
from aurora.bus.backoff import Backoff
from aurora.bus.groups import Entry, GroupConsumer
from aurora.bus.order import Order
from aurora.bus.pump import DONE, EARLY, LEFT, Pump, Settled, taken_from
from aurora.bus.streams import Message
from aurora.errors import Denied, Invalid, Unavailable
from aurora.ids import uuid_or_none
from aurora.models import ProcessedEvent
from aurora.observability import tracing, work
from aurora.resilience.availability import is_outage

LONGEST_DELAY_SECONDS = 600.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Worker(ABC):
    """One consumer group's work. `run` returns when `stop` is set and what ran has finished, within 10 s."""

    name: ClassVar[str]
    """As in `manage.py work NAME`."""
    stream: ClassVar[str]
    group: ClassVar[str]
    types: ClassVar[frozenset[str]]
    """What `handle` is given. Other types are acknowledged and skipped, or buried when no app declared them (`registry.declare_types`)."""
    concurrency: ClassVar[int] = 1
    """Handler threads. Only with one is the order of the stream kept, only within the process, and only while nothing fails: else say `in_order`."""
    prefetch: ClassVar[int] = 200
    """Entries read ahead of the handlers. 0 for handlers that take seconds: what waits here, no other process can take."""
    batch: ClassVar[int] = 1
    """Messages handled in one transaction when so many wait, which spares commits: for handlers that do nothing but change rows. When one of them
    fails, all are undone and each is handled by itself. Only with `exactly_once`."""
    timeout: ClassVar[float] = 300.0
    """Seconds after which a running handler loses its lease, so that another process gets the message."""
    exactly_once: ClassVar[bool] = True
    """True: `handle` runs in a transaction together with the note that the group has handled the event, so its rows are written once.
    False: `handle` has transactions of its own, and must itself bear being given a message again."""
    in_order: ClassVar[bool] = False
    """True: an aggregate's events are handled in the order they were announced in, whichever threads and processes have them: one waits until the group
    has finished those before it, which costs a question to PostgreSQL a message. So one that fails holds up the later ones of its aggregate, for
    minutes, until it succeeds or is buried; put back, it comes after them. Only with `exactly_once`. Events that were published before any worker
    of their stream said so wait for nothing, and nothing for them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.in_order and not cls.exactly_once:
            raise TypeError(f"{cls.__name__} is in_order and not exactly_once: what it has handled is noted nowhere")

    def concerns(self, message: Message) -> bool:
        """Whether there is anything to do: what is not, is acknowledged without asking PostgreSQL. Must not raise."""
        return True

    @abstractmethod
    def handle(self, message: Message) -> None:
        """Does the work of one message. What it raises decides what becomes of the message (see the table above)."""

    def run(self, stop: threading.Event) -> None:
        claim_seconds = settings.BUS_CLAIM_SECONDS
        consumer = GroupConsumer(stream=self.stream, group=self.group, claim_seconds=claim_seconds)
        settler = _Settler(self, consumer, stop)
        if not settings.OTEL_ENDPOINT:
            work.carry_trace()
        Pump(
            consumer,
            settler.settle,
            settle_together=settler.settle_together,
            paused=settler.count,
            claim_seconds=claim_seconds,
            concurrency=self.concurrency,
            batch=self.batch if self.exactly_once else 1,
            prefetch=self.prefetch,
            timeout=self.timeout,
        ).run(stop)


class Verdict(enum.Enum):
    """What a failed handling says about the message."""

    BURY = "bury"
    RETRY = "retry"
    LATER = "later"


def verdict_on(error: Exception) -> Verdict:
    """The worker's column of the taxonomy of errors."""
    if isinstance(error, (Invalid, Denied)):
        return Verdict.BURY
    if isinstance(error, (Unavailable, redis.ConnectionError, redis.TimeoutError)) or is_outage(error):
        return Verdict.LATER
    return Verdict.RETRY


class _Delivery(work.Work):
    __slots__ = ("_entry", "_worker")

    def __init__(self, worker: Worker, entry: Entry) -> None:
        self._worker, self._entry = worker, entry

    def names(self) -> dict[str, object]:
        return {
            "stream": self._worker.stream,
            "group": self._worker.group,
            "entry_id": self._entry.entry_id,
            "event_id": streams.text_of(self._entry.fields, "id"),
            "deliveries": self._entry.deliveries,
        }

    def traceparent(self) -> str:
        return streams.text_of(self._entry.fields, "traceparent")


class _Settler:
    """Brings one delivered entry to its end; called from the handler threads."""

    def __init__(self, worker: Worker, consumer: GroupConsumer, stop: threading.Event) -> None:
        self._worker, self._consumer, self._stop = worker, consumer, stop
        self._types, self._must_note = worker.types, worker.exactly_once
        self._order = Order(worker.stream, worker.group, worker.types) if worker.in_order else None
        self._postgres = Backoff("postgres", worker.group)
        self._is_addressed_to_us = frozenset({"", worker.group})
        self._handled = metrics.HANDLED.labels(worker.group)
        self._handling = metrics.HANDLING.labels(worker.group)
        self._handle = self._handle_in_span if settings.OTEL_ENDPOINT else self._handle_timed
        self._took: deque[float] = deque()
        """The seconds of each handling since they were last counted."""

    def settle(self, entry: Entry) -> Settled:
        """What is to become of the entry. Never raises: what could not be settled stays pending and comes again."""
        token = work.in_hand.set(_Delivery(self._worker, entry))
        try:
            return self._settle(entry)
        except Exception:  # a worker must survive that PostgreSQL or Redis is away now
            log.exception("message_left_pending")
            return LEFT
        finally:
            work.in_hand.reset(token)

    def settle_together(self, entries: Sequence[Entry]) -> list[Settled]:
        """As `settle` for each. A message that comes again is never handled with others: it may be what made a process die."""
        handled = self._handle_together([entry for entry in entries if entry.deliveries == 1])
        return [DONE if entry.entry_id in handled else self.settle(entry) for entry in entries]

    def count(self) -> None:
        """Adds what was handled since the last time to the metrics."""
        took = taken_from(self._took)
        if took:
            self._handled.inc(len(took))
            self._handling.observe_all(took)

    def _settle(self, entry: Entry) -> Settled:
        try:
            # Before it begins: what only waits its turn beside one that kills its handlers is not to be buried with it.
            if self._order and self._is_early(entry, self._order):
                return EARLY
        except Exception as error:  # noqa: BLE001 - as below
            _log_failure(error)
            return self._judge(entry, error)
        if entry.deliveries > 1:
            metrics.REDELIVERED.labels(self._worker.group).inc()
            if entry.deliveries > settings.BUS_MAX_DELIVERIES:
                # Nobody came as far as to count: each of its handlers was killed.
                return self._bury(entry, "None of its deliveries came to an end")
            self._consumer.begin(entry)
        try:
            message = streams.decode(self._worker.stream, entry.entry_id, entry.fields)
            if self._is_for_us(message):
                self._handle(message)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises becomes a verdict, logged there
            return self._judge(entry, error)
        return DONE

    def _handle_together(self, entries: Sequence[Entry]) -> set[str]:
        """The entries that were handled in one transaction: all that could be, or none. What cannot be is left to `settle`."""
        readable = {entry.entry_id: message for entry in entries if (message := self._readable(entry))}
        if len(readable) < 2:
            return set()
        took: list[float] = []
        try:
            together = [entry for entry in entries if entry.entry_id in readable]
            deliveries = [(entry, readable[entry.entry_id]) for entry in self._in_turn(together)]
            with transaction.atomic():
                new = _note_all_as_handled(self._worker.group, {UUID(message.id) for _, message in deliveries})
                for entry, message in deliveries:
                    began = time.perf_counter()
                    if UUID(message.id) in new:
                        new.remove(UUID(message.id))  # it may be there twice
                        self._handle_one_of_many(entry, message)
                    took.append(time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001 - each is handled once more by itself, and judged by what it raises then
            log.debug("batch_undone", group=self._worker.group, messages=len(readable), error=str(error))
            return set()
        self._took.extend(took)
        return {entry.entry_id for entry, _ in deliveries}

    def _is_early(self, entry: Entry, order: Order) -> bool:
        return bool(self._readable(entry)) and not self._while_postgres_comes_and_goes(order.has_turn, entry)

    def _in_turn(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        return self._order.of_those_together(entries) if self._order else entries

    def _readable(self, entry: Entry) -> Message | None:
        """The message if it is for us and can be read."""
        try:
            message = streams.decode(self._worker.stream, entry.entry_id, entry.fields)
            return message if self._is_for_us(message) else None
        except Invalid:
            return None

    def _handle_one_of_many(self, entry: Entry, message: Message) -> None:
        token = work.in_hand.set(_Delivery(self._worker, entry))
        try:
            with self._span(message):
                self._worker.handle(message)
        finally:
            work.in_hand.reset(token)

    def _is_for_us(self, message: Message) -> bool:
        """Raises Invalid for what no version of this worker could handle."""
        if message.type not in self._types and not registry.is_known_type(self._worker.stream, message.type):
            raise Invalid(f"Unknown type `{message.type}`")
        if self._must_note and uuid_or_none(message.id) is None:
            raise Invalid("`id` is not a UUID")
        return (
            message.type in self._types
            and message.addressee in self._is_addressed_to_us
            and self._worker.concerns(message)
        )

    def _handle_in_span(self, message: Message) -> None:
        with self._span(message):
            self._handle_timed(message)

    def _span(self, message: Message) -> AbstractContextManager[object]:
        """None while nothing leaves the process: then the trace is that of the work in hand."""
        if not settings.OTEL_ENDPOINT:
            return nullcontext()
        return tracing.span(f"{self._worker.name} {message.type}", traceparent=message.traceparent)

    def _handle_timed(self, message: Message) -> None:
        began = time.perf_counter()
        try:
            is_first = self._while_postgres_comes_and_goes(self._handle_once, message)
        except Exception as error:
            # Here, and not in _judge, so that the line is written in the span.
            _log_failure(error)
            self._handling.observe(time.perf_counter() - began)
            raise
        if not is_first:
            log.debug("message_already_handled", type=message.type)
        self._took.append(time.perf_counter() - began)

    def _while_postgres_comes_and_goes(self, ask: Callable[[T], bool], of: T) -> bool:
        """The answer. An outage is nobody's fault and over when it is over: the message is kept, its lease extended."""
        while True:
            try:
                answer = ask(of)
            except Exception as error:
                if not is_outage(error) or self._stop.is_set():
                    raise
                close_old_connections()
                self._stop.wait(self._postgres.failed(error))
            else:
                self._postgres.worked()
                return answer

    def _handle_once(self, message: Message) -> bool:
        """Whether this was the first handling."""
        if not self._must_note:
            self._worker.handle(message)
            return True
        with transaction.atomic():
            if not _note_as_handled(self._worker.group, message.id):
                return False
            self._worker.handle(message)
        return True

    def _judge(self, entry: Entry, error: Exception) -> Settled:
        metrics.FAILED.labels(self._worker.group).inc()
        verdict = verdict_on(error)
        close_old_connections()
        if verdict is Verdict.LATER:
            seconds = error.retry_after if isinstance(error, Unavailable) else settings.BUS_CLAIM_SECONDS
            self._consumer.postpone(entry, seconds=seconds)
            return LEFT
        if verdict is Verdict.BURY or entry.deliveries >= settings.BUS_MAX_DELIVERIES:
            return self._bury(entry, f"{type(error).__name__}: {error}")
        return Settled(is_done=False, kept_seconds=delay_after(entry.deliveries) - settings.BUS_CLAIM_SECONDS)

    def _bury(self, entry: Entry, error: str) -> Settled:
        """Burying acknowledges by itself, in one step with the entry among the dead letters."""
        dead_letters.bury(stream=self._worker.stream, group=self._worker.group, entry=entry, error=error)
        metrics.BURIED.labels(self._worker.group).inc()
        log.error("message_buried", error=error)
        return LEFT


def delay_after(deliveries: int) -> float:
    """Seconds until a message that failed for the nth time comes again: the claim time, doubled each time, at most LONGEST_DELAY_SECONDS."""
    claim: float = settings.BUS_CLAIM_SECONDS
    return max(claim, min(LONGEST_DELAY_SECONDS, claim * 2.0 ** min(deliveries - 1, 20)))


def _log_failure(error: Exception) -> None:
    if verdict_on(error) is Verdict.LATER:
        log.warning("message_postponed", error=str(error))
    else:
        log.error("message_failed", error=str(error), exc_info=error)


def _note_all_as_handled(group: str, event_ids: Collection[UUID]) -> set[UUID]:
    """Those that the group had not handled. Sorted, so that two workers with the same ones do not wait for each other."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_ALL, [group, timezone.now(), sorted(event_ids)])
        return {row[0] for row in cursor.fetchall()}


def _note_as_handled(group: str, event_id: str) -> bool:
    """False when the group has handled the event; waits for a transaction that is just doing so."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, [group, event_id, timezone.now()])
        return bool(cursor.rowcount == 1)


_NOTE = f"""
    INSERT INTO {ProcessedEvent._meta.db_table} ("group", event_id, processed_at) VALUES (%s, %s, %s)
    ON CONFLICT ("group", event_id) DO NOTHING
"""
_NOTE_ALL = f"""
    INSERT INTO {ProcessedEvent._meta.db_table} ("group", event_id, processed_at)
    SELECT %s, event_id, %s FROM unnest(%s::uuid[]) AS event_id
    ON CONFLICT ("group", event_id) DO NOTHING RETURNING event_id
"""
