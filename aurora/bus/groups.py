"""One consumer of one group on one stream: the Redis commands, and what Redis leaves to its users.

A group is made at the stream's beginning, again whenever Redis says that it is gone (FLUSHALL, a server restarted empty). Redis redelivers
nothing by itself: an entry comes again when some consumer takes it over (`claim`), after the claim time; sooner only when it is known that who had
it is dead (`release_dead`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import redis
import structlog

from aurora.bus import redis as clients
from aurora.bus.streams import Client

SILENT_SECONDS = 3.0
"""A consumer that lives asks Redis for something more often than this."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    """An entry as it was delivered; `deliveries` counts this one too. One that comes again has to `begin` for that to be so for others."""

    entry_id: str
    fields: Mapping[bytes, bytes]
    deliveries: int


class GroupConsumer:
    """Every method may raise redis.RedisError."""

    def __init__(self, *, stream: str, group: str, claim_seconds: float) -> None:
        self.stream, self.group = stream, group
        self._key = clients.key(stream)
        self.name = consumer_name(os.getpid())
        self._claim_ms = max(1, int(claim_seconds * 1000))
        self._cursor = _START
        self._is_listed = False
        self._commands: Client = clients.client(clients.Purpose.COMMAND)
        self._reader: Client = clients.client(clients.Purpose.STREAM)

    @property
    def is_scanning(self) -> bool:
        """Whether `claim` has not come to the end of the pending entries yet."""
        return self._cursor != _START

    def read(self, *, count: int, block_ms: int, done: Sequence[str] = ()) -> list[Entry]:
        """New entries, after at most `block_ms`; on the way there the group is done with those of `done`."""
        answer = self._in_group(lambda: self._read(self._reader, count, block_ms, done))
        if not answer and not self._is_listed:
            # A server before 7.0 lists a consumer once it has had an entry: who waits for its first would seem not to be there.
            self._in_group(lambda: self._commands.xgroup_createconsumer(self._key, self.group, self.name))
            self._is_listed = True
        return [Entry(entry_id.decode(), fields, 1) for _, entries in answer or () for entry_id, fields in entries]

    def _read(self, reader: Client, count: int, block_ms: int, done: Sequence[str]) -> Any:
        if not done:
            return reader.xreadgroup(self.group, self.name, {self._key: ">"}, count=count, block=max(1, block_ms))
        with reader.pipeline(transaction=False) as pipeline:
            pipeline.xack(self._key, self.group, *done)
            self._read(pipeline, count, block_ms, ())
            for answer in pipeline.execute(
                raise_on_error=False
            ):  # which would put words of its own before those of the server
                if isinstance(answer, Exception):
                    raise answer
        return answer

    def claim(self, *, count: int, in_hand: Collection[str]) -> list[Entry]:
        """Entries that nobody has finished within the claim time, now ours.

        This delivery is not counted before they `begin`: who only waited beside one that kills its handlers would be buried with it.
        Those `in_hand`, whose lease was let go or has just been given up, are left for the next who asks.

        Looks at a part of the pending entries and goes on from there the next time: from the beginning each time, many young entries would
        hide an old one for ever.
        """
        answer = self._in_group(
            lambda: self._commands.xautoclaim(
                self._key, self.group, self.name, self._claim_ms, start_id=self._cursor, count=count
            )
        )
        self._cursor = answer[0].decode()
        found = {entry_id.decode(): fields for entry_id, fields in answer[1] if entry_id is not None}
        if len(found) < len(answer[1]):
            self._forget_deleted(known={*found, *in_hand})
        entries = [
            Entry(entry_id, fields, deliveries)
            for (entry_id, fields), deliveries in zip(found.items(), self._deliveries(found), strict=True)
        ]
        self.hand_back(entry for entry in entries if entry.entry_id in in_hand)
        ours = [entry for entry in entries if entry.entry_id not in in_hand]
        self._release(ours, idle_ms=0)
        return ours

    def release_dead(self) -> None:
        """Lets others take at once what consumers had in hand whose processes are known to have died: those of this machine that Redis does not hear
        from either (machines restored from one snapshot take each other's processes for their own).

        Their deliveries count. What somebody has taken over since it was looked at is left alone, by its idle time.
        """
        for consumer in self._in_group(lambda: self._commands.xinfo_consumers(self._key, self.group)):
            name = consumer["name"].decode()
            if consumer["pending"] and consumer["idle"] >= SILENT_SECONDS * 1000 and _has_died(name):
                rows = self._commands.xpending_range(
                    self._key, self.group, min="-", max="+", count=consumer["pending"], consumername=name
                )
                with self._commands.pipeline(transaction=False) as pipeline:
                    for row in rows:
                        idle, ids = row["time_since_delivered"], [row["message_id"]]
                        pipeline.xclaim(
                            self._key, self.group, self.name, idle, ids, idle=max(idle, self._claim_ms), justid=True
                        )
                    pipeline.execute()
                log.info(
                    "dead_consumer_released", stream=self.stream, group=self.group, consumer=name, entries=len(rows)
                )

    def begin(self, entry: Entry) -> None:
        """Counts the delivery of an entry that was taken over."""
        self._count(self._commands, entry, deliveries=entry.deliveries, idle_ms=0)

    def extend(self, entry_ids: Sequence[str]) -> None:
        """Starts the claim time of entries in hand afresh, so that nobody takes them."""
        if entry_ids:
            self._in_group(lambda: self._commands.xclaim(self._key, self.group, self.name, 0, entry_ids, justid=True))

    def acknowledge(self, entry_ids: Sequence[str]) -> None:
        """The group is done with them. No error when the group is gone: so are they."""
        if entry_ids:
            self._commands.xack(self._key, self.group, *entry_ids)

    def postpone(self, entry: Entry, *, seconds: float) -> None:
        """The entry may be taken after `seconds`, at most the claim time; this delivery does not count."""
        self._release([entry], idle_ms=max(0, self._claim_ms - int(seconds * 1000)))

    def hand_back(self, entries: Iterable[Entry]) -> None:
        """Others may take them at once; their deliveries do not count."""
        self._release(entries, idle_ms=self._claim_ms)

    def leave(self) -> None:
        """Removes this consumer when nothing is pending under its name; with something, its name is needed to find it."""
        for consumer in self._commands.xinfo_consumers(self._key, self.group):
            if consumer["name"].decode() == self.name and not consumer["pending"]:
                self._commands.xgroup_delconsumer(self._key, self.group, self.name)

    def _in_group(self, command: Callable[[], T]) -> T:
        """The command's answer; when the group is gone, it is made and the command sent again."""
        try:
            return command()
        except redis.ResponseError as error:
            # UNBLOCKED: the stream was deleted while we waited on it (servers from 7.0 on). "no such key": XINFO's word for a stream that is not there.
            if not str(error).startswith(("NOGROUP", "UNBLOCKED", "no such key")):
                raise
        self._is_listed = False
        self._create_group()
        return command()

    def _create_group(self) -> None:
        try:
            self._commands.xgroup_create(self._key, self.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return  # another worker was faster
        self._cursor = _START
        log.info("group_created", stream=self.stream, group=self.group)

    def _deliveries(self, entry_ids: Iterable[str]) -> list[int]:
        with self._commands.pipeline(transaction=False) as pipeline:
            for entry_id in entry_ids:
                pipeline.xpending_range(self._key, self.group, min=entry_id, max=entry_id, count=1)
            return [answer[0]["times_delivered"] if answer else 1 for answer in pipeline.execute()]

    def _forget_deleted(self, *, known: Collection[str]) -> None:
        """Acknowledges our pending entries that somebody has deleted from the stream; servers from 7.0 on do it themselves."""
        mine = self._commands.xpending_range(
            self._key, self.group, min="-", max="+", count=_FORGET_BATCH, consumername=self.name
        )
        for entry_id in (row["message_id"].decode() for row in mine):
            if entry_id not in known and not self._commands.xrange(self._key, entry_id, entry_id):
                self._commands.xack(self._key, self.group, entry_id)
                log.warning("entry_deleted_unfinished", stream=self.stream, group=self.group, entry_id=entry_id)

    def _release(self, entries: Iterable[Entry], *, idle_ms: int) -> None:
        with self._commands.pipeline(transaction=False) as pipeline:
            for entry in entries:
                self._count(pipeline, entry, deliveries=max(0, entry.deliveries - 1), idle_ms=idle_ms)
            pipeline.execute()

    def _count(self, commands: Client, entry: Entry, *, deliveries: int, idle_ms: int) -> None:
        ids = [entry.entry_id]
        commands.xclaim(self._key, self.group, self.name, 0, ids, idle=idle_ms, retrycount=deliveries, justid=True)


def consumer_name(pid: int) -> str:
    """A new consumer's name: whose it is, told so that other processes of its machine can tell whether that one lives."""
    return f"{socket.gethostname()}:{pid}:{_pid_space()}:{secrets.token_hex(4)}"


@functools.cache
def _pid_space() -> str:
    """Within which a process id means one process: this boot of this machine, this container on it. Empty where the kernel does not say."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return hashlib.sha256(f"{boot}{os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:8]
    return ""


def _has_died(name: str) -> bool:
    """Whether the process that named this consumer is known to be dead. False in doubt, as when another has its id by now."""
    try:
        _, pid, space, _ = name.rsplit(":", 3)
        if not space or space != _pid_space():
            return False
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OverflowError, OSError):  # no name of ours; somebody else's process
        return False
    return False


_START = "0-0"
_FORGET_BATCH = 1_000
