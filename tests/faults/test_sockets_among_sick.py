"""Healthy sockets among sick ones, and sockets that come and go, on the product's own web process. `python -m benchmarks sockets` and `make soak` are the
long versions, with figures."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django.db import connection

from benchmarks import crowd, installation
from benchmarks.installation import Running
from tests.faults import socket_soak

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(redis_client) -> Iterator[Running]:
    """`manage.py serve` on the test's own servers."""
    parameters = connection.get_connection_params()
    database = f"postgresql://{parameters['user']}@/{parameters['dbname']}?host={quote(parameters['host'], safe='')}"
    port = installation.free_port()
    environment = {
        "DATABASE_URL": database,
        "AURORA_RATE_SOCKETS": "1000000/60",
        "DJANGO_SETTINGS_MODULE": "aurora.settings",
    }
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    with installation.serving("serve", command, port, environment, path="/health/live") as running:
        yield running


def test_healthy_sockets_get_every_event_in_order_while_others_die_stall_and_talk_garbage(server):
    healthy, among_sick = asyncio.run(crowd.among_sick(server, 10))
    assert healthy > 0
    assert among_sick > 0


def test_sockets_that_come_and_go_leave_nothing_behind(server):
    rounds = socket_soak.WARM_UP + 10
    result = asyncio.run(socket_soak.soak(server, lambda number: number < rounds))
    assert result.events == rounds * socket_soak.EVENTS
    assert result.is_flat, result
