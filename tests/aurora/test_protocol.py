"""What a caller gets who never gets to the application."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from aurora import protocol
from tests.waiting import until

ADDRESS = b"Host: localhost\r\n"


class Impatient(protocol.HttpProtocol):
    head_seconds = 0.2


async def _application(scope, receive, send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def _serve(kind: type[protocol.HttpProtocol]) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(_application, lifespan="off", log_config=None, http=kind))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until(lambda: server.started)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)
    listener.close()


@pytest.fixture
def port() -> Iterator[int]:
    yield from _serve(protocol.HttpProtocol)


@pytest.fixture
def impatient_port() -> Iterator[int]:
    yield from _serve(Impatient)


def _answer(port: int, *pieces: bytes) -> bytes:
    """Everything that comes back until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        for piece in pieces:
            peer.sendall(piece)
        while piece := peer.recv(65_536):
            received += piece
    return received


@pytest.mark.parametrize(
    "head",
    [
        b"FOO /api/v1/alerts HTTP/1.1\r\n",
        b"GET /api/v1/\xff HTTP/1.1\r\n",
        b"POST /api/v1/alerts HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n",
        b"POST /api/v1/alerts HTTP/1.1\r\nContent-Length: -1\r\n",
        b"POST /api/v1/alerts HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"POST /api/v1/alerts HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_contracts_shape_and_the_connection_ended(port, head):
    answer = _answer(port, head + ADDRESS + b"\r\n0\r\n\r\nGET / HTTP/1.1\r\n" + ADDRESS + b"\r\n")
    start, _, body = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 400 Bad Request")
    assert re.search(rb"\r\nx-request-id: [0-9a-f-]{36}\r\n", start)
    assert json.loads(body) == {"detail": "Bad Request"}


def test_a_request_that_names_no_host_is_refused_and_what_follows_not_read(port):
    last = b"GET / HTTP/1.1\r\n" + ADDRESS + b"\r\n"
    answer = _answer(port, b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" + last)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b'{"detail":"Bad Request"}')


def test_the_older_http_needs_no_host(port):
    assert _answer(port, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK")


def test_a_head_that_does_not_end_is_not_kept(port):
    answer = _answer(port, b"GET / HTTP/1.1\r\nX-Long: ", b"a" * (protocol.HEAD_BYTES + 1))
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHo"])
def test_a_caller_that_does_not_go_on_is_given_up(impatient_port, begun):
    assert _answer(impatient_port, begun).startswith(b"HTTP/1.1 408 ")


def test_a_body_may_be_larger_and_slower_than_a_head_and_others_may_follow(impatient_port):
    body = b"x" * (2 * protocol.HEAD_BYTES)
    head = b"POST / HTTP/1.1\r\n" + ADDRESS + b"Content-Length: %d\r\n\r\n" % len(body)
    last = b"GET / HTTP/1.1\r\nConnection: close\r\n" + ADDRESS + b"\r\n"
    assert _answer(impatient_port, head + body, last).count(b"HTTP/1.1 200 OK") == 2
