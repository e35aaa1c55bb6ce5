"""What a peer gets whose opening handshake is none: it speaks HTTP still, so the contract's errors."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator

import pytest

from tests.realtime.test_server import Served

GOOD = {"Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}


@pytest.fixture
def served(redis_client) -> Iterator[Served]:
    server = Served()
    yield server
    server.stop()


def answer(served: Served, *, method: str = "GET", **headers: str) -> tuple[str, str]:
    """Head and body of what comes back until the server ends the connection."""
    told = {"Host": "localhost", "Upgrade": "websocket", **GOOD, **headers}
    lines = [f"{method} /api/v1/ws/alerts HTTP/1.1", *(f"{name}: {value}" for name, value in told.items() if value)]
    received = b""
    with socket.create_connection(served.listener.getsockname(), timeout=10) as peer:
        peer.sendall("\r\n".join([*lines, "", ""]).encode())
        while piece := peer.recv(65_536):
            received += piece
    head, _, body = received.decode().partition("\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        ({"Sec-WebSocket-Key": ""}, 400, "Bad Request"),
        ({"Sec-WebSocket-Key": "short"}, 400, "Bad Request"),
        ({"Sec-WebSocket-Version": "8"}, 400, "Bad Request"),
        ({f"X-{number}": "1" for number in range(200)}, 431, "Request Header Fields Too Large"),
        ({"X-Long": "a" * 20_000}, 431, "Request Header Fields Too Large"),
        ({"Transfer-Encoding": "chunked"}, 400, "Bad Request"),
        ({"Content-Length": "5"}, 400, "Bad Request"),
    ],
    ids=["no key", "no such key", "an old version", "many headers", "a long header", "chunks", "a body"],
)
def test_a_handshake_that_is_none_is_refused_in_the_contracts_shape(served, headers, status, detail):
    head, body = answer(served, **headers)
    assert head.startswith(f"HTTP/1.1 {status} {detail}\r\n")
    assert "\r\nContent-Type: application/json\r\n" in head
    assert re.search(r"\r\nX-Request-ID: [0-9a-f-]{36}", head)
    assert json.loads(body) == {"detail": detail}


def test_another_method_is_told_which_one_there_is(served):
    head, body = answer(served, method="POST")
    assert head.startswith("HTTP/1.1 405 ")
    assert "\r\nAllow: GET" in head
    assert json.loads(body) == {"detail": "Method Not Allowed"}
