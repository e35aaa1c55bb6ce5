"""uvicorn's WebSocket protocol with one promise more: a connection does not outlive its application for long.

To close, uvicorn waits until everything it has buffered is taken. A peer that reads no more takes nothing, so a socket dropped for exactly that
would hold its descriptor and its buffer until the kernel gives up, which it need never do. Pass it as `ws=` to `uvicorn.Config`.
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER_SECONDS = 5.0
"""What a peer is given to take the last frames and to answer the close frame."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Aborts what is left of a connection some time after its application has returned."""

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)
