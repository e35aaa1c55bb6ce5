"""Links by which one named person decides one approval once, without signing in.

A link is the approval, the account and the connector that carries it, signed under a key for this purpose alone; so it is the same however often it is
sent. It is good while its row has not been used and its approval can be decided, and does no more than its account may do by then. Opening it changes
nothing: what scans mail opens every link.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import User
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from agents.playbooks import approvals
from agents.playbooks.models import Approval, ApprovalLink, Connector
from agents.playbooks.states import ApprovalStatus
from aurora import sealing
from aurora.actors import Actor
from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.identity.credentials import actor_from_user
from aurora.texts import storable

_PURPOSE = "approval-link"
_LONGEST = 1_000
_VERDICTS = {"approved": approvals.approve, "rejected": approvals.reject}


@dataclass(frozen=True, slots=True)
class Opened:
    """What a link leads to, and whose it is."""

    approval: Approval
    owner: Actor


def made_for(*, approval: Approval, username: str, connector: Connector) -> tuple[ApprovalLink, str]:
    """The person's link and its address: the same as the last time, if it was made before."""
    token = _signer().sign_object([approval.id.hex, username, connector.id.hex])
    row, _ = ApprovalLink.objects.get_or_create(
        digest=_digest(token), defaults={"approval": approval, "username": username, "connector": connector}
    )
    return row, f"{settings.PUBLIC_URL}{reverse('approval-link')}?{urlencode({'link': token})}"


def opened(*, token: str, address: str = "") -> Opened:
    """What to decide on. Raises Missing for no link of ours, Conflict for one that is no longer good, Denied when its account may not decide."""
    row = _row_of(token)
    approval = approvals.find(row.approval_id)
    if row.used_at is not None:
        raise Conflict("This link has been used")
    if approval.status != ApprovalStatus.PENDING:
        raise Conflict(f"This is decided: {approval.status}")
    if approval.expires_at <= timezone.now():
        raise Conflict("The time to decide is over")
    return Opened(approval, _owner(row, address))


def decide(*, token: str, verdict: str, reason: str, address: str = "") -> Opened:
    """Decides in the name of the link's account and uses the link up. Raises as `opened`, and Invalid for a rejection without a reason."""
    verb = _VERDICTS.get(verdict)
    if verb is None:
        raise Invalid("Approve or reject")
    found = opened(token=token, address=address)
    with transaction.atomic():
        # Of two presses at once the second waits here, and finds it used.
        if not ApprovalLink.objects.filter(pk=_digest(token), used_at=None).update(used_at=timezone.now()):
            raise Conflict("This link has been used")
        told = storable(reason, approvals.LONGEST_REASON)
        approval = verb(approval_id=found.approval.id, actor=found.owner, reason=told, is_by_link=True)
    return Opened(approval, found.owner)


def _row_of(token: str) -> ApprovalLink:
    try:
        if len(token) > _LONGEST:
            raise Missing
        _signer().unsign_object(token)
    except BadSignature:
        raise Missing from None
    row = ApprovalLink.objects.filter(pk=_digest(token)).first()
    if row is None:
        raise Missing
    return row


def _owner(row: ApprovalLink, address: str) -> Actor:
    user = User.objects.filter(username=row.username, is_active=True).first()
    if user is None or not approvals.may_decide(row.username):
        raise Denied(f"The account {row.username} may not decide approvals")
    return actor_from_user(user, address=address)


def _signer() -> Signer:
    return Signer(key=sealing.key_for(_PURPOSE), salt=_PURPOSE, fallback_keys=[])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
