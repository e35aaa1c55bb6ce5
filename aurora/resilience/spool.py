"""What intake accepted while PostgreSQL was away, on this machine's disk until the `spool` worker has stored it.

A receipt is given only when the entry is durable. Callers that come at once share one write: whoever gets the turn writes for all who wait.
Draining is one process's at a time, by a lock that its death releases, so the order of arrival is kept; an entry leaves the spool after the
transaction that stored it, and the receipt, unique there too, makes a second storing harmless.
"""

from __future__ import annotations

import fcntl
import functools
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import orjson
import structlog
from django.conf import settings
from prometheus_client import Counter

from aurora.actors import Actor
from aurora.errors import AuroraError, Conflict, Unavailable
from aurora.resilience.spool_file import SpoolFile, locked

FULL_SECONDS = 30.0
"""When a sender is to try again while the spool is full: nothing leaves it before PostgreSQL is back."""
MOST_ATTEMPTS = 5
"""Beginnings without an end, after which an entry is set aside untried."""

ACCEPTED = Counter("aurora_spool_accepted_total", "Deliveries taken into the spool.")
REFUSED = Counter("aurora_spool_refused_total", "Deliveries that the spool could not take.")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """An `Idempotency-Key`: whose it is, and a hash of the request that came with it."""

    owner: str
    key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivery as it came, with everything that storing it later takes."""

    receipt: UUID
    route: str
    """Which intake it came to."""
    source: str
    content_type: str
    payload: bytes
    received: int
    """Records in it."""
    actor: Actor
    accepted_at: datetime
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry in the spool. `attempts` began to store it and did not come to an end: whoever made them was killed, or the entry is poison."""

    number: int
    attempts: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the sender is told. `is_replay`: an earlier delivery under the same Idempotency-Key has this receipt."""

    receipt: UUID
    received: int
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How full the spool is. What is set aside waits for an operator and counts in `size`, not in `depth`."""

    depth: int = 0
    size: int = 0
    """Bytes of all payloads."""
    set_aside: int = 0
    oldest_at: datetime | None = None
    damaged_files: Sequence[str] = ()

    @property
    def oldest_age_seconds(self) -> float:
        return 0.0 if self.oldest_at is None else max(0.0, (datetime.now(UTC) - self.oldest_at).total_seconds())


class _Ticket:
    """One caller's entry in a shared write, and what became of it."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.outcome: Accepted | AuroraError | None = None


class Spool:
    """The spool in `folder`. Any number of processes and threads may use it at once; all but `Unavailable` is said at the methods."""

    def __init__(self, folder: Path) -> None:
        self._file = SpoolFile(folder / "intake.sqlite3", _SCHEMA)
        self._drain_lock = folder / "drain"
        self._turn = threading.Lock()
        self._waiting: deque[_Ticket] = deque()

    def put(self, entry: Entry) -> Accepted:
        """Takes the entry; it is on the disk when this returns. Raises Unavailable, also when the spool is full; Conflict for an
        Idempotency-Key that came with another request."""
        ticket = _Ticket(entry)
        self._waiting.append(ticket)
        with self._turn:
            if ticket.outcome is None:
                self._settle([self._waiting.popleft() for _ in range(len(self._waiting))])
        if not isinstance(ticket.outcome, Accepted):
            REFUSED.inc()
            assert ticket.outcome is not None  # noqa: S101 - whoever had the turn settled it
            raise ticket.outcome
        ACCEPTED.inc()
        return ticket.outcome

    def find(self, receipt: UUID) -> Entry | None:
        """The entry of a receipt, waiting or set aside."""
        found = self._select("WHERE receipt = ?", receipt.bytes)
        return found[0].entry if found else None

    def oldest(self, *, at_most: int, size: int) -> list[Waiting]:
        """The entries to be stored next, in the order in which they came: up to `at_most`, and no more bytes than `size` beyond the first."""
        taken: list[Waiting] = []
        total = 0
        for waiting in self._select("WHERE NOT is_set_aside ORDER BY number LIMIT ?", at_most):
            total += len(waiting.entry.payload)
            if taken and total > size:
                break
            taken.append(waiting)
        return taken

    def begin(self, waiting: Sequence[Waiting]) -> None:
        """Notes that storing them begins: what kills its handler is known by that."""
        self._change("UPDATE entry SET attempts = attempts + 1 WHERE number = ?", waiting)

    def give_back(self, waiting: Sequence[Waiting]) -> None:
        """Takes `begin` back: they could not be stored for a reason that is not theirs."""
        self._change("UPDATE entry SET attempts = attempts - 1 WHERE number = ?", waiting)

    def remove(self, waiting: Sequence[Waiting]) -> None:
        """Forgets what has been stored."""
        self._change("DELETE FROM entry WHERE number = ?", waiting)

    def set_aside(self, waiting: Waiting, error: str) -> None:
        """Keeps an entry that cannot be stored out of the others' way, with the reason."""
        receipt = str(waiting.entry.receipt)
        self._file.write(lambda file: file.execute(_SET_ASIDE, [error, waiting.number]))
        log.error("spool_entry_set_aside", receipt=receipt, source=waiting.entry.source, error=error)

    def take_up_again(self) -> int:
        """Has everything that was set aside tried once more; how many."""
        return self._file.write(lambda file: file.execute(_TAKE_UP_AGAIN).rowcount)

    def shrink(self) -> None:
        """Gives the disk back what the file no longer needs."""
        self._file.read(_shrink, None)

    def standing(self) -> Standing:
        """How full it is."""
        depth, size, set_aside, oldest = self._file.read(
            lambda file: file.execute(_STANDING).fetchone(), (0, 0, 0, None)
        )
        return Standing(
            depth=depth,
            size=size,
            set_aside=set_aside,
            oldest_at=None if oldest is None else datetime.fromtimestamp(oldest, UTC),
            damaged_files=self._file.put_aside(),
        )

    @contextmanager
    def draining(self) -> Iterator[bool]:
        """Whether the block is the only one that drains this spool, on this machine; the kernel ends that with the process."""
        with ExitStack() as held:
            try:
                self._drain_lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                held.enter_context(locked(self._drain_lock, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except OSError:  # somebody else's, or no disk to hold it on
                is_ours = False
            else:
                is_ours = True
            yield is_ours

    def _settle(self, batch: Sequence[_Ticket]) -> None:
        """Gives every ticket its outcome."""
        try:
            outcomes = self._file.write(lambda file: _insert_all(file, batch))
        except Unavailable as error:
            outcomes = [error for _ in batch]
        for ticket, outcome in zip(batch, outcomes, strict=True):
            ticket.outcome = outcome

    def _select(self, condition: str, argument: object) -> list[Waiting]:
        rows: list[tuple[object, ...]] = self._file.read(
            lambda file: file.execute(f"{_SELECT} {condition}", [argument]).fetchall(), []
        )
        return [_waiting_of(row) for row in rows]

    def _change(self, statement: str, waiting: Sequence[Waiting]) -> None:
        numbers = [(item.number,) for item in waiting]
        self._file.write(lambda file: file.executemany(statement, numbers))


def shared() -> Spool:
    """This installation's spool."""
    return _spool_in(settings.DATA_DIR / "spool")


@functools.cache
def _spool_in(folder: Path) -> Spool:
    return Spool(folder)


def _insert_all(file: sqlite3.Connection, batch: Sequence[_Ticket]) -> list[Accepted | AuroraError]:
    entries, size = file.execute("SELECT entries, size FROM total").fetchone()
    outcomes: list[Accepted | AuroraError] = []
    for ticket in batch:
        entry = ticket.entry
        outcome: Accepted | AuroraError | None = _earlier(file, entry)
        if outcome is None:
            entries, size = entries + 1, size + len(entry.payload)
            if entries > settings.SPOOL_MAX_ENTRIES or size > settings.SPOOL_MAX_BYTES:
                entries, size = entries - 1, size - len(entry.payload)
                outcome = Unavailable("The spool is full", retry_after=FULL_SECONDS)
            else:
                file.execute(_INSERT, _row_of(entry))
                outcome = Accepted(entry.receipt, entry.received)
        outcomes.append(outcome)
    return outcomes


def _earlier(file: sqlite3.Connection, entry: Entry) -> Accepted | Conflict | None:
    """What the spool says to an Idempotency-Key that it holds already."""
    if entry.claim is None:
        return None
    found = file.execute(_CLAIMED, [entry.claim.owner, entry.claim.key]).fetchone()
    if found is None:
        return None
    receipt, received, request_hash = found
    if request_hash != entry.claim.request_hash:
        return Conflict("This Idempotency-Key was used for another request")
    return Accepted(UUID(bytes=receipt), received, is_replay=True)


def _row_of(entry: Entry) -> list[object]:
    claim = entry.claim
    return [
        entry.receipt.bytes,
        entry.route,
        entry.source,
        entry.content_type,
        entry.payload,
        entry.received,
        orjson.dumps(asdict(entry.actor)).decode(),
        entry.accepted_at.timestamp(),
        claim.owner if claim else None,
        claim.key if claim else None,
        claim.request_hash if claim else None,
    ]


def _waiting_of(row: Sequence[object]) -> Waiting:
    number, attempts, receipt, route, source, content_type, payload, received, actor, accepted_at, *claim = row
    entry = Entry(
        receipt=UUID(bytes=receipt),  # type: ignore[arg-type]
        route=str(route),
        source=str(source),
        content_type=str(content_type),
        payload=payload,  # type: ignore[arg-type]
        received=received,  # type: ignore[arg-type]
        actor=Actor(**orjson.loads(str(actor))),
        accepted_at=datetime.fromtimestamp(accepted_at, UTC),  # type: ignore[arg-type]
        claim=Claim(*map(str, claim)) if claim[0] is not None else None,
    )
    return Waiting(number, attempts, entry)  # type: ignore[arg-type]


def _shrink(file: sqlite3.Connection) -> None:
    # A page a step, which `execute` would leave after the first.
    file.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")


# Totals are kept by triggers, in the transaction of the change: counting a million rows for each delivery would be slower than taking it.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    receipt BLOB NOT NULL UNIQUE,
    route TEXT NOT NULL,
    source TEXT NOT NULL,
    content_type TEXT NOT NULL,
    payload BLOB NOT NULL,
    received INTEGER NOT NULL,
    actor TEXT NOT NULL,
    accepted_at REAL NOT NULL,
    claim_owner TEXT,
    claim_key TEXT,
    claim_hash TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    is_set_aside INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT ''
);

CREATE UNIQUE INDEX IF NOT EXISTS entry_claim ON entry (claim_owner, claim_key) WHERE claim_key IS NOT NULL;

CREATE INDEX IF NOT EXISTS entry_next ON entry (number) WHERE NOT is_set_aside;

CREATE INDEX IF NOT EXISTS entry_set_aside ON entry (number) WHERE is_set_aside;

CREATE TABLE IF NOT EXISTS total (entries INTEGER NOT NULL, size INTEGER NOT NULL);

INSERT INTO total SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM total);

CREATE TRIGGER IF NOT EXISTS entry_in AFTER INSERT ON entry BEGIN
    UPDATE total SET entries = entries + 1, size = size + length(new.payload);
END;

CREATE TRIGGER IF NOT EXISTS entry_out AFTER DELETE ON entry BEGIN
    UPDATE total SET entries = entries - 1, size = size - length(old.payload);
END
"""
_COLUMNS = (
    "receipt, route, source, content_type, payload, received, actor, accepted_at, claim_owner, claim_key, claim_hash"
)
_INSERT = f"INSERT INTO entry ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT = f"SELECT number, attempts, {_COLUMNS} FROM entry"
_CLAIMED = "SELECT receipt, received, claim_hash FROM entry WHERE claim_owner = ? AND claim_key = ?"
_SET_ASIDE = "UPDATE entry SET is_set_aside = 1, error = ? WHERE number = ?"
_TAKE_UP_AGAIN = "UPDATE entry SET is_set_aside = 0, attempts = 0, error = '' WHERE is_set_aside"
_STANDING = """
SELECT entries - aside, size, aside, (SELECT accepted_at FROM entry WHERE NOT is_set_aside ORDER BY number LIMIT 1)
FROM total, (SELECT count(*) AS aside FROM entry WHERE is_set_aside)
"""
