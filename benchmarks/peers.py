"""WebSocket clients that cost almost nothing themselves: hundreds in one process, healthy or sick on purpose."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import Any

_HEADER = 2
_TEXT, _PING, _PONG = 1, 9, 10
_OPEN_SECONDS = 30.0


class Peer(asyncio.Protocol):
    """One client. Counts frames; `on_frame` is given each frame's payload and the time it came."""

    def __init__(self, on_frame: Callable[[bytes, float], None] | None = None) -> None:
        self.count = 0
        self.on_frame = on_frame
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self._rest = b""
        self._awaited: tuple[int, asyncio.Future[float]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("the server hung up"))
        if self._awaited and not self._awaited[1].done():
            self._awaited[1].set_exception(ConnectionError(f"closed after {self.count} frames"))

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if not self.opened.done():
            self._read_answer()
        if self.opened.done():
            self._read_frames()

    def seen(self, count: int) -> asyncio.Future[float]:
        """When `count` frames have come in all. Raises ConnectionError when the server closes before."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if self.count >= count:
            future.set_result(time.perf_counter())
        self._awaited = (count, future)
        return future

    def say(self, payload: bytes, opcode: int = 1) -> None:
        """A masked frame with up to 125 bytes."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.transport.write(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def die(self) -> None:
        """A RST instead of a closing handshake."""
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.transport.abort()

    def _read_answer(self) -> None:
        head, separator, rest = self._rest.partition(b"\r\n\r\n")
        if not separator:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(ConnectionError(head[:200].decode("latin-1")))
            return
        self._rest = rest
        self.opened.set_result(None)

    def _read_frames(self) -> None:
        data, at, now = self._rest, 0, time.perf_counter()
        while len(data) >= at + _HEADER:
            length, begins = data[at + 1] & 0x7F, at + _HEADER
            if length == 126:
                length, begins = int.from_bytes(data[begins : begins + 2]), begins + 2
            elif length == 127:
                length, begins = int.from_bytes(data[begins : begins + 8]), begins + 8
            if len(data) < begins + length:
                break
            self._take(data[at] & 0x0F, data[begins : begins + length], now)
            at = begins + length
        self._rest = data[at:]
        if self._awaited and self.count >= self._awaited[0] and not self._awaited[1].done():
            self._awaited[1].set_result(now)

    def _take(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == _TEXT:
            self.count += 1
            if self.on_frame:
                self.on_frame(payload, now)
        elif opcode == _PING:
            # Who does not answer is taken for dead, which a run on a busy machine lasts long enough for.
            self.say(payload, _PONG)


async def connect(port: int, path: str, on_frame: Any = None, *, buffer: int = 0) -> Peer:
    """An open peer; with `buffer`, the kernel keeps no more bytes than that for it. Raises OSError when it is refused."""
    raw = socket.socket()
    if buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    _, peer = await asyncio.get_running_loop().create_connection(lambda: Peer(on_frame), sock=raw)
    peer.transport.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    async with asyncio.timeout(_OPEN_SECONDS):
        await peer.opened
    return peer
