"""Any action, as a signed message to an address of the operator's: an EDR's gateway, an automation of their own.

The receiver computes HMAC-SHA-256 of `TIMESTAMP.EVENT_ID.BODY` under the shared secret and compares it with `X-Aurora-Signature` (`sha256=HEX`);
refuses old timestamps; and tells doubles by the event id, which is the same for every attempt and replay.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import orjson
from pydantic import Field

from agents.playbooks.actions import http
from agents.playbooks.actions.contract import ConnectorSettings, HttpUrl, Order, Pem, Wired
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.models import Delivery
from aurora.errors import AuroraError
from aurora.texts import require_storable, storable

SERVES = frozenset(ACTIONS)
SECRETS = frozenset({"secret"})
_CHECK_ID = "check"


class Settings(ConnectorSettings):
    url: HttpUrl
    secret: str = Field(min_length=16, max_length=1000)
    ca_pem: Pem = Field("", description="An authority of your own; empty: the system's.")


def act(order: Order, wired: Wired) -> dict[str, Any]:
    """Sends it and takes a 2xx for done; what the receiver answers as JSON becomes part of the result."""
    body = {
        "event_id": order.key,
        "action": order.action,
        "undo": order.undo,
        "undoes": order.done_under if order.undo else None,
        "parameters": order.parameters,
        "why": order.why,
        "facts": order.facts,
    }
    answer = deliver(wired, order.key, orjson.dumps(body).decode(), timeout=order.timeout)
    return {"answer": answer} if answer else {}


def check(wired: Wired) -> str:
    """A signed message that asks for nothing (`action` is `check`)."""
    deliver(wired, _CHECK_ID, orjson.dumps({"event_id": _CHECK_ID, "action": "check"}).decode(), timeout=10)
    return "It took a signed message"


def deliver(wired: Wired, event_id: str, body: str, *, timeout: float, is_replay: bool = False) -> Any:
    """Signs, sends and logs one message; what was answered, if it is a JSON object. Raises Invalid, OSError."""
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "AuroraSOC",
        "Idempotency-Key": event_id,
        "X-Aurora-Event-Id": event_id,
        "X-Aurora-Timestamp": timestamp,
        "X-Aurora-Signature": f"sha256={signature(wired.settings.secret, timestamp, event_id, body)}",
    }
    row = Delivery(connector_id=wired.id, event_id=event_id, body=body, is_replay=is_replay)
    try:
        row.status, answer = http.send(
            "POST",
            wired.settings.url,
            headers=headers,
            content=body.encode(),
            timeout=timeout,
            ca_pem=wired.settings.ca_pem,
        )
        http.require_success(row.status, answer)
    except (AuroraError, OSError) as error:
        row.error = storable(str(error), 1_000)
        raise
    finally:
        row.save(force_insert=True)
    return _object_in(answer)


def signature(secret: str, timestamp: str, event_id: str, body: str) -> str:
    """In hex."""
    return hmac.new(secret.encode(), f"{timestamp}.{event_id}.{body}".encode(), hashlib.sha256).hexdigest()


def _object_in(answer: bytes) -> dict[str, Any] | None:
    """None for what is none, or could not be kept: PostgreSQL holds no NUL, and gives back `1e30` as a number that no answer of ours takes."""
    try:
        found = require_storable(orjson.loads(answer[:16_384]))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
