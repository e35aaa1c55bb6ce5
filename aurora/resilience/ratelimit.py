"""How often one caller may ask: an exact sliding window in Redis, or in this process while Redis is away.

A hit passes only if every policy that applies has room for it, and then it counts in all of them; a refused
hit counts in none. "Exact" means that no interval of `window_seconds`, wherever it begins, holds more than
`quota` admitted hits. The script beside this module decides by Redis's clock, in one round trip; the clocks
of the hosts play no part.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import threading
import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import redis
import structlog
from redis.exceptions import NoScriptError, RedisError

from aurora.addresses import address_or_none
from aurora.bus.direct import DirectCommands
from aurora.errors import Invalid

SECOND = 1_000_000
"""The unit of every time inside this module is the microsecond, an integer as in Redis's `TIME`."""

LONGEST_WAIT_FOR_REDIS = 0.05
PAUSE_AFTER_AN_ERROR = 1 * SECOND
LONGEST_WINDOW_SECONDS = 86_400
LARGEST_QUOTA = 1_000_000

_SCRIPT = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")
# Redis names a script by its SHA-1; nothing secret rests on it.
_SCRIPT_NAME = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_PLAIN = re.compile(r"[A-Za-z0-9._@+:/#-]{1,200}")
_POLICY_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `quota` hits in any `window_seconds`. The name goes into keys and headers as it is.

    Raises ValueError when a part is out of bounds.
    """

    name: str
    quota: int
    window_seconds: int

    def __post_init__(self) -> None:
        if not _POLICY_NAME.fullmatch(self.name):
            raise ValueError(f"A policy's name is a lower-case word, not {self.name!r}")
        if not 1 <= self.quota <= LARGEST_QUOTA:
            raise ValueError(f"A quota is 1 to {LARGEST_QUOTA}, not {self.quota}")
        if not 1 <= self.window_seconds <= LONGEST_WINDOW_SECONDS:
            raise ValueError(f"A window is 1 to {LONGEST_WINDOW_SECONDS} seconds, not {self.window_seconds}")

    def __hash__(self) -> int:
        # Every decision looks its plan up by its policies; a text knows its own hash.
        return hash(self.name)


class Standing(NamedTuple):
    """Hits that one policy still allows, and whole seconds until it allows more (0: none of it is used)."""

    policy: Policy
    remaining: int
    reset_seconds: int


class Decision(NamedTuple):
    """`retry_after`: whole seconds after which the same hit passes, unless the caller spends the quota
    otherwise; 0 when admitted. `is_local`: this process decided alone, because Redis did not answer.
    """

    allowed: bool
    retry_after: int
    standings: tuple[Standing, ...]
    is_local: bool


class Limiter:
    """Decides over hits. Safe for threads; make one for each process.

    `client` must give up within 50 ms and not retry, as `Purpose.REQUEST` does; ValueError otherwise.
    `processes` is how many processes share the load: while Redis is away each grants its share of a quota, at
    least 1. `max_identities` bounds what this process remembers; the longest unseen are forgotten first.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        clock: Callable[[], float] = time.monotonic,
        processes: int = 1,
        max_identities: int = 10_000,
    ) -> None:
        _require_impatience(client)
        # A Cluster's client has no pool, but one for each of its nodes.
        has_pool = hasattr(client, "connection_pool")
        self._ask: Callable[..., Any] = DirectCommands(client).ask if has_pool else client.execute_command
        self._now: Callable[[], int] = lambda: int(clock() * SECOND)
        self._gate = _Gate()
        self._refusals = _Refusals(max_identities)
        self._local = _LocalWindows(self._now, processes, max_identities)

    def hit(self, identity: str, policies: Sequence[Policy], *, cost: int = 1) -> Decision:
        """Count a hit of `cost` against every policy, or against none if one has no room for it.

        Never raises for a Redis that is down. Raises Invalid for a cost that no wait can make pass.
        """
        plan = _plan(tuple(policies))
        if not 1 <= cost <= plan.smallest_quota:
            raise Invalid(f"A request that counts as {cost} does not fit a limit of {plan.smallest_quota}")
        identity = _plain(identity)
        now = self._now()
        remembered = self._refusals.recall(identity, plan, cost, now)
        if remembered is not None:
            return _decision(plan, remembered, is_local=False)
        if plan.policies and self._gate.admits(now):
            try:
                reply = self._ask_redis(identity, plan, cost)
            except RedisError as error:
                self._gate.shut(self._now(), error)
            else:
                self._gate.open()
                if reply[0] > 0:
                    self._refusals.remember(identity, plan, cost, self._now(), reply)
                return _decision(plan, reply, is_local=False)
        return _decision(plan, self._local.hit(identity, plan, cost), is_local=True)

    def _ask_redis(self, identity: str, plan: _Plan, cost: int) -> list[int]:
        prefix = f"aurora:limit:{{{identity}}}:"
        keys = [prefix + policy.name for policy in plan.policies]
        try:
            reply = self._ask("EVALSHA", _SCRIPT_NAME, len(keys), *keys, cost, *plan.numbers)
        except NoScriptError:
            # Restarted or flushed. EVAL leaves the script loaded for the next hit.
            reply = self._ask("EVAL", _SCRIPT, len(keys), *keys, cost, *plan.numbers)
        return cast("list[int]", reply)


def identity_of(*, api_key_id: str | None, username: str | None, address: str) -> str:
    """Whose quota a request counts against: the API key's, else the user's, else the address's.

    An IPv6 address stands for its /64, since one subscriber holds at least that many; an IPv4 address mapped
    into IPv6 is the IPv4 address. The result is printable ASCII without braces or blanks, at most 200
    characters, whatever came in.
    """
    if api_key_id:
        return _plain(f"key:{api_key_id}")
    if username:
        return _plain(f"user:{username}")
    return _plain(f"address:{_network_of(address)}")


@dataclass(frozen=True, eq=False, slots=True)
class _Plan:
    """What can be worked out once for a set of policies."""

    policies: tuple[Policy, ...]
    numbers: tuple[bytes, ...]
    smallest_quota: int


@lru_cache(maxsize=256)
def _plan(policies: tuple[Policy, ...]) -> _Plan:
    names = [policy.name for policy in policies]
    if len(set(names)) != len(names):
        raise ValueError(f"Policies of one hit need different names, not {names}")
    return _Plan(
        policies=policies,
        numbers=tuple(b"%d" % n for p in policies for n in (p.quota, p.window_seconds * SECOND)),
        smallest_quota=min((policy.quota for policy in policies), default=LARGEST_QUOTA),
    )


def _decision(plan: _Plan, reply: Sequence[int], *, is_local: bool) -> Decision:
    """From `[wait, remaining, reset, remaining, reset, …]`, which the script and the local windows both give.

    Rounded up: a caller who waits that many seconds must find room.
    """
    standings = [
        Standing(policy, remaining, -(-reset // SECOND))
        for policy, remaining, reset in zip(plan.policies, reply[1::2], reply[2::2], strict=True)
    ]
    wait = reply[0]
    return Decision(wait == 0, -(-wait // SECOND), tuple(standings), is_local)


class _Gate:
    """Whether to ask Redis at all. After an error nobody does for a second; then one caller tries for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut_until = 0
        """0 while Redis answers."""

    def admits(self, now: int) -> bool:
        if not self._shut_until:
            return True
        with self._lock:
            if now < self._shut_until:
                return False
            if self._shut_until:
                self._shut_until = now + PAUSE_AFTER_AN_ERROR
            return True

    def shut(self, now: int, error: RedisError) -> None:
        with self._lock:
            was_shut, self._shut_until = self._shut_until, now + PAUSE_AFTER_AN_ERROR
        if not was_shut:
            log.warning("limiter_redis_lost", error=str(error), error_type=type(error).__name__)

    def open(self) -> None:
        if not self._shut_until:
            return
        with self._lock:
            was_shut, self._shut_until = self._shut_until, 0
        if was_shut:
            log.info("limiter_redis_back")


class _Refusals:
    """Redis's refusals whose wait is not over: asking again could only bring the same answer."""

    def __init__(self, max_entries: int) -> None:
        self._lock = threading.Lock()
        self._max_entries = max_entries
        self._entries: dict[tuple[str, _Plan, int], tuple[int, list[int]]] = {}

    def recall(self, identity: str, plan: _Plan, cost: int, now: int) -> list[int] | None:
        entry = self._entries.get((identity, plan, cost))
        if entry is None:
            return None
        since, reply = entry
        elapsed = now - since
        if elapsed >= reply[0]:
            return None
        left = reply.copy()
        left[::2] = [time - elapsed if time > elapsed else 0 for time in reply[::2]]
        return left

    def remember(self, identity: str, plan: _Plan, cost: int, now: int, reply: list[int]) -> None:
        """`now` is after the reply came, so that what is announced from here is never too short."""
        key = (identity, plan, cost)
        with self._lock:
            self._entries.pop(key, None)
            if len(self._entries) >= self._max_entries:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = (now, reply)


class _LocalWindows:
    """The same windows for this process alone, 8 bytes a hit."""

    def __init__(self, now: Callable[[], int], processes: int, max_identities: int) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._processes = processes
        self._max_identities = max_identities
        self._hits: OrderedDict[str, dict[str, array[int]]] = OrderedDict()

    def hit(self, identity: str, plan: _Plan, cost: int) -> list[int]:
        """As the script: wait, then remaining and time until more for each policy."""
        with self._lock:
            now = self._now()  # under the lock, for the times must be in order
            by_name = self._of(identity)
            windows = [_Window(policy, self._share(policy, cost), by_name, now) for policy in plan.policies]
            wait = max((window.wait_for(cost, now) for window in windows), default=0)
            if wait == 0:
                for window in windows:
                    window.hits.extend([now] * cost)
            return [wait, *(figure for window in windows for figure in window.figures(now))]

    def _of(self, identity: str) -> dict[str, array[int]]:
        by_name = self._hits.setdefault(identity, {})
        self._hits.move_to_end(identity)
        if len(self._hits) > self._max_identities:
            self._hits.popitem(last=False)
        return by_name

    def _share(self, policy: Policy, cost: int) -> int:
        # Never less than the hit itself needs, or the wait announced for it would be a lie.
        return max(cost, policy.quota // self._processes)


class _Window:
    """One policy's hits of one identity, trimmed to the window that ends now."""

    __slots__ = ("hits", "length", "quota")

    def __init__(self, policy: Policy, quota: int, by_name: dict[str, array[int]], now: int) -> None:
        self.quota = quota
        self.length = policy.window_seconds * SECOND
        self.hits = by_name.setdefault(policy.name, array("q"))
        del self.hits[: bisect_right(self.hits, now - self.length)]

    def wait_for(self, cost: int, now: int) -> int:
        excess = len(self.hits) + cost - self.quota
        return self.hits[excess - 1] + self.length - now if excess > 0 else 0

    def figures(self, now: int) -> tuple[int, int]:
        reset = self.hits[0] + self.length - now if self.hits else 0
        return max(self.quota - len(self.hits), 0), reset


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """The text itself if Redis, a hash tag and a log can bear it, else a digest. Twice is the same as once.

    A digest never equals another caller's plain identity: those begin with their kind, not with `#`.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "#" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _network_of(address: str) -> str:
    found = address_or_none(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
    return address if found is None else str(found)


def _require_impatience(client: Any) -> None:
    pool = getattr(client, "connection_pool", None)
    settings = pool.connection_kwargs if pool else client.get_connection_kwargs() | {"retry": client.retry}
    retry = settings.get("retry")
    timeouts = [settings.get("socket_timeout")]
    if "path" not in settings:  # a unix socket connects at once, or not at all
        timeouts.append(settings.get("socket_connect_timeout"))
    if any(timeout is None or timeout > LONGEST_WAIT_FOR_REDIS for timeout in timeouts):
        raise ValueError(f"The limiter's client must give up within {LONGEST_WAIT_FOR_REDIS} s, not {timeouts}")
    if retry is None or retry.get_retries() != 0:
        raise ValueError("The limiter's client must not retry: each retry would hold the request")
