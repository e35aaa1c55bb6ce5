"""From ASGI to Django's WSGI handler: one hop to a thread a request.

Django's own ASGI handler changes threads several times a request and a2wsgi once for each piece of the answer; docs/decisions/0001 has the
figures. The body is read here, on the event loop, before a thread is taken: a sender that dribbles holds no thread and is given up in the end, and
one that exceeds the limit is not read to the end.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from aurora.rest.middleware import REFUSED

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Environ = dict[str, Any]
WsgiApp = Callable[..., Iterable[bytes]]

_SMALL = 1 << 20
"""Answers up to this size go out in one piece."""


BODY_SECONDS = 120.0
"""What a caller is given to send its body."""


class ClientGone(Exception):
    """The caller hung up before its request was whole."""


class WsgiBridge:
    """An ASGI application for `http` scopes around a WSGI application.

    `threads` is how many requests run at once. Of a body with more than `max_body` bytes, or that takes longer than `body_seconds`, the
    application gets nothing but the status to answer with, in `environ[REFUSED]`.
    """

    def __init__(
        self, application: WsgiApp, *, threads: int, max_body: int, body_seconds: float = BODY_SECONDS
    ) -> None:
        self.application, self.max_body, self.body_seconds = application, max_body, body_seconds
        self.threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self.body_seconds):
                body = await self._read(scope, receive)
        except ClientGone:
            return
        except TimeoutError:
            body = HTTPStatus.REQUEST_TIMEOUT
        loop = asyncio.get_running_loop()
        answer = _Answer(loop, send)
        context = contextvars.copy_context()
        environ = _environ(scope, body)
        await loop.run_in_executor(self.threads, context.run, answer.produce, self.application, environ)
        await answer.finish()

    async def _read(self, scope: Scope, receive: Receive) -> bytes | HTTPStatus:
        """The whole body, or the status that refuses it."""
        if _declared_length(scope) > self.max_body:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self.max_body:
                return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            if not message.get("more_body"):
                return b"".join(pieces)


class _Answer:
    """One response, made in a request thread and sent on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self.loop, self.send = loop, send
        self.start: MutableMapping[str, Any] = {}
        self.is_started = False
        self.rest = b""

    def produce(self, application: WsgiApp, environ: Environ) -> None:
        """In the thread: runs the application. A large or streamed answer is sent as it comes, waiting for the client to take each piece."""
        chunks = application(environ, self._start_response)
        try:
            held: list[bytes] = []
            size = 0
            for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size > _SMALL:
                    asyncio.run_coroutine_threadsafe(self._send_piece(b"".join(held)), self.loop).result()
                    held, size = [], 0
            self.rest = b"".join(held)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    async def finish(self) -> None:
        """On the loop: whatever has not been sent yet."""
        await self._send_start()
        await self.send({"type": "http.response.body", "body": self.rest})

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        self.start = {
            "type": "http.response.start",
            "status": int(status[:3]),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        return _no_write

    async def _send_start(self) -> None:
        if not self.is_started:
            self.is_started = True
            await self.send(self.start)

    async def _send_piece(self, body: bytes) -> None:
        await self._send_start()
        await self.send({"type": "http.response.body", "body": body, "more_body": True})


def _no_write(_data: bytes) -> None:
    raise RuntimeError("the write() callable of WSGI is not supported")


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _environ(scope: Scope, read: bytes | HTTPStatus) -> Environ:
    """PEP 3333's dictionary. Header bytes become Latin-1 text, as there; a repeated header is joined by commas.

    A header with an underscore in its name is dropped: it would be taken for the one with a hyphen, which a proxy has set or taken away.
    """
    body = read if isinstance(read, bytes) else b""
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        # For the span of the request: made from PATH_INFO, in which Django puts decoded text, its address fails on anything beyond Latin-1.
        "REQUEST_URI": scope.get("raw_path", b"/").decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0] or "localhost",
        "SERVER_PORT": str(server[1] or 0),
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name:
            continue
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        value = raw_value.decode("latin-1")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ["CONTENT_LENGTH"] = str(len(body))
    if isinstance(read, HTTPStatus):
        environ[REFUSED] = read
    return environ
