"""Telling approvers that they are wanted: each by the connector that names them, with a link of their own."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import structlog
from django.conf import settings
from django.utils import timezone

from agents.playbooks import approvals, connectors, links, runs
from agents.playbooks.actions.contract import Order
from agents.playbooks.actions.http import RefusedForNow
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.definition import Retry
from agents.playbooks.models import Approval, ApprovalLink, Connector
from agents.playbooks.states import ApprovalStatus, ConnectorKind, StepState
from aurora.errors import Conflict, Missing
from aurora.texts import words
from cases.observables import classify, defang

TELLING = (ConnectorKind.EMAIL, ConnectorKind.CHAT)

log = structlog.get_logger(__name__)


def tell(*, approval_id: UUID, announcement: UUID) -> None:
    """Sends each approver who may decide their link, once for each announcement. Raises OSError when somebody could not be told.

    Then the message comes again, and those who have been told are not told twice.
    """
    try:
        approval = approvals.find(approval_id)
    except Missing:
        return
    if approval.status != ApprovalStatus.PENDING or approval.expires_at <= timezone.now():
        return
    wanted = [(connector, name) for connector, name in _approvers() if _is_wanted(approval, name)]
    unreached = [name for connector, name in wanted if not _reach(approval, connector, name, announcement)]
    if unreached:
        raise RefusedForNow(f"Not told of approval {approval.id}: {', '.join(unreached)}")


def _approvers() -> Iterator[tuple[Connector, str]]:
    for connector in Connector.objects.filter(enabled=True, kind__in=TELLING, actions__contains=["notify"]):
        try:
            named = connectors.wired(connector).settings.approvers
        except Conflict as error:
            log.error("approvers_unknown", connector=connector.name, error=error.detail)
            continue
        yield from ((connector, username) for username in named)


def _is_wanted(approval: Approval, username: str) -> bool:
    """Neither who asked, nor who has said yes already, nor who may not."""
    if username == approval.requester or any(one["by"] == username for one in approval.decisions):
        return False
    if not approvals.may_decide(username):
        log.warning("approver_may_not_decide", username=username)
        return False
    return True


def _reach(approval: Approval, connector: Connector, username: str, announcement: UUID) -> bool:
    row, url = links.made_for(approval=approval, username=username, connector=connector)
    if row.used_at or row.told_of == announcement:
        return True
    order = Order(
        action="notify",
        key=f"{row.digest[:32]}-{announcement.hex[:16]}",
        parameters={"subject": _subject(approval), "text": _text(approval, username, url)},
        timeout=settings.AGENT_TIMEOUT_SECONDS,
        to=username,
    )
    outcome = connectors.carry_out(connector=connector, order=order, retry=Retry(attempts=1))
    told = {"told_of": announcement, "told_at": timezone.now()} if outcome.status == StepState.COMPLETED else {}
    ApprovalLink.objects.filter(pk=row.pk).update(error=outcome.error, **told)
    return bool(told)


def _subject(approval: Approval) -> str:
    return f"Approval wanted: {words(approval.action)} on {_targets(approval)}"


def _text(approval: Approval, username: str, url: str) -> str:
    execution = approval.execution
    about = f"{execution.case.reference} {execution.case.title}" if execution.case else "none"
    undone = "can be undone" if approval.is_reversible else "cannot be undone"
    lines = (
        f"{ACTIONS[approval.action].does}: {_targets(approval)}",
        "",
        f"Why it asks: {approval.reason}",
        f"Playbook:    {execution.playbook} {execution.reference}, step {approval.step.name}",
        f"Case:        {about}",
        f"Asked by:    {approval.requested_by}",
        f"It {undone}; {approval.granted} of {approval.needed} people have agreed.",
        f"Decide until {approval.expires_at:%Y-%m-%d %H:%M} UTC.",
        "",
        f"This link is for {username} alone and good for one decision. Opening it decides nothing:",
        url,
    )
    return "\n".join(lines)


def _targets(approval: Approval) -> str:
    """Defanged: a mail client makes links of addresses."""
    words = runs.targets_of(approval.parameters).split(", ")
    return ", ".join(defang(one.value, one.type) if (one := classify(word)) else word for word in words)
