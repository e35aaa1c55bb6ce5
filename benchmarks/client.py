"""HTTP/1.1 clients that cost almost nothing themselves: prepared requests over keep-alive sockets, one at a time or many at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

_TIMEOUT = 60.0


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """A request as bytes, to be sent any number of times."""
        return request_bytes(self.port, method, path, body, headers)

    def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Sends a prepared request; status and body of the answer. Raises ConnectionError when the server hangs up."""
        self.socket.sendall(request)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        head, body = received[:end], received[end + 4 :]
        length = content_length(head)
        pieces, size = [body], len(body)
        while size < length:
            pieces.append(self._receive())
            size += len(pieces[-1])
        return int(head[9:12]), b"".join(pieces)

    def timed(self, request: bytes, expected: int) -> float:
        """Seconds until the whole answer was there. Raises AssertionError when it is not the expected status."""
        began = time.perf_counter()
        status, body = self.exchange(request)
        took = time.perf_counter() - began
        assert status == expected, (status, body[:500])
        return took

    def _receive(self) -> bytes:
        if not (piece := self.socket.recv(1 << 16)):
            raise ConnectionError("the server hung up")
        return piece


def request_bytes(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def content_length(head: bytes) -> int:
    """The body's length that a response's head declares; every server here declares it."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ConnectionError("an answer without Content-Length")


def load(port: int, request: bytes, *, connections: int, seconds: float) -> tuple[float, list[float]]:
    """The same request over and over on each of `connections`: answers a second, and each answer's seconds."""
    return asyncio.run(_load(port, request, connections, seconds))


async def _load(port: int, request: bytes, connections: int, seconds: float) -> tuple[float, list[float]]:
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    callers = [_Caller(request, lambda: time.perf_counter() < until) for _ in range(connections)]
    began = time.perf_counter()
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(caller.done for caller in callers))
    took = [second for caller in callers for second in caller.took]
    return len(took) / (time.perf_counter() - began), took


def burst(port: int, requests: Sequence[bytes], begin: Callable[[], None]) -> list[tuple[int, float]]:
    """All of `requests` at once, each on a connection of its own that is open before `begin` is called: status and seconds since its end of each."""
    return asyncio.run(_burst(port, requests, begin))


async def _burst(port: int, requests: Sequence[bytes], begin: Callable[[], None]) -> list[tuple[int, float]]:
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in requests]
    await asyncio.to_thread(begin)
    began = time.perf_counter()
    for (_, writer), request in zip(streams, requests, strict=True):
        writer.write(request)
    async with asyncio.timeout(_TIMEOUT):
        return await asyncio.gather(*(_answer(reader, writer, began) for reader, writer in streams))


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, began: float) -> tuple[int, float]:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(content_length(head))
    took = time.perf_counter() - began
    writer.close()
    return int(head[9:12]), took


class _Caller(asyncio.Protocol):
    """Sends, waits for the whole answer, sends again."""

    def __init__(self, request: bytes, goes_on: Callable[[], bool]) -> None:
        self.request, self.goes_on = request, goes_on
        self.took: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0 or len(self.received) < end + 4 + content_length(self.received[:end]):
            return
        self.took.append(time.perf_counter() - self.began)
        if self.received[9:10] != b"2":
            self._finish(AssertionError(self.received[:300]))
        elif self.goes_on():
            self._send()
        else:
            self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or ConnectionError("the server hung up"))

    def _send(self) -> None:
        self.received = b""
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def _finish(self, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self.transport.close()
