"""Chat rooms and pagers, by apprise: `notify` tells people where they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import apprise
from pydantic import Field

from agents.playbooks.actions import http
from agents.playbooks.actions.contract import ConnectorSettings, Order, Wired
from aurora.errors import Invalid

SERVES = frozenset({"notify"})
SECRETS = frozenset({"urls", "approvers"})

_HOSTED = frozenset(
    {
        *("slack", "discord", "msteams", "workflows", "tgram", "gchat", "webex", "wxteams", "pover", "opsgenie"),
        *("pagerduty", "twilio", "zulip", "line", "signl4", "splunk", "victorops", "rootly"),
    }
)
"""Services whose address is the vendor's; what stands in the place of a host is a token."""
_OWN = frozenset(
    {
        *("json", "jsons", "mmost", "mmosts", "rocket", "rockets", "matrix", "matrixs", "ntfy", "ntfys", "gotify"),
        "gotifys",
    }
)
"""Services at an address of the operator's, which has to be an allowed one."""
_PLAIN = frozenset(name for name in _OWN if not name.endswith("s"))
"""Those that are told without TLS: at the very address that was looked at, for their name may lead elsewhere the next time. With TLS
it is the certificate that says who answers."""


class Settings(ConnectorSettings):
    urls: list[str] = Field(min_length=1, max_length=20, description="As apprise writes them; they hold tokens.")
    approvers: dict[str, str] = Field(
        {},
        max_length=50,
        description="Account → a place that nobody else reads: where its link goes when an approval is wanted.",
    )


def act(order: Order, wired: Wired) -> dict[str, Any]:
    """Tells all rooms. One that does not take it makes the whole fail, and a further attempt tells all of them again."""
    if order.undo:
        raise Invalid("What was told cannot be untold")
    rooms = _rooms([wired.settings.approvers[order.to]] if order.to else wired.settings.urls)
    subject = " ".join(str(order.parameters.get("subject") or "AuroraSOC").split())[:200]
    text = f"{order.parameters.get('text') or subject}\n{order.why}"
    if not rooms.notify(title=subject, body=text, body_format=apprise.NotifyFormat.TEXT):
        raise http.RefusedForNow("A room did not take it")
    return {"rooms": len(rooms)}


def check(wired: Wired) -> str:
    """Looks at the addresses alone: a message that says nothing would still ring telephones."""
    rooms = _rooms([*wired.settings.urls, *wired.settings.approvers.values()])
    return f"{len(rooms)} rooms; nothing was sent"


def _rooms(urls: Iterable[str]) -> apprise.Apprise:
    rooms = apprise.Apprise()
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme in _OWN:
            address = http.allowed_address(parts.hostname or "", parts.port or 443)
            url = _at(address, parts) if parts.scheme in _PLAIN else url
        elif parts.scheme not in _HOSTED:
            raise Invalid(f"Rooms of the kind {parts.scheme}:// are not allowed")
        if not rooms.add(url):
            raise Invalid(f"This is no address of a {parts.scheme} room")
    for room in rooms:
        # Whatever its address says: a redirect leads where nobody has looked, and without its certificate a name says nothing.
        room.redirects, room.verify_certificate = False, True
    return rooms


def _at(address: http.Address, parts: SplitResult) -> str:
    host = f"[{address}]" if address.version == 6 else str(address)
    userinfo, at, _ = parts.netloc.rpartition("@")
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{userinfo}{at}{host}{port}"))
