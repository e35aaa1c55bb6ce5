"""A server with `/chat/completions` on a real socket, which answers as a test tells it to and keeps what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LONGEST_WAIT = 30.0


@dataclass
class Asked:
    """One question as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def text(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The findings between the marks, as a model would read them."""
        lines = self.body["messages"][1]["content"].splitlines()
        return list(json.loads(lines[2]))


@dataclass
class ModelServer:
    """`says` makes the content of an answer from a question; `status`, `raw` and `hangs` are for servers that are not well."""

    url: str = ""
    says: Callable[[Asked], Any] = lambda asked: good_answer(asked)
    status: int = 200
    raw: bytes | None = None
    hangs: bool = False
    drips: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


def good_answer(asked: Asked) -> dict[str, Any]:
    """An answer that keeps to the rules, with what the first findings say."""
    first, *rest = asked.findings
    return {
        "summary": [{"text": f"Most certain is this: {first['title']}.", "cites": [first["id"]]}],
        "ranking": [one["id"] for one in (first, *rest)],
        "hypotheses": [{"text": "It may have begun earlier than any sensor saw.", "cites": [first["id"]]}],
    }


@contextmanager
def model_server(*, certificate: Path | None = None) -> Iterator[ModelServer]:
    """Serves until the block ends; over TLS with a certificate (and key in one file)."""
    told = ModelServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(told))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    told.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        told.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(told: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(self.path, dict(self.headers), body)
            told.asked.append(asked)
            if told.hangs:
                told.closing.wait(LONGEST_WAIT)
                return
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.end_headers()
            while told.drips and not told.closing.wait(0.02):
                self.wfile.write(b" ")
            self.wfile.write(_content(told, asked))

        def handle(self) -> None:
            try:
                super().handle()
            except (BrokenPipeError, ConnectionResetError):
                return  # who asked waits no more

        def log_message(self, *_args: Any) -> None:
            """Tests read what was asked, not a log."""

    return Handler


def _content(told: ModelServer, asked: Asked) -> bytes:
    if told.raw is not None:
        return told.raw
    if told.status != 200:
        return b'{"error": "no"}'
    said = told.says(asked)
    text = said if isinstance(said, str) else json.dumps(said)
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
