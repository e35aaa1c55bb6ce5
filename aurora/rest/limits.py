"""Quotas at the API's edge: which apply to a call, and what their standing adds to its answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache

import redis
from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from aurora.actors import Actor
from aurora.bus.redis import Purpose, client
from aurora.errors import Denied, RateLimited, Unavailable
from aurora.resilience.ratelimit import Decision, Limiter, Policy, identity_of
from aurora.rest.auth import address_of
from aurora.rest.limit_headers import refusal_sentence

CREDENTIALS = "credentials"
INGEST = "ingest"
SOCKETS = "sockets"

NAME_QUOTAS = 5
"""How many addresses' quotas of guesses one name bears."""

_lock = threading.Lock()
_limiter: Limiter | None = None


def spend(request: HttpRequest, names: Sequence[str], caller: object) -> Decision:
    """Counts a call against every quota in `names`, or against none of them. The caller is its key, its account, else its address."""
    known = caller if isinstance(caller, Actor) else None
    identity = identity_of(
        api_key_id=known.key_id if known else None,
        username=known.name if known else None,
        address=address_of(request),
    )
    return _shared().hit(identity, tuple(_policy(name) for name in names))


def spend_if_guess(request: HttpRequest, error: Denied) -> Decision | None:
    """Counts a refused credential against the caller's address, if it was a guess. Nobody else of that address meets this quota: a good credential
    is let in before anything asks about it."""
    return spend(request, (CREDENTIALS,), None) if error.is_guess else None


def require_room(decision: Decision, *, is_intake: bool = False) -> None:
    """Raises RateLimited when the call was refused; for intake Unavailable: senders such as Alertmanager repeat a 503 and drop on a 429."""
    if decision.allowed:
        return
    if is_intake:
        sentence = f"Ingest is overloaded. Try again in {decision.retry_after} seconds."
        raise Unavailable(sentence, retry_after=decision.retry_after)
    raise RateLimited(refusal_sentence(decision), retry_after=decision.retry_after)


def require_room_to_sign_in(request: HttpRequest, username: str) -> None:
    """Counts an attempt against the caller's address and against the name, as the API does. Raises RateLimited. For the console's form."""
    require_room(spend(request, ("login",), None))
    require_room_for_name(request, username)


def require_room_for_name(request: HttpRequest, username: str) -> None:
    """Counts an attempt to sign in under a name, from wherever it comes, and raises RateLimited when there were too many.

    The address has its own quota (`login`), which one alone uses up first: so nobody locks a name by guessing at it from one place. This bound
    holds against guesses from many. While Redis is away it is not counted.
    """
    quota, window = settings.RATE_LIMITS["login"]
    name = username.casefold()
    try:
        usage = get_usage(  # type: ignore[no-untyped-call]
            request,
            group="sign-in",
            key=lambda _group, _request: name,
            rate=f"{quota * NAME_QUOTAS}/{window}s",
            increment=True,
        )
    except redis.RedisError:
        return
    if usage and usage["should_limit"]:
        wait = max(1, usage["time_left"])
        raise RateLimited(f"Rate limit exceeded. Try again in {wait} seconds.", retry_after=wait)


@cache
def _policy(name: str) -> Policy:
    quota, window = settings.RATE_LIMITS[name]
    return Policy(name, quota, window)


def _shared() -> Limiter:
    global _limiter
    with _lock:
        if _limiter is None:
            _limiter = Limiter(client(Purpose.REQUEST))
        return _limiter
