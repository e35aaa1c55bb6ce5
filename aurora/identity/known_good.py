"""Credentials that PostgreSQL confirmed not long ago: what still counts while it is away. And what was taken away, which holds.

Kept in this process and, signed, in Redis, so that a process that has just begun knows them too. Of a credential only its SHA-256 is kept. Nothing
is minted from this: with PostgreSQL back, every credential is asked for there again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

import structlog
from django.core import signing
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from aurora.actors import Actor
from aurora.addresses import is_within
from aurora.bus.direct import DirectCommands
from aurora.bus.redis import Purpose, client
from aurora.errors import Denied
from aurora.resilience import availability
from aurora.resilience.availability import DatabaseUnavailable, is_outage

Kind = Literal["token", "key"]

MOST_SECONDS = 600.0
"""A key counts when it was confirmed within this time before PostgreSQL was lost."""
_KEPT_SECONDS = 12 * 3600
_CONFIRM_EVERY = 60.0
_MOST = 10_000
_SALT = "aurora.known_good"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """Who a credential stood for when it was last confirmed. Times in seconds since the epoch."""

    name: str
    role: str
    user_id: int | None
    key_id: str | None
    expires_at: float | None
    confirmed_at: float
    networks: Sequence[str] = ()
    """The networks that a key is confined to; none: it is not."""

    @property
    def owner(self) -> str:
        return f"key:{self.key_id}" if self.key_id else f"user:{self.user_id}"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What PostgreSQL says of a credential: who it stands for, until when, and from which networks (none: from all)."""

    actor: Actor
    expires_at: float | None = None
    networks: Sequence[str] = ()


def asked(kind: Kind, secret: str, address: str, ask: Callable[[], Confirmed]) -> Actor:
    """Who a credential stands for: as PostgreSQL says, and while it is away as it said last. Raises what `ask` and `actor_of` raise."""
    try:
        confirmed = ask()
    except DatabaseError as error:
        if not is_outage(error):
            raise
        return actor_of(kind, secret, address=address)
    remember(kind, secret, confirmed)
    return confirmed.actor


def remember(kind: Kind, secret: str, confirmed: Confirmed) -> None:
    """PostgreSQL has just confirmed it."""
    actor, networks = confirmed.actor, list(confirmed.networks)
    digest, now = _digest(kind, secret), time.time()
    with _lock:
        before = _known.get(digest)
        is_same = before is not None and (before.role, list(before.networks)) == (actor.role, networks)
        if before is not None and is_same and now - before.confirmed_at < _CONFIRM_EVERY:
            return
        known = Known(actor.name, actor.role, actor.user_id, actor.key_id, confirmed.expires_at, now, networks)
        _known[digest] = known
        _known.move_to_end(digest)
        if len(_known) > _MOST:
            _known.popitem(last=False)
    signed = signing.dumps(asdict(known), salt=f"{_SALT}.{digest}")
    _ask("SET", f"aurora:known:{digest}", signed, "EX", _KEPT_SECONDS)


def actor_of(kind: Kind, secret: str, *, address: str = "") -> Actor:
    """Who a credential stands for, without PostgreSQL. Raises Denied when it is known to have ended, DatabaseUnavailable when that cannot be told."""
    digest = _digest(kind, secret)
    known = _find(digest)
    if known is None:
        raise DatabaseUnavailable("the credential is not known here")
    revoked_at = _revoked_at(known.owner)
    has_ended = known.expires_at is not None and known.expires_at <= time.time()
    is_elsewhere = bool(known.networks) and not is_within(address, known.networks)
    if has_ended or is_elsewhere or (revoked_at is not None and revoked_at >= known.confirmed_at):
        if kind == "token":
            raise Denied("Invalid or expired token", is_anonymous=True)
        raise Denied("Invalid API key", is_anonymous=True, is_guess=True)
    # A token ends by itself before long, so an older one counts too, if only Redis can tell that nobody has taken it away.
    if not _is_fresh(known) and (kind == "key" or revoked_at is None):
        raise DatabaseUnavailable("the credential was not confirmed lately")
    return Actor(name=known.name, role=known.role, address=address, user_id=known.user_id, key_id=known.key_id)


def revoked(*, user_id: int | None = None, key_id: str | None = None) -> None:
    """What was confirmed until now counts no more, for an account or a key."""
    owner, now = f"key:{key_id}" if key_id else f"user:{user_id}", time.time()
    with _lock:
        _revocations[owner] = now
        _revocations.move_to_end(owner)
        if len(_revocations) > _MOST:
            _revocations.popitem(last=False)
    _ask("SET", f"aurora:revoked:{owner}", str(now), "EX", _KEPT_SECONDS)


def is_revoked(*, user_id: int, since: float) -> bool:
    """Whether an account has lost something since then, as far as is known."""
    return (_revoked_at(f"user:{user_id}") or 0.0) >= since


def _is_fresh(known: Known) -> bool:
    since = availability.database.standing.since
    lost_at = since.timestamp() if since else time.time()
    return known.confirmed_at >= lost_at - MOST_SECONDS


def _find(digest: str) -> Known | None:
    with _lock:
        known = _known.get(digest)
    if known is not None:
        return known
    stored, _ = _ask("GET", f"aurora:known:{digest}")
    if stored is None:
        return None
    try:
        known = Known(**signing.loads(stored.decode(), salt=f"{_SALT}.{digest}", max_age=_KEPT_SECONDS))
    except (signing.BadSignature, TypeError, ValueError):
        return None
    with _lock:
        return _known.setdefault(digest, known)


def _revoked_at(owner: str) -> float | None:
    """When it last lost something; 0 for never; None when only this process could be asked, and knows of nothing."""
    with _lock:
        here = _revocations.get(owner)
    stored, is_told = _ask("GET", f"aurora:revoked:{owner}")
    return max(float(stored or 0), here or 0.0) if is_told else here


def _ask(*command: str | int) -> tuple[bytes | None, bool]:
    """The answer, and whether there was one: Redis may be away."""
    try:
        return _asker(client(Purpose.REQUEST))(*command), True
    except (RedisError, OSError) as error:
        log.debug("known_credentials_not_shared", error=str(error))
        return None, False


@cache
def _asker(redis: Any) -> Callable[..., Any]:
    """Every request while PostgreSQL is away asks once, and redis-py's way to Redis took a third of its time. A Cluster's client has no pool."""
    return DirectCommands(redis).ask if hasattr(redis, "connection_pool") else redis.execute_command


def _digest(kind: Kind, secret: str) -> str:
    return hashlib.sha256(f"{kind}:{secret}".encode("utf-8", "replace")).hexdigest()


_lock = threading.Lock()
_known: OrderedDict[str, Known] = OrderedDict()
_revocations: OrderedDict[str, float] = OrderedDict()
