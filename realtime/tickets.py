"""Tickets: a signed-in caller's pass to open one socket, for programs and pages that can send no header with it.

A ticket stands in a URL, so it is worth little to who reads it in a log: it works once and for 30 seconds. Redis holds it under its SHA-256.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass

import orjson
import redis

from aurora.actors import Actor
from aurora.bus import redis as clients
from aurora.errors import Denied, Unavailable

LIFETIME_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Pass:
    """Who opens a socket, and until when (seconds since the epoch; None = no end of its own)."""

    actor: Actor
    expires_at: float | None = None


def issue(*, actor: Actor, expires_at: float | None = None) -> str:
    """A new ticket for `actor`. The socket it opens ends at `expires_at`. Raises Unavailable."""
    ticket = secrets.token_urlsafe(32)
    value = orjson.dumps({"actor": asdict(actor), "expires_at": expires_at})
    try:
        clients.client(clients.Purpose.REQUEST).set(_key(ticket), value, ex=LIFETIME_SECONDS)
    except redis.RedisError:
        raise Unavailable("Tickets are unavailable") from None
    return ticket


def redeem(*, ticket: str) -> Pass:
    """Uses the ticket up. Raises Denied(is_anonymous=True) for an unknown, used or expired one; Unavailable."""
    try:
        value = clients.client(clients.Purpose.REQUEST).getdel(_key(ticket))
    except redis.RedisError:
        raise Unavailable("Tickets are unavailable") from None
    if not isinstance(value, bytes):
        raise Denied("Invalid or expired ticket", is_anonymous=True)
    kept = orjson.loads(value)
    return Pass(Actor(**kept["actor"]), kept["expires_at"])


def _key(ticket: str) -> str:
    return "aurora:ws:ticket:" + hashlib.sha256(ticket.encode("utf-8", "replace")).hexdigest()
