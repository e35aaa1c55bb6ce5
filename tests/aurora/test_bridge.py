"""From ASGI to WSGI: what the application gets and what the client gets."""

from __future__ import annotations

import asyncio

import pytest

from aurora.bridge import WsgiBridge
from aurora.rest.middleware import REFUSED


def _echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
    return [environ["wsgi.input"].read()]


async def _ask(application, *, messages, headers=(), body_seconds=10.0, **scope):
    """The response's messages to a request whose body comes as `messages`, and then no more."""
    sent = []
    queue = list(messages)
    bridge = WsgiBridge(application, threads=2, max_body=1000, body_seconds=body_seconds)
    request = {"type": "http", "method": "POST", "path": "/", "http_version": "1.1", "headers": list(headers)} | scope

    async def receive():
        return queue.pop(0) if queue else await asyncio.Future()

    async def send(message):
        sent.append(message)

    await bridge(request, receive, send)
    return sent


def _body(*pieces):
    return [
        {"type": "http.request", "body": piece, "more_body": place < len(pieces) - 1}
        for place, piece in enumerate(pieces)
    ]


async def test_a_body_in_pieces_reaches_the_application_whole():
    sent = await _ask(_echo, messages=_body(b"ab", b"", b"cd"))
    assert sent[0]["status"] == 200
    assert b"".join(message.get("body", b"") for message in sent) == b"abcd"


async def test_the_path_may_hold_any_character():
    sent = await _ask(_echo, messages=_body(b""), path="/é", query_string=b"q=\xff")
    headers = dict(sent[0]["headers"])
    assert headers[b"x-path"].decode("utf-8") == "/é"


@pytest.mark.parametrize("headers", [[(b"content-length", b"5000")], []])
async def test_too_large_a_body_is_not_read_to_the_end(headers):
    def application(environ, start_response):
        start_response(f"{environ.get(REFUSED, 200)} Whatever", [])
        return [str(len(environ["wsgi.input"].read())).encode()]

    pieces = _body(*[b"x" * 600] * 4)
    sent = await _ask(application, messages=pieces, headers=headers)
    assert (sent[0]["status"], sent[-1]["body"]) == (413, b"0")


async def test_a_sender_that_never_ends_is_given_up_without_a_thread_waiting_for_it():
    def application(environ, start_response):
        start_response(f"{environ[REFUSED]} Whatever", [])
        return [environ["wsgi.input"].read()]

    sent = await _ask(application, messages=_body(b"a", b"b")[:1], body_seconds=0.05)
    assert (sent[0]["status"], sent[-1]["body"]) == (408, b"")


async def test_a_caller_that_hangs_up_gets_no_thread():
    calls = []

    def application(environ, start_response):
        calls.append(1)
        return []

    sent = await _ask(application, messages=[*_body(b"a", b"b")[:1], {"type": "http.disconnect"}])
    assert (sent, calls) == ([], [])


async def test_a_large_answer_is_sent_in_pieces():
    def application(environ, start_response):
        start_response("200 OK", [])
        return (b"x" * 700_000 for _ in range(5))

    sent = await _ask(application, messages=_body(b""))
    assert len(sent) > 3
    assert sum(len(message.get("body", b"")) for message in sent) == 3_500_000


async def test_a_repeated_header_is_joined():
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["HTTP_X_A"].encode()]

    sent = await _ask(application, messages=_body(b""), headers=[(b"x-a", b"1"), (b"x-a", b"2")])
    assert sent[-1]["body"] == b"1,2"


async def test_a_header_with_an_underscore_is_not_taken_for_the_one_with_a_hyphen():
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["HTTP_X_FORWARDED_FOR"].encode()]

    headers = [(b"x-forwarded-for", b"203.0.113.9"), (b"x_forwarded_for", b"198.51.100.1")]
    sent = await _ask(application, messages=_body(b""), headers=headers)
    assert sent[-1]["body"] == b"203.0.113.9"


async def test_the_applications_iterable_is_closed():
    class Answer(list[bytes]):
        closed = False

        def close(self):
            Answer.closed = True

    def application(environ, start_response):
        start_response("200 OK", [])
        return Answer([b"x"])

    await _ask(application, messages=_body(b""))
    assert Answer.closed
