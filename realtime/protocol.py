"""uvicorn's WebSocket protocol with three promises more: a connection does not outlive its application for long, a message that many
receive is made into a frame once, and a handshake that is none gets an answer, in the contract's shape.

A server's frames are not masked (RFC 6455, 5.1), so without compression they are the same bytes for every receiver: a message that brings its
`frame` along is written as it is. To close, uvicorn waits until everything it has buffered is taken. A peer that reads no more takes nothing, so a socket dropped for exactly that
would hold its descriptor and its buffer until the kernel gives up, which it need never do. Pass it as `ws=` to `uvicorn.Config`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.protocol import State

from aurora.ids import new_id

WRITE_NOW = "aurora.write_now"
"""The name of our extension of the ASGI scope (its `extensions`): a function that takes a ready frame, and returns whether it is written."""
LINGER_SECONDS = 5.0
"""What a peer is given to take the last frames and to answer the close frame."""


def frame_of(text: str) -> bytes:
    """A text message as the bytes that every receiver gets."""
    return WebSocketFrame(Opcode.TEXT, text.encode()).serialize(mask=False)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Writes ready frames, and aborts what is left of a connection some time after its application has returned."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.reject = _refusal  # type: ignore[assignment, method-assign]  # uvicorn makes it, of a class that cannot be named

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            # What is no request never becomes an event, so uvicorn would neither answer nor hang up.
            told = b"".join(self.conn.data_to_send()) or _refusal(HTTPStatus.BAD_REQUEST, "").serialize()
            self.handshake_complete = self.close_sent = True
            self.transport.write(told)
            self.transport.close()

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        frame = message.get("frame")
        if frame is None or not (self.write_now(frame) or await self._write_later(frame)):
            await super().send(message)  # type: ignore[arg-type]

    def write_now(self, frame: bytes) -> bool:
        """Whether the frame is written; false when it must go through `send`, which waits or says what is wrong."""
        is_open = self.handshake_complete and self.conn.state is State.OPEN and not self.conn.extensions
        if not is_open or self.disconnected or not self.writable.is_set():
            return False
        self.transport.write(frame)
        return True

    async def _write_later(self, frame: bytes) -> bool:
        await self.writable.wait()
        return self.write_now(frame)

    async def run_asgi(self) -> None:
        # `send` without a wait and without a task: what makes the first frame after a pause quick for hundreds of receivers.
        extensions: dict[str, Any] = {**(self.scope["extensions"] or {}), WRITE_NOW: self.write_now}
        self.scope["extensions"] = extensions
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def _refusal(status: HTTPStatus | int, _text: str) -> Response:
    """In the place of a sentence in plain text that tells about the library."""
    status = HTTPStatus(status)
    body = orjson.dumps({"detail": status.phrase})
    headers = Headers(
        {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Content-Type-Options": "nosniff",
            "X-Request-ID": str(new_id()),
            "Connection": "close",
        }
    )
    return Response(status.value, status.phrase, headers, body)
