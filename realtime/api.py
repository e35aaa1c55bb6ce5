"""The sockets' one call over HTTP."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from aurora.identity import credentials
from aurora.rest.calls import Call
from aurora.rest.schemas import Answer
from aurora.rest.views import ApiView
from realtime import tickets
from realtime.messages import CHANNELS


class Ticket(Answer):
    """A pass for one socket: `?ticket=` within `expires_in` seconds."""

    ticket: str
    expires_in: int


class TicketView(ApiView):
    """`POST /api/v1/ws/ticket`: for callers that cannot send a header with a socket, such as a browser's script on another site."""

    permissions = {"POST": tuple(channel.permission for channel in CHANNELS.values())}
    kept_in_dry_run = frozenset({"POST"})
    calls = {"POST": Call(answers={200: Ticket})}

    def post(self, request: Request) -> Response:
        ticket = tickets.issue(actor=self.actor, expires_at=_expires_at(request))
        answer = Ticket(ticket=ticket, expires_in=tickets.LIFETIME_SECONDS)
        return Response(answer.model_dump())


def _expires_at(request: Request) -> float | None:
    """A socket opened with a ticket must not outlive the access token that bought it."""
    if request.auth != "token":
        return None
    return credentials.expires_at(request.META["HTTP_AUTHORIZATION"].partition(" ")[2].strip())
