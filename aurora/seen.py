"""Changes that rest on what somebody saw: refused when somebody else has changed it meanwhile, instead of undoing that unnoticed."""

from __future__ import annotations

from typing import Any

import orjson
from django.db import models
from django.utils.crypto import salted_hmac

from aurora.errors import Conflict
from aurora.models import AuditEntry


class Outdated(Conflict):
    """What is to be changed is no longer what the caller saw of it."""


def mark(fields: Any) -> str:
    """A short text that is another one when any of `fields` (whatever JSON holds) is. Of secrets among them it tells nothing."""
    told = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return salted_hmac("aurora.seen", told, algorithm="sha256").hexdigest()[:16]


def require(target: models.Model, *, seen: str, is_now: str, action: str) -> None:
    """Raises Outdated unless `seen` is how it is, naming who did `action` to it last and when. For the transaction of the change, under the row's lock.

    Whoever does not say what was seen, by an empty text, wants no such protection.
    """
    if not seen or seen == is_now:
        return
    told = {"target_type": target._meta.model_name, "target_id": str(target.pk), "action": action}
    last = AuditEntry.objects.filter(**told).order_by("-id").first()
    who = f"{last.actor} changed this at {last.at:%Y-%m-%d %H:%M:%S} UTC" if last else "This was changed"
    raise Outdated(
        f"{who}, after you had opened it. Nothing was saved and what you typed is still here: look at it again, and save once more to put yours in its place."
    )
