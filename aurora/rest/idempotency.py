"""`Idempotency-Key`: the same request under the same key is done once and answered alike.

The key's row is inserted in the transaction of the work: a second request waits at the unique constraint until the first has committed or failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson
from django.db import connection, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from aurora.actors import Actor
from aurora.errors import Conflict, Invalid
from aurora.models import IdempotencyKey
from aurora.rest.problems import problem

HEADER = {
    "Idempotency-Key": "The same request under the same key is done once and answered alike. At most 200 printable ASCII characters."
}

_LONGEST = 200
_CLAIM = f"""
    INSERT INTO {IdempotencyKey._meta.db_table} (actor, key, request_hash, status, body, created_at)
    VALUES (%s, %s, %s, 0, '', now()) ON CONFLICT (actor, key) DO NOTHING
"""


def once(request: Request, actor: Actor, work: Callable[[], tuple[int, Any]]) -> Response:
    """`work`'s status and body, or what it answered earlier under the same key. Raises Conflict when the key came with another request."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY", "")
    if not key:
        status, body = work()
        return Response(body, status=status)
    if len(key) > _LONGEST or not key.isprintable() or not key.isascii():
        fault = problem(["header", "idempotency-key"], f"At most {_LONGEST} printable ASCII characters", "value_error")
        raise Invalid(problems=[fault])
    with transaction.atomic():
        return _claimed(request, actor, key, work)


def _claimed(request: Request, actor: Actor, key: str, work: Callable[[], tuple[int, Any]]) -> Response:
    fingerprint = f"{request.method} {request.path}\n".encode() + request._request.body
    request_hash = hashlib.sha256(fingerprint).hexdigest()
    # Names of API keys need not be unique: two sensors of one name must not get each other's answers.
    owner = actor.key_id or actor.name
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [owner, key, request_hash])
        is_first = cursor.rowcount == 1
    row = IdempotencyKey.objects.get(actor=owner, key=key)
    if not is_first:
        if row.request_hash != request_hash:
            raise Conflict("This Idempotency-Key was used for another request")
        return Response(orjson.loads(row.body), status=row.status, headers={"Idempotent-Replayed": "true"})
    row.status, body = work()
    row.body = orjson.dumps(body, option=orjson.OPT_UTC_Z).decode()
    row.save(update_fields=["status", "body"])
    return Response(body, status=row.status)
