"""uvicorn's HTTP protocol with what it leaves open: the form of its own refusals, and an end to heads that never end.

A request that is no HTTP never reaches the application; its answer has the contract's shape all the same. Pass it as `http=` to `uvicorn.Config`.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aurora.ids import new_id

HEAD_BYTES = 64 * 1024
"""Request line and headers; more is refused, give or take what one read of the socket brings."""
HEAD_SECONDS = 30.0
"""What a caller is given to send them, from the connection or the head's first byte on."""


class HttpProtocol(HttpToolsProtocol):
    """Bounds what a caller who has not even asked yet can hold on to."""

    head_seconds = HEAD_SECONDS

    _deadline: asyncio.TimerHandle | None = None
    _is_in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        if self.parser.get_http_version() == "1.1" and all(name != b"host" for name, _ in self.headers):
            # RFC 9112, 3.2: no guess of ours takes its place. The parser tells it as any other fault.
            raise ValueError("no Host")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST)

    def _begin_head(self) -> None:
        self._end_head()
        self._is_in_head, self._head_bytes = True, 0
        self._deadline = self.loop.call_later(self.head_seconds, self._give_up)

    def _end_head(self) -> None:
        self._is_in_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._begin_head()  # of a pipelined request: the answer to the one before is on its way
        elif not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        body = orjson.dumps({"detail": status.phrase})
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-content-type-options: nosniff\r\nx-request-id: {new_id()}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
