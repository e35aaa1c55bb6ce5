"""Is PostgreSQL there? One state a process, fed by what its requests and workers meet, and by one thread that asks while it is away.

Nobody asks the server just to know. The database engine (`aurora.resilience.postgresql`) reports every error of the driver here and is refused
here before it connects; while the server is away that costs nothing, and about one probe a second finds out when it is back.

The state is a breaker's (`aurora.resilience.breaker`, in this process only: another machine's network is not ours), opened by one failure. Its
half-open probe is the prober's: requests are never let through to try.

Which error means what is PostgreSQL's appendix A. An OperationalError alone says nothing: deadlocks, time limits and lack of memory are
OperationalErrors too, while a server that became read-only raises an InternalError.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import psycopg
import structlog
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings, Transition

PROBE_SECONDS = 0.8
"""Between the beginnings of two probes of a server that is away: it is noticed within the second in which it is back."""
PROBE_TIMEOUT_SECONDS = 1.25
"""What a probe may take, connection and answer. libpq's own limit is of whole seconds, two at least, and of the connection only."""
PATIENCE_SECONDS = 0.3
"""A statement without an answer for so long makes us ask the server whether it is there."""

log = structlog.get_logger(__name__)


class DatabaseUnavailable(OperationalError):
    """Refused without trying: PostgreSQL is known to be away, or to take no writes."""


class Sign(StrEnum):
    """What an error says of the server."""

    NOTHING = "nothing"
    AWAY = "away"
    MAYBE_AWAY = "maybe_away"
    READ_ONLY = "read_only"
    OVERLOADED = "overloaded"
    MISCONFIGURED = "misconfigured"
    BROKEN = "broken_migration"


# Connection exceptions and "cannot connect now" are certain. A session that was ended (57P01, 57P02) may have been ended alone.
_SIGNS: tuple[tuple[str, Sign], ...] = (
    ("57P03", Sign.AWAY),
    ("08", Sign.MAYBE_AWAY),
    ("57P01", Sign.MAYBE_AWAY),
    ("57P02", Sign.MAYBE_AWAY),
    ("25006", Sign.READ_ONLY),
    ("53300", Sign.OVERLOADED),
    ("53200", Sign.OVERLOADED),
    ("53100", Sign.OVERLOADED),
    ("28", Sign.MISCONFIGURED),
    ("3D000", Sign.MISCONFIGURED),
    # No table, column or schema of that name: what is there is not what this code was written for.
    ("42P01", Sign.BROKEN),
    ("42703", Sign.BROKEN),
    ("3F000", Sign.BROKEN),
)
_NAMES = {"53300": "too_many_connections", "53200": "out_of_memory", "53100": "disk_full", "3D000": "no_such_database"}
# What refuses a connection says so in words only: libpq keeps the SQLSTATE of a failed one to itself.
_STATES_IN_WORDS = (
    ("too many clients already", "53300"),
    ("remaining connection slots are reserved", "53300"),
    ("too many connections for", "53300"),
    ("the database system is", "57P03"),
    ("authentication failed", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("is not permitted to log in", "28000"),
)
_NO_SUCH = re.compile(r"FATAL:\s+(database|role) \".*\" does not exist")
_NAMED_EVERY_SECONDS = 5.0
_OUTAGES = frozenset({Sign.AWAY, Sign.MAYBE_AWAY, Sign.READ_ONLY, Sign.MISCONFIGURED, Sign.BROKEN})
_NAMED = frozenset({Sign.OVERLOADED, Sign.MISCONFIGURED, Sign.BROKEN})
_DISK_FULL = "53100"


@dataclass(frozen=True, slots=True)
class Standing:
    """How PostgreSQL stands in this process's eyes. `since` and `reason` are None and empty while all is well."""

    is_up: bool
    is_writable: bool
    since: datetime | None = None
    reason: str = ""


WELL = Standing(is_up=True, is_writable=True)


def is_outage(error: BaseException) -> bool:
    """Whether `error`, of the driver or of Django, means that the server cannot be reached, can keep nothing, or lacks a table of ours:
    waiting for it, or for its operator, may cure it."""
    if isinstance(error, DatabaseUnavailable):
        return True
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    state = _state_of(cause)
    return sign_of(error) in _OUTAGES or state in (_DISK_FULL, "53300")


def sign_of(error: BaseException) -> Sign:
    """What an error of the driver, or Django's around it, says of the server."""
    cause = error.__cause__ if isinstance(error, DatabaseError) and error.__cause__ is not None else error
    if isinstance(cause, (PoolTimeout, PoolClosed, TooManyRequests)):
        return Sign.MAYBE_AWAY
    state = _state_of(cause)
    if state:
        return next((sign for prefix, sign in _SIGNS if state.startswith(prefix)), Sign.NOTHING)
    if isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError, OperationalError, InterfaceError)):
        return Sign.MAYBE_AWAY
    return Sign.NOTHING


def _state_of(cause: BaseException | None) -> str:
    if not isinstance(cause, psycopg.Error):
        return ""
    if cause.sqlstate or not isinstance(cause, psycopg.OperationalError):
        return cause.sqlstate or ""
    words = str(cause)
    if missing := _NO_SUCH.search(words):
        return "3D000" if missing[1] == "database" else "28000"
    return next((state for sign, state in _STATES_IN_WORDS if sign in words), "")


class Availability:
    """The state of one server. `probe` connects and says whether the server takes writes; it raises what the driver raises."""

    def __init__(self, probe: Callable[[], bool], *, every: float = PROBE_SECONDS) -> None:
        self._probe, self._every = probe, every
        settings = BreakerSettings(failure_threshold=1, reset_timeout=0.0, probe_lease=4.0 * PROBE_TIMEOUT_SECONDS)
        self._breaker = Breaker("postgresql", settings, detail="Database unavailable", on_transition=self._tell)
        self._lock = threading.Lock()
        self._asked = threading.Condition(self._lock)
        self._asking: threading.Thread | None = None
        self._rounds = 0
        self._listeners: list[Callable[[Standing], None]] = []
        self._named: dict[str, float] = {}
        self._standing = WELL

    @property
    def standing(self) -> Standing:
        return self._standing

    def require(self) -> None:
        """Raises DatabaseUnavailable while the server is known to be away."""
        if not self._standing.is_up:
            raise DatabaseUnavailable(f"PostgreSQL is away: {self._standing.reason}")

    def require_writable(self) -> None:
        """Raises DatabaseUnavailable while the server is known to be away or to take no writes."""
        self.require()
        if not self._standing.is_writable:
            raise DatabaseUnavailable(f"PostgreSQL takes no writes: {self._standing.reason}")

    def on_change(self, callback: Callable[[Standing], None]) -> None:
        """Calls `callback` with every new standing, in whatever thread found it out; it must be quick and raise nothing."""
        self._listeners.append(callback)

    def report(self, error: BaseException, *, while_connecting: bool = False) -> None:
        """Takes note of what somebody met. One that may mean an outage is made certain first, by a probe that all who wait share."""
        sign = sign_of(error)
        state = _state_of(error.__cause__ or error)
        if sign is Sign.NOTHING or isinstance(error, DatabaseUnavailable):
            return
        if sign in _NAMED:
            self._name(_NAMES.get(state, sign.value), state, error)
        if sign is Sign.READ_ONLY:
            self._change(Standing(is_up=True, is_writable=False, since=datetime.now(UTC), reason="read-only"))
            self._ask()
        elif sign is Sign.AWAY or (while_connecting and _is_refusal(error)):
            self._fell(error)
        elif sign is Sign.MAYBE_AWAY:
            self.make_certain()

    def _name(self, reason: str, state: str, error: BaseException) -> None:
        """In the log, and not for each of the many who meet it at once."""
        now = time.monotonic()
        with self._lock:
            is_told = now - self._named.get(reason, -_NAMED_EVERY_SECONDS) < _NAMED_EVERY_SECONDS
            if not is_told:
                self._named[reason] = now
        if not is_told:
            log.error("database_refuses", reason=reason, sqlstate=state, error=_text(error))

    def make_certain(self) -> None:
        """Asks the server now, or waits for the answer to a question that is under way; returns when the standing is known to be true."""
        with self._lock:
            if not self._standing.is_up:
                return
            seen = self._rounds
            self._start_asking()
            self._asked.wait_for(lambda: self._rounds > seen, timeout=2.0 * PROBE_TIMEOUT_SECONDS)

    def _fell(self, error: BaseException) -> None:
        try:
            permit = self._breaker.admit()
        except BreakerOpen:
            return
        permit.fail(_text(error))
        self._ask()

    def _ask(self) -> None:
        with self._lock:
            self._start_asking()

    def _start_asking(self) -> None:
        """Under the lock: one thread asks at a time, and lives until there is nothing left to ask."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._keep_asking, name="postgresql-probe", daemon=True)
            self._asking.start()

    def _keep_asking(self) -> None:
        while True:
            began = time.monotonic()
            self._ask_once()
            with self._lock:
                self._rounds += 1
                self._asked.notify_all()
                if self._standing == WELL:
                    self._asking = None
                    return
            time.sleep(max(0.0, self._every - (time.monotonic() - began)))

    def _ask_once(self) -> None:
        try:
            permit = self._breaker.admit()
        except BreakerOpen:
            return
        try:
            is_writable = self._probe()
        except (psycopg.Error, DatabaseError, OSError) as error:
            if sign_of(error) in (Sign.OVERLOADED, Sign.MISCONFIGURED):
                self.report(error)
            if sign_of(error) is not Sign.OVERLOADED:
                permit.fail(_text(error))
                return
            # It answers, if only to say that it is full: what is refused there is each caller's own error.
            is_writable = True
        permit.succeed()
        if is_writable:
            self._change(WELL)
        elif self._standing.is_writable:
            self._change(Standing(is_up=True, is_writable=False, since=datetime.now(UTC), reason="read-only"))

    def _tell(self, transition: Transition) -> None:
        """The breaker's moves as standings. Half-open is the prober at work: for all others the server is still away."""
        if transition.after == "open":
            kept = self._standing.since if not self._standing.is_up else None
            reason = transition.last_error or ""
            self._change(Standing(is_up=False, is_writable=False, since=kept or datetime.now(UTC), reason=reason))

    def _change(self, standing: Standing) -> None:
        with self._lock:
            before, self._standing = self._standing, standing
        if (before.is_up, before.is_writable) == (standing.is_up, standing.is_writable):
            return
        told = log.info if standing == WELL else log.error
        told("database_standing", is_up=standing.is_up, is_writable=standing.is_writable, reason=standing.reason)
        for callback in self._listeners:
            callback(standing)


def _is_refusal(error: BaseException) -> bool:
    """Whether a connection was refused outright: no probe could learn more."""
    cause = error.__cause__ if isinstance(error, DatabaseError) and error.__cause__ is not None else error
    unsure = (PoolTimeout, PoolClosed, TooManyRequests, psycopg.errors.ConnectionTimeout)
    is_refused = isinstance(cause, psycopg.OperationalError) and not isinstance(cause, unsure)
    return is_refused and sign_of(cause) is not Sign.OVERLOADED


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _probe_default() -> bool:
    from django.db import connections  # the engine imports this module

    parameters: dict[str, Any] = connections["default"].get_connection_params()
    parameters.pop("cursor_factory", None)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_takes_writes(parameters | {"application_name": "aurora-probe"}))
    finally:
        loop.close()  # asyncio.run would wait at its end for a name that is still being resolved, far beyond the limit


async def _takes_writes(parameters: Mapping[str, Any]) -> bool:
    """On an event loop of the prober's own, for there a limit can end the wait for a server that is silent at any point."""
    async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
        session = await psycopg.AsyncConnection.connect(**parameters, autocommit=True)
        try:
            cursor = await session.execute("SELECT current_setting('transaction_read_only') = 'off'")
            return await cursor.fetchone() == (True,)
        finally:
            await session.close()


database = Availability(_probe_default)
"""Of the one PostgreSQL that this process was configured for."""
