"""The ASGI application for WebSockets, the second half of `aurora.asgi`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from aurora.errors import Missing
from realtime.auth import Scope
from realtime.clients import Send
from realtime.consumers import ChannelConsumer, refuse
from realtime.messages import CHANNELS

PREFIX = "/api/v1/ws/"

_CONSUMERS = {
    PREFIX + name: ChannelConsumer.as_asgi(channel=channel)  # type: ignore[no-untyped-call]
    for name, channel in CHANNELS.items()
}
_SECRETS = frozenset({"ticket", "token"})


async def application(scope: Scope, receive: Any, send: Send) -> None:
    """A socket on one of the channels; on any other path it is closed with 4404."""
    consumer = _CONSUMERS.get(scope["path"].removeprefix(scope.get("root_path", "")).removesuffix("/"))
    own_scope = dict(scope)
    # In place, although a scope belongs to the server: uvicorn writes this very string into its log when the socket is accepted.
    scope["query_string"] = _without_secrets(scope.get("query_string", b""))
    if consumer is not None:
        await consumer(own_scope, receive, send)
    elif (await receive())["type"] == "websocket.connect":
        await refuse(send, Missing("No such channel"))


def _without_secrets(query_string: bytes) -> bytes:
    try:
        fields = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return b""
    return urlencode([(name, "***" if name in _SECRETS else value) for name, value in fields], safe="*").encode()
