"""Commands straight on a connection, on a real server."""

from __future__ import annotations

import gc
import os
import threading

import pytest
import redis
from redis.exceptions import NoScriptError, ResponseError

from aurora.bus.direct import DirectCommands
from aurora.bus.redis import Purpose, client


@pytest.fixture
def direct(redis_url) -> DirectCommands:
    return DirectCommands(client(Purpose.COMMAND, redis_url))


def test_answers_are_what_the_server_says(direct):
    assert direct.ask("SET", "here", b"\x00\xff") == b"OK"
    assert direct.ask("GET", "here") == b"\x00\xff"
    assert direct.ask("INCRBY", "count", 5) == 5


def test_a_refused_command_raises_and_leaves_the_connection_usable(direct):
    with pytest.raises(NoScriptError):
        direct.ask("EVALSHA", "0" * 40, 0)
    with pytest.raises(ResponseError):
        direct.ask("NO-SUCH-COMMAND")
    assert direct.ask("PING") == b"PONG"


def test_several_commands_are_answered_in_their_order_and_what_is_refused_is_among_the_answers(direct):
    answers = direct.ask_all([("SET", "here", 1), ("NO-SUCH-COMMAND",), ("INCR", "here"), ("GET", "here")])
    assert [answers[0], *answers[2:]] == [b"OK", 2, b"2"]
    assert isinstance(answers[1], ResponseError)
    assert direct.ask_all([]) == []
    assert direct.ask("PING") == b"PONG"


def test_one_connection_serves_who_asks_one_after_the_other(direct):
    assert len({direct.ask("CLIENT", "ID") for _ in range(50)}) == 1


def test_connections_end_with_who_asked_over_them(redis_url):
    gc.disable()
    try:
        asked = DirectCommands(client(Purpose.COMMAND, redis_url))
        line = asked._idle
        asked.ask("PING")
        (kept,) = line
        sock = kept._socket
        del kept, asked
        assert sock.fileno() == -1
    finally:
        gc.enable()


def test_a_connection_that_the_server_ended_is_replaced_unnoticed(direct, redis_url):
    number = direct.ask("CLIENT", "ID")
    client(Purpose.COMMAND, redis_url).client_kill_filter(_id=str(number))
    assert direct.ask("CLIENT", "ID") != number


def test_threads_never_get_each_others_answers(direct):
    wrong: list[str] = []

    def ask(name: str) -> None:
        wrong.extend(name for _ in range(300) if direct.ask("ECHO", name) != name.encode())

    threads = [threading.Thread(target=ask, args=(f"thread-{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_leaves_its_parents_connections_alone(direct):
    number = direct.ask("CLIENT", "ID")
    child = os.fork()
    if child == 0:
        os._exit(0 if direct.ask("CLIENT", "ID") != number else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert direct.ask("CLIENT", "ID") == number


def test_nobody_there_is_a_connection_error():
    nobody = DirectCommands(client(Purpose.REQUEST, "redis://127.0.0.1:1/0"))
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            nobody.ask("PING")
