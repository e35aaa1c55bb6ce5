"""The way to a model's server."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from agents.narration import talk


def test_a_name_that_nobody_resolves_takes_no_longer_than_any_other_silence(monkeypatch):
    answered, resolve = threading.Event(), socket.getaddrinfo

    def resolved(host, *arguments, **options):
        if host in ("lost.example", b"lost.example"):
            answered.wait(20)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    began = time.monotonic()
    with pytest.raises(talk.ModelFault, match=r"no answer within 0\.5 s"):
        talk.complete(talk.Model("http://lost.example/v1", "m"), [], most_tokens=1, timeout=0.5)
    answered.set()
    assert time.monotonic() - began < 10
