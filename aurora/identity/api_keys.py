"""API keys, the credentials of programs: minting, checking, confining, succeeding and ending them.

A key is 256 random bits, so a plain SHA-256 of it cannot be guessed back; the prefix finds the row.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from aurora import audit, statements
from aurora.actors import Actor
from aurora.addresses import is_within, network_or_none
from aurora.bus import control
from aurora.errors import Denied, Invalid, Missing, Problem
from aurora.identity import known_good
from aurora.identity.known_good import Confirmed
from aurora.models import ApiKey
from aurora.resilience import availability
from aurora.roles import ROLES

KEY_PREFIX = "aurora_key_"
_LAST = datetime.max.replace(tzinfo=UTC)
_LAST_USED_EVERY = timedelta(minutes=1)
_BAD_KEY = "Invalid API key"

# Every request with a key asks it; composing it through the ORM takes three times as long as running it.
_KEY = f"""
    SELECT id, name, role, key_hash, array(SELECT jsonb_array_elements_text(networks)), expires_at, revoked_at, last_used_at
    FROM {ApiKey._meta.db_table} WHERE prefix = %s
"""

log = structlog.get_logger(__name__)


def actor_of(key: str, *, address: str = "") -> Actor:
    """The program of an API key. Raises Denied(is_anonymous=True) for an unknown, revoked or expired one, and at an address that it is not for."""
    return known_good.asked("key", key, address, lambda: _confirmed_key(key, address))


def _confirmed_key(key: str, address: str) -> Confirmed:
    prefix, now = key.removeprefix(KEY_PREFIX)[:12], timezone.now()
    row = _key_of(prefix) if key.startswith(KEY_PREFIX) and key.isascii() else None
    is_right = hmac.compare_digest(_key_hash(key), row.key_hash if row else "")
    if row is None or not is_right or row.revoked_at or (row.expires_at and row.expires_at <= now):
        raise Denied(_BAD_KEY, is_anonymous=True, is_guess=True)
    if row.networks and not is_within(address, row.networks):
        # The same answer, counted alike: whoever found the key is not told that it is one.
        log.warning("api_key_elsewhere", key=row.name, prefix=prefix, address=address)
        raise Denied(_BAD_KEY, is_anonymous=True, is_guess=True)
    actor = Actor(name=f"key:{row.name}", role=row.role, address=address, key_id=str(row.id))
    _note_use(row, now)
    return Confirmed(actor, row.expires_at.timestamp() if row.expires_at else None, row.networks)


def create(
    *, name: str, role: str, expires_at: datetime | None, actor: Actor, networks: Sequence[str] = ()
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is shown this once; good in `networks`, or everywhere when there are none. Raises Denied, Invalid."""
    actor.require("users:manage")
    if role not in ROLES:
        raise Invalid(f"Unknown role: {role}")
    if expires_at is not None and expires_at <= timezone.now():
        fault: Problem = {
            "loc": ["body", "expires_at"],
            "msg": "Value error, the time has passed",
            "type": "value_error",
        }
        raise Invalid(problems=[fault])
    key = KEY_PREFIX + secrets.token_urlsafe(40)
    with transaction.atomic():
        row = ApiKey.objects.create(
            name=name,
            role=role,
            prefix=key.removeprefix(KEY_PREFIX)[:12],
            key_hash=_key_hash(key),
            networks=_checked(networks),
            expires_at=expires_at,
            created_by=actor.name,
        )
        after = {"name": name, "role": role, "networks": row.networks, "expires_at": _told(expires_at)}
        audit.record(actor, "api_key.created", row, after=after)
    return row, key


def confine(*, key_id: UUID, networks: Sequence[str], actor: Actor) -> ApiKey:
    """Says in which networks a key is good: everywhere when there are none. Raises Denied, Missing, Invalid."""
    actor.require("users:manage")
    with transaction.atomic():
        row = _living_key(key_id)
        before, row.networks = row.networks, _checked(networks)
        row.save(update_fields=["networks"])
        audit.record(actor, "api_key.confined", row, before={"networks": before}, after={"networks": row.networks})
        control.rights_changed(key_id=str(row.id))
    return row


def rotate(*, key_id: UUID, overlap: timedelta, actor: Actor) -> tuple[ApiKey, str]:
    """A successor that may what the key may, for as long a life, and its secret; the key itself ends after `overlap`, or earlier if it would anyway.

    Raises Denied, Missing for a key that has ended.
    """
    actor.require("users:manage")
    with transaction.atomic():
        old, now = _living_key(key_id), timezone.now()
        lifetime = old.expires_at - old.created_at if old.expires_at else None
        new, key = create(
            name=old.name,
            role=old.role,
            networks=old.networks,
            expires_at=now + min(lifetime, _LAST - now) if lifetime else None,
            actor=actor,
        )
        new.rotated_from = old.id
        new.save(update_fields=["rotated_from"])
        before, old.expires_at = old.expires_at, min(old.expires_at or now + overlap, now + overlap)
        old.save(update_fields=["expires_at"])
        after = {"expires_at": _told(old.expires_at), "successor": str(new.id)}
        audit.record(actor, "api_key.rotated", old, before={"expires_at": _told(before)}, after=after)
        control.rights_changed(key_id=str(old.id))
    return new, key


def revoke(*, key_id: UUID, actor: Actor) -> None:
    """Ends a key at once. Raises Denied, Missing."""
    actor.require("users:manage")
    with transaction.atomic():
        row = ApiKey.objects.select_for_update().filter(pk=key_id, revoked_at=None).first()
        if row is None:
            raise Missing
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        audit.record(actor, "api_key.revoked", row, before={"name": row.name, "role": row.role})
        control.rights_changed(key_id=str(row.id))


class _Key(NamedTuple):
    """What decides over an API key."""

    id: UUID
    name: str
    role: str
    key_hash: str
    networks: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def _key_of(prefix: str) -> _Key | None:
    with statements.cursor() as cursor:
        cursor.execute(_KEY, [prefix])
        found = cursor.fetchone()
    return _Key(*found) if found else None


def _living_key(key_id: UUID) -> ApiKey:
    """The key, nobody else's to change until the transaction ends. Raises Missing for one that has ended."""
    rows = ApiKey.objects.select_for_update().filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    row = rows.filter(pk=key_id, revoked_at=None).first()
    if row is None:
        raise Missing
    return row


def _note_use(key: _Key, now: datetime) -> None:
    """To the minute: a write at every request would cost more than all the rest of it. Of many at once one writes, and none while nothing can be."""
    is_recent = key.last_used_at is not None and now - key.last_used_at <= _LAST_USED_EVERY
    if is_recent or not availability.database.standing.is_writable:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - _LAST_USED_EVERY)
    ApiKey.objects.filter(stale, pk=key.id).update(last_used_at=now)


def _checked(networks: Sequence[str]) -> list[str]:
    """The networks as they are kept. Raises Invalid, naming each that is none."""
    faults: list[Problem] = [
        {
            "loc": ["body", "networks", place],
            "msg": "Value error, not an address or a network such as 10.0.0.0/8",
            "type": "value_error",
        }
        for place, text in enumerate(networks)
        if network_or_none(text) is None
    ]
    if faults:
        raise Invalid(problems=faults)
    return [str(network_or_none(text)) for text in networks]


def _told(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _key_hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
