"""Mail over SMTP: `notify` tells people. The message's id comes of the step's key, so a mail sent twice is shown once by what looks at ids."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from agents.playbooks.actions.contract import ConnectorSettings, Order, Wired
from aurora.errors import Invalid
from aurora.rest.schemas import Whole

SERVES = frozenset({"notify"})
SECRETS = frozenset({"password"})

Mailbox = Annotated[
    str, StringConstraints(pattern=r"^[^@\s<>,;\x00-\x1f\x7f-\x9f]+@[^@\s<>,;\x00-\x1f\x7f-\x9f]+$", max_length=254)
]


class Settings(ConnectorSettings):
    host: str = Field(max_length=255, pattern=r"^[^\s/@\x00-\x1f\x7f-\x9f]+$")
    port: Whole = Field(587, ge=1, le=65535, strict=False)  # 587.0 is a whole number to JSON
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = Field("", max_length=255)
    password: str = Field("", max_length=1000)
    sender: Mailbox
    recipients: list[Mailbox] = Field(min_length=1, max_length=50)
    approvers: dict[str, Mailbox] = Field(
        {}, max_length=50, description="Account → mailbox: who is sent a link when an approval is wanted."
    )


def act(order: Order, wired: Wired) -> dict[str, Any]:
    """Sends one mail to the connector's recipients, or to the one approver that the order is for."""
    if order.undo:
        raise Invalid("What was told cannot be untold")
    message = _message(order, wired.settings)
    with _session(wired.settings, order.timeout) as session:
        refused = session.send_message(message)
    return {"to": message["To"], "refused": sorted(refused)}


def check(wired: Wired) -> str:
    with _session(wired.settings, 10) as session:
        code, _ = session.noop()
    return f"The server answers {code}"


def _message(order: Order, settings: Settings) -> EmailMessage:
    subject = " ".join(str(order.parameters.get("subject") or "AuroraSOC").split())[:200]
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = settings.sender
    message["To"] = settings.approvers[order.to] if order.to else ", ".join(settings.recipients)
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{order.key}@{settings.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{order.parameters.get('text') or subject}\n\n{order.why}\n")
    return message


def _session(settings: Settings, timeout: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if settings.security == "tls":
        session: smtplib.SMTP = smtplib.SMTP_SSL(settings.host, settings.port, timeout=timeout, context=context)
    else:
        session = smtplib.SMTP(settings.host, settings.port, timeout=timeout)
    try:
        if settings.security == "starttls":
            session.starttls(context=context)
        if settings.username:
            session.login(settings.username, settings.password)
    except BaseException:
        session.close()
        raise
    return session
