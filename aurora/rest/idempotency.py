"""`Idempotency-Key`: the same request under the same key is done once and answered alike.

The key's row is inserted in the transaction of the work: a second request waits at the unique constraint until the first has committed or failed.
What is spooled while PostgreSQL is away takes its key along, and is held against this table when it is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from django.db import connection, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from aurora.actors import Actor
from aurora.errors import Conflict, Invalid
from aurora.models import IdempotencyKey
from aurora.resilience.spool import Claim
from aurora.rest.problems import problem

HEADER = {
    "Idempotency-Key": "The same request under the same key is done once and answered alike. At most 200 printable ASCII characters."
}
REPLAYED = {"Idempotent-Replayed": "true"}
"""Headers of an answer that was given before."""
OTHER_REQUEST = "This Idempotency-Key was used for another request"

_LONGEST = 200
_CLAIM = f"""
    INSERT INTO {IdempotencyKey._meta.db_table} (actor, key, request_hash, status, body, created_at)
    VALUES (%s, %s, %s, 0, '', now()) ON CONFLICT (actor, key) DO NOTHING
"""
# In the order of the keys, as whoever takes several must: two who take the same ones would else wait for each other.
_CLAIM_ALL = f"""
    INSERT INTO {IdempotencyKey._meta.db_table} (actor, key, request_hash, status, body, created_at)
    SELECT owner, key, request_hash, %s, body, now()
    FROM json_to_recordset(%s::json) AS row (owner text, key text, request_hash text, body text) ORDER BY owner, key
    ON CONFLICT (actor, key) DO NOTHING RETURNING actor, key
"""
_CLAIMED = f"""
    SELECT actor, key, request_hash FROM {IdempotencyKey._meta.db_table}
    WHERE (actor, key) IN (SELECT owner, key FROM json_to_recordset(%s::json) AS row (owner text, key text))
"""


def claim_of(request: Request, actor: Actor) -> Claim | None:
    """The caller's claim to be answered once; None for a request without a key. Raises Invalid for an unusable key."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY", "")
    if not key:
        return None
    if len(key) > _LONGEST or not key.isprintable() or not key.isascii():
        fault = problem(["header", "idempotency-key"], f"At most {_LONGEST} printable ASCII characters", "value_error")
        raise Invalid(problems=[fault])
    fingerprint = f"{request.method} {request.path}\n".encode() + request._request.body
    # Names of API keys need not be unique: two sensors of one name must not get each other's answers.
    return Claim(actor.key_id or actor.name, key, hashlib.sha256(fingerprint).hexdigest())


def once(claim: Claim | None, work: Callable[[], tuple[int, Any]]) -> Response:
    """`work`'s status and body, or what it answered earlier to the same claim. Raises Conflict when the key came with another request."""
    if claim is None:
        status, body = work()
        return Response(body, status=status)
    with transaction.atomic():
        return _claimed(claim, work)


def claim_all(bodies: Mapping[Claim, Any], status: int) -> dict[Claim, str]:
    """Takes many keys in the caller's transaction, each with the answer that was given to it.

    Returns those that were taken before, with the hash of the request that has them.
    """
    if not bodies:
        return {}
    wanted = [
        {"owner": claim.owner, "key": claim.key, "request_hash": claim.request_hash, "body": _json(body)}
        for claim, body in bodies.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM_ALL, [status, _json(wanted)])
        if cursor.rowcount == len(wanted):
            return {}
        taken = set(cursor.fetchall())
        cursor.execute(_CLAIMED, [_json(wanted)])
        hashes = {(owner, key): request_hash for owner, key, request_hash in cursor.fetchall()}
    return {claim: hashes[claim.owner, claim.key] for claim in bodies if (claim.owner, claim.key) not in taken}


def _claimed(claim: Claim, work: Callable[[], tuple[int, Any]]) -> Response:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [claim.owner, claim.key, claim.request_hash])
        is_first = cursor.rowcount == 1
    row = IdempotencyKey.objects.get(actor=claim.owner, key=claim.key)
    if not is_first:
        if row.request_hash != claim.request_hash:
            raise Conflict(OTHER_REQUEST)
        return Response(orjson.loads(row.body), status=row.status, headers=REPLAYED)
    row.status, body = work()
    row.body = _json(body)
    row.save(update_fields=["status", "body"])
    return Response(body, status=row.status)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()
